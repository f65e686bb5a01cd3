//! Small things with text that several receivers need.

use std::fmt::Write as _;

use rollcall_common::shown::acts;

/// The first `count` bytes in hex.
pub(super) fn hex(bytes: &[u8], count: usize) -> String {
    bytes.iter().take(count).fold(String::new(), |mut text, byte| {
        // Err: never, for a string.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// At most `most` characters of `text`; one that is cut ends with "…".
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// One line, whatever comes from outside: line ends and what else acts are blanks.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if acts(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(hex(&[0, 255, 16], 2), "00ff");
        assert_eq!(one_line("a\r\nb"), "a  b");
    }
}
