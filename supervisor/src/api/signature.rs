//! What tells errors apart that were written down with other numbers in them.

/// Characters of a signature.
const LONGEST: usize = 200;

/// Hex digits in a row that are a name rather than a word.
const HEX: usize = 8;

/// A reason without what differs from message to message: numbers, ids and what stands between
/// quotation marks are `#`.
pub(super) fn signature(reason: &str) -> String {
    let mut short = String::new();
    let mut rest = reason;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        let taken = if word == 0 {
            let quoted = quoted(rest);
            let blank = first.is_whitespace();
            short.push(match quoted {
                Some(_) => '#',
                None => {
                    if blank {
                        ' '
                    } else {
                        first
                    }
                }
            });
            quoted.unwrap_or_else(|| first.len_utf8())
        } else {
            let (name, _) = rest.split_at(word);
            if is_name(name) {
                mask(&mut short, name);
            } else {
                short.push_str(name);
            }
            word
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    short.chars().take(LONGEST).collect()
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether a word has a number in it, or is one in hex.
fn is_name(word: &str) -> bool {
    let hex = word.len() >= HEX && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    hex || word.bytes().any(|b| b.is_ascii_digit())
}

/// The number of a status stays, and of what ends with a dot the dot.
fn mask(short: &mut String, word: &str) {
    let bare = word.trim_end_matches('.');
    let kept = short.ends_with("status ");
    short.push_str(if kept { bare } else { "#" });
    short.extend(word.chars().skip(bare.chars().count()));
}

/// The length of what stands between quotation marks, with them.
fn quoted(text: &str) -> Option<usize> {
    let mark = text.chars().next().filter(|c| matches!(c, '"' | '`'))?;
    text.get(1..)?.find(mark).map(|end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_message_to_message_is_left_out() {
        for (reason, short) in [
            (
                "5 failures, the last: status 500, no row 4711.",
                "# failures, the last: status 500, no row #.",
            ),
            ("refused: status 422, no \"Größe\" in order-17", "refused: status 422, no # in #"),
            ("id 0192d3c4-aaaa-7bbb-8ccc-0123456789ab is gone", "id # is gone"),
            ("deadbeef is a name, dead is a word", "# is a name, dead is a word"),
            ("an \"open quotation", "an \"open quotation"),
            ("no article 123 here", "no article # here"),
            ("ä\nb", "ä b"),
            ("", ""),
        ] {
            assert_eq!(signature(reason), short);
        }
        assert_eq!(signature(&"x ".repeat(500)).chars().count(), LONGEST);
    }
}
