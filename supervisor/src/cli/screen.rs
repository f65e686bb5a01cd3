//! What people are shown: text in which nothing acts, colours where there is a terminal, ages, and
//! the next command to type.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write as _},
};

use jiff::Timestamp;
use rollcall_common::shown::{visible, visible_bytes, visible_json, visible_lines};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::{DEFAULT_URL, Failure, Output, Server};

/// Columns where nobody says how many there are.
const COLUMNS: usize = 80;

/// How something is to be seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Style {
    /// It needs somebody.
    Bad,
    /// Beside the point.
    Dim,
    /// As it should be.
    Good,
    /// As it is.
    #[default]
    Plain,
    /// What is to be seen first.
    Strong,
    /// It may need somebody.
    Worrying,
}

impl Style {
    /// That of a word for a state.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "active" | "live" | "ok" | "enough" | "running" | "released" | "completed" => {
                Self::Good
            }
            "parked" | "firing" | "critical" | "error" | "no_worker" | "pool_outage"
            | "unreachable" | "ejected" | "low" => Self::Bad,
            "paused" | "retrying" | "warning" | "draining" | "replaying" | "acknowledged" => {
                Self::Worrying
            }
            _ => Self::Plain,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Bad => "\u{1b}[31m",
            Self::Dim => "\u{1b}[2m",
            Self::Good => "\u{1b}[32m",
            Self::Plain => "",
            Self::Strong => "\u{1b}[1m",
            Self::Worrying => "\u{1b}[33m",
        }
    }
}

/// A piece of a line: text from anywhere, in which nothing acts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    text: String,
    style: Style,
}

impl Piece {
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self { text: visible(text.as_ref()).into_owned(), style: Style::Plain }
    }

    pub(super) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { style, ..Self::new(text) }
    }

    /// A word for a state.
    pub(super) fn state(word: impl AsRef<str>) -> Self {
        let style = Style::of(word.as_ref());
        Self::styled(word, style)
    }

    /// Columns that it takes up.
    pub(super) fn width(&self) -> usize {
        self.text.width()
    }

    /// At most so many columns of it; what is cut ends with "…".
    pub(super) fn cut(&self, most: usize) -> Cow<'_, str> {
        if self.width() <= most {
            return Cow::Borrowed(&self.text);
        }
        let mut short = String::new();
        let mut width = 1;
        for c in self.text.chars() {
            width += c.encode_utf8(&mut [0; 4]).width();
            if width > most {
                break;
            }
            short.push(c);
        }
        short.push('…');
        Cow::Owned(short)
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }
}

/// Where people look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// Columns.
    pub(super) width: usize,
    colour: bool,
    now: Timestamp,
}

impl Screen {
    /// This process's standard output.
    pub(super) fn here() -> Self {
        let terminal = io::stdout().is_terminal();
        let said = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let plain = said("NO_COLOR").is_some() || said("TERM").is_none_or(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let size = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let columns = said("COLUMNS").and_then(|text| text.parse().ok());
        let width = size.or(columns).unwrap_or(COLUMNS).max(20);
        Self { width, colour: terminal && !plain, now: Timestamp::now() }
    }

    /// A text with its style, where there are colours.
    pub(super) fn paint(&self, text: &str, style: Style) -> String {
        if !self.colour || style == Style::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("{}{text}\u{1b}[0m", style.code())
    }

    /// Prints a line of pieces; it is cut at the last column.
    pub(super) fn line(&self, pieces: &[Piece]) -> io::Result<()> {
        let (mut line, mut room) = (String::new(), self.width);
        for piece in pieces {
            let text = piece.cut(room);
            room = room.saturating_sub(text.width());
            // Err: never, for a string.
            let _ = write!(line, "{}", self.paint(&text, piece.style));
            if room == 0 {
                break;
            }
        }
        writeln!(io::stdout(), "{}", line.trim_end())
    }

    /// Prints a fact: its name, and what is to be said, on several lines where it is long.
    pub(super) fn fact(&self, name: &str, text: &str) -> io::Result<()> {
        let indent = FACT + 2;
        let room = self.width.saturating_sub(indent).max(20);
        for (number, part) in wrap(&visible(text), room).iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            let name = self.paint(&format!("{name:<FACT$}"), Style::Dim);
            writeln!(io::stdout(), "  {name}{part}")?;
        }
        Ok(())
    }

    /// How long ago a moment was, as RFC 3339 says it.
    pub(super) fn age(&self, moment: Option<&Value>) -> String {
        let at = moment.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
        at.map_or_else(
            || "-".to_owned(),
            |at| age(u64::try_from(self.now.duration_since(at).as_millis()).unwrap_or(0)),
        )
    }

    /// Prints commands that may be typed next.
    pub(super) fn next(&self, server: &Server, commands: &[String]) -> io::Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        writeln!(io::stdout(), "\n{}", self.paint("next:", Style::Dim))?;
        let url = if server.url == DEFAULT_URL || std::env::var("ROLLCALL_URL").is_ok() {
            String::new()
        } else {
            format!(" --url {}", visible(&server.url))
        };
        for command in commands {
            writeln!(io::stdout(), "  supervisor {}{url}", visible(command))?;
        }
        Ok(())
    }
}

/// Columns of a fact's name.
const FACT: usize = 13;

/// A span of milliseconds in the unit that says most.
pub(super) fn age(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis}ms"),
        1..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Lines of at most so many columns, broken between words where there are any.
fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let used = lines.last().map_or(0, |line| line.width());
        if used > 0 && used + 1 + word.width() > most {
            lines.push(String::new());
        }
        let mut rest = word;
        while rest.width() > most {
            let at = rest.char_indices().map(|(at, _)| at).take_while(|at| *at <= most).last();
            let (head, tail) = rest.split_at(at.filter(|at| *at > 0).unwrap_or(rest.len()));
            if let Some(line) = lines.last_mut() {
                line.push_str(head);
            }
            lines.push(String::new());
            rest = tail;
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(rest);
        }
    }
    lines
}

/// A member of an object, as a text.
pub(super) fn text(value: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(value, |value, name| value.get(name));
    found.map_or_else(|| "-".to_owned(), word)
}

/// A member of an object, as a number.
pub(super) fn number(value: &Value, path: &str) -> u64 {
    let found = path.split('.').try_fold(value, |value, name| value.get(name));
    found.and_then(Value::as_u64).unwrap_or(0)
}

/// A value as a word.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Prints a value as JSON in which nothing acts.
pub(super) fn print_json(value: &impl fmt::Display) -> Result<(), Failure> {
    let json = format!("{value:#}");
    Ok(writeln!(io::stdout(), "{}", visible_json(&json))?)
}

/// Prints a body: as it is to a file or a program, and on a terminal so that nothing in it acts.
pub(super) fn print_bytes(body: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        let shown = std::str::from_utf8(body).map_or_else(
            |_| visible_bytes(body).into_owned(),
            |text| visible_lines(text).into_owned(),
        );
        return writeln!(out, "{shown}");
    }
    out.write_all(body)?;
    out.flush()
}

/// Prints what was done: the value for programs, `text` for people.
pub(super) fn print_done(output: Output, value: &Value, text: &str) -> Result<(), Failure> {
    match output {
        Output::Json => print_json(value),
        Output::Text => Ok(Screen::here().line(&[Piece::new(text)])?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_one_unit() {
        let all = [5, 1_000, 99_000, 100_000, 3_600_000, 7_200_000, 172_800_000].map(age);
        assert_eq!(all, ["5ms", "1s", "99s", "1m", "60m", "2h", "2d"]);
    }

    #[test]
    fn text_is_cut_by_columns_and_nothing_in_it_acts() {
        let piece = Piece::new("a\u{1b}[2Jb\n");
        assert_eq!(piece.cut(100), "a\\u{1b}[2Jb\\n");
        assert_eq!(Piece::new("猫猫猫").cut(5), "猫猫…");
        assert_eq!(Piece::new("猫猫猫").cut(6), "猫猫猫");
        assert_eq!(Piece::new("abc").cut(2), "a…");
    }

    #[test]
    fn long_words_and_many_words_are_wrapped() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
