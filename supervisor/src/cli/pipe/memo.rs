//! Which command a journal is of: another one's results are not to be printed as this one's.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rollcall_common::shown::visible;
use serde::{Deserialize, Serialize};

use super::Failure;

/// The file in the journal's directory.
const FILE: &str = "command.json";

/// What a journal's lines were given to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Memo {
    /// The flags that say what lines are and what becomes of them.
    flags: Vec<String>,
    /// The command and its arguments, in Base64: they need be no text. None: HTTP workers.
    command: Vec<String>,
}

impl Memo {
    pub(super) fn of(command: &[OsString], flags: Vec<String>) -> Self {
        let encode = |word: &OsString| BASE64_STANDARD.encode(word.as_bytes());
        let command = command.iter().map(encode).collect();
        Self { flags, command }
    }

    /// Whether the journal in `folder`, which has so many lines, is of this; notes it if nothing is
    /// noted, or nothing was done.
    ///
    /// # Errors
    /// When it is of something else.
    pub(super) fn check(&self, folder: &Path, lines: u64) -> Result<(), Failure> {
        let path = folder.join(FILE);
        let noted = match fs::read(&path) {
            Ok(text) => Some(serde_json::from_slice::<Self>(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        match noted {
            Some(noted) if noted == *self => Ok(()),
            Some(noted) if lines > 0 => {
                let text = format!(
                    "the journal in --data is of another command: {}; give that one, or another \
                     directory",
                    noted.words()
                );
                Err(Failure::usage(text))
            }
            Some(_) | None => self.write(folder),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        let fresh = folder.join(format!("{FILE}.new"));
        // What is left of a start that was broken off.
        let _ = fs::remove_file(&fresh);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&fresh, folder.join(FILE))?;
        File::open(folder)?.sync_all()?;
        Ok(())
    }

    /// It, as one would type it.
    fn words(&self) -> String {
        let mut words = self.flags.clone();
        if self.command.is_empty() {
            words.push("--url …".to_owned());
            return words.join(" ");
        }
        words.extend((!words.is_empty()).then(|| "--".to_owned()));
        for word in &self.command {
            let word = BASE64_STANDARD.decode(word).unwrap_or_default();
            words.push(quoted(&String::from_utf8_lossy(&word)));
        }
        words.join(" ")
    }
}

/// A word as a shell takes it, with an escape for each character that acts.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", visible(word).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memo(words: &[&str]) -> Memo {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        Memo::of(&words, Vec::new())
    }

    #[test]
    fn a_journal_remembers_its_command() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (memo(&["tr", "a-z", "it's\n"]), memo(&["cat"]));
        one.check(folder.path(), 0).unwrap();
        one.check(folder.path(), 1).unwrap();
        let refused = other.check(folder.path(), 1).unwrap_err();
        assert_eq!(refused.code, 2);
        assert!(refused.text.contains(r"tr a-z 'it'\''s\n'"), "{}", refused.text);
        // Nothing was done for the first one.
        other.check(folder.path(), 0).unwrap();
        let refused = one.check(folder.path(), 1).unwrap_err();
        assert!(refused.text.contains("another command: cat;"), "{}", refused.text);
    }

    #[test]
    fn what_the_lines_are_is_a_part_of_it() {
        let (words, folder) = (["cat".into()], tempfile::tempdir().unwrap());
        let flags = vec!["-0".to_owned(), "-N 3".to_owned()];
        Memo::of(&words, flags).check(folder.path(), 0).unwrap();
        let refused = memo(&["cat"]).check(folder.path(), 1).unwrap_err();
        assert!(refused.text.contains("-0 -N 3 -- cat;"), "{}", refused.text);
    }
}
