//! What is wrong with a configuration, and where.

use std::fmt;

/// Most problems that are shown.
const SHOWN: usize = 50;

/// Where something was said. What was said later in this order wins.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Place {
    /// In the file as a whole.
    File,
    /// On a line of the file, from 1.
    Line(usize),
    /// By a variable of the environment.
    Variable(String),
    /// By a flag.
    Flag(&'static str),
}

/// All problems found so far.
#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    list: Vec<(Place, String)>,
}

impl Problems {
    /// None yet, in the file of this name.
    pub(super) fn new(file: String) -> Self {
        let list = Vec::new();
        Self { file, list }
    }

    /// One more.
    pub(super) fn add(&mut self, place: Place, text: impl Into<String>) {
        self.list.push((place, text.into()));
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `value`, if there was no problem.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, ConfigError> {
        if self.list.is_empty() {
            return Ok(value);
        }
        self.list.sort();
        self.list.dedup();
        let file = self.file;
        let line = |(place, text)| match place {
            Place::File => format!("{file}: {text}"),
            Place::Line(number) => format!("{file}:{number}: {text}"),
            Place::Variable(name) => format!("{name}: {text}"),
            Place::Flag(name) => format!("{name}: {text}"),
        };
        let more = self.list.len().saturating_sub(SHOWN);
        let mut lines: Vec<_> = self.list.into_iter().take(SHOWN).map(line).collect();
        if more > 0 {
            lines.push(format!("{file}: and {more} more problems"));
        }
        Err(ConfigError { lines })
    }
}

/// A configuration that can't be used. Shown, it is one line per problem: where, which key, what
/// is wrong, and what is allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    lines: Vec<String>,
}

impl ConfigError {
    /// The problems, each one line.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}
