//! An attribute of an event as a header has it (CloudEvents 1.0.2, HTTP binding, 3.1.3.2).

/// What the header's value says: a quoted string means what is in the quotes, and one round of
/// percent-encoding is undone. `None`: it is badly quoted or encoded, or no text.
#[must_use]
pub fn decode_attribute(value: &str) -> Option<String> {
    let value = value.trim_matches([' ', '\t']);
    let unquoted = match value.strip_prefix('"') {
        Some(rest) => unquote(rest)?,
        None => value.to_owned(),
    };
    if !unquoted.contains('%') {
        return Some(unquoted);
    }
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The rest of a quoted string (RFC 9110 §5.6.4) after its opening quote.
fn unquote(rest: &str) -> Option<String> {
    let inner = rest.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?),
            '"' => return None,
            _ => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_unquoted_and_decoded_once() {
        for (value, means) in [
            ("a%20b%2525", "a b%25"),
            (r#""a\"b""#, "a\"b"),
            ("a%22b", "a\"b"),
            (r#""c\\d""#, r"c\d"),
            ("\"e f\"", "e f"),
            (" g\t", "g"),
            ("%E2%82%AC", "€"),
            ("\"%41\"", "A"),
            ("\"\"", ""),
            ("h\"i", "h\"i"),
        ] {
            assert_eq!(decode_attribute(value).as_deref(), Some(means), "{value}");
        }
        for bad in ["%C0%A0", "%FF", "%", "%4", "%zz", "100%", "\"a", "\"a\"b\"", "\"a\\\""] {
            assert_eq!(decode_attribute(bad), None, "{bad}");
        }
    }
}
