//! Text from outside, as people are shown it: without anything that would drive a terminal, forge a
//! line of a log or turn the direction of writing. What is not shown as it is stands as an escape.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

/// Text from outside. It is displayed on one line, and so that it can't do anything.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&visible(self.0))
    }
}

/// Whether a character does something else than to be seen: control characters (C0, DEL and C1),
/// ends of lines and paragraphs, and what changes the direction of writing.
#[must_use]
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with an escape (`\n`, `\t`, `\u{1b}`) for each character that acts.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| if acts(c) { Escape::Rust } else { Escape::Not })
}

/// The same, keeping the ends of lines: for text that stands on several.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| if acts(c) && c != '\n' { Escape::Rust } else { Escape::Not })
}

/// JSON with the escape that JSON has for each character that acts: it stays the same JSON.
#[must_use]
pub fn visible_json(json: &str) -> Cow<'_, str> {
    // Between its parts JSON may have blanks; inside a string none of these stands as it is.
    escaped(json, |c| match c {
        '\n' | '\t' | '\r' => Escape::Not,
        c if acts(c) => Escape::Json,
        _ => Escape::Not,
    })
}

/// Bytes as people are shown them: text as it is, with backslashes doubled, so that nothing can be
/// taken for an escape; and what is no text as `base64:…`, with which no text begins as it is
/// shown.
#[must_use]
pub fn visible_bytes(bytes: &[u8]) -> Cow<'_, str> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match std::str::from_utf8(bytes) {
        Ok(text) => visible_data(text),
        Err(_) => format!("{BASE64}{}", STANDARD.encode(bytes)).into(),
    }
}

/// What marks bytes that are no text.
pub const BASE64: &str = "base64:";

/// A text of data: as [`visible`], with backslashes doubled, and not to be taken for bytes.
#[must_use]
pub fn visible_data(text: &str) -> Cow<'_, str> {
    let shown = escaped(text, |c| match c {
        '\\' => Escape::Twice,
        c if acts(c) => Escape::Rust,
        _ => Escape::Not,
    });
    if text.starts_with(BASE64) { format!("\\{shown}").into() } else { shown }
}

/// How a character is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Escape {
    Json,
    Not,
    Rust,
    Twice,
}

fn escaped(text: &str, how: impl Fn(char) -> Escape) -> Cow<'_, str> {
    if text.chars().all(|c| how(c) == Escape::Not) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match how(c) {
            Escape::Json => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Err: never, for a string.
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
            Escape::Not => shown.push(c),
            Escape::Rust if matches!(c, '\n' | '\r' | '\t') => shown.extend(c.escape_default()),
            Escape::Rust => shown.extend(c.escape_unicode()),
            Escape::Twice => shown.extend([c, c]),
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_all_else_is_left() {
        for (text, shown) in [
            ("plain ü 猫 \\ 👍", "plain ü 猫 \\ 👍"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{1b}[2J\u{7}\u{7f}\u{9b}", "\\u{1b}[2J\\u{7}\\u{7f}\\u{9b}"),
            ("\u{202e}olleh\u{2069}\u{2028}", "\\u{202e}olleh\\u{2069}\\u{2028}"),
        ] {
            assert_eq!(visible(text), shown);
            assert_eq!(Shown(text).to_string(), shown);
        }
        assert_eq!(format!("{:<4}|", Shown("\n")), "\\n  |");
        assert_eq!(visible_lines("a\n\u{1b}b"), "a\n\\u{1b}b");
    }

    #[test]
    fn json_stays_the_same_json() {
        let json = "{\n \"a\": \"\u{9b}2J\u{7f}\u{202e}x\\n\"}";
        let shown = visible_json(json);
        assert_eq!(shown, "{\n \"a\": \"\\u009b2J\\u007f\\u202ex\\n\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(json), value(&shown));
    }

    #[test]
    fn bytes_are_told_from_text() {
        assert_eq!(visible_bytes(b"a\\n\n"), "a\\\\n\\n");
        assert_eq!(visible_bytes(&[0, 255]), "base64:AP8=");
        assert_eq!(visible_bytes(b"AP8="), "AP8=");
        assert_eq!(visible_bytes(b"base64:AP8="), "\\base64:AP8=");
    }
}
