//! A structured field whose value is a string (RFC 9651 §3.3.3, §4.2), as `"k";a=b`.

/// The string that a field's value is; its parameters are looked over. `None`: it is no such field.
pub(super) fn string(value: &str) -> Option<String> {
    let mut rest = Rest(value.trim_matches(' '));
    let string = rest.string()?;
    rest.parameters()?;
    rest.0.is_empty().then_some(string)
}

/// What has not been read of a field.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, wanted: char) -> Option<()> {
        self.0 = self.0.strip_prefix(wanted)?;
        Some(())
    }

    /// The longest beginning of such characters.
    fn run(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let (run, rest) = self.0.split_at(self.0.find(|c| !of(c)).unwrap_or(self.0.len()));
        self.0 = rest;
        run
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut string = String::new();
        loop {
            string.push_str(self.run(|c| matches!(c, ' '..='~') && !['"', '\\'].contains(&c)));
            if self.take('"').is_some() {
                return Some(string);
            }
            self.take('\\')?;
            let escaped = self.0.chars().next().filter(|c| ['"', '\\'].contains(c))?;
            self.take(escaped)?;
            string.push(escaped);
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(';').is_some() {
            self.run(|c| c == ' ');
            let first = self.0.chars().next()?;
            if !(first.is_ascii_lowercase() || first == '*') {
                return None;
            }
            self.run(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c));
            if self.take('=').is_some() {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// Any value that a parameter can have.
    fn bare_item(&mut self) -> Option<()> {
        match self.0.chars().next()? {
            '"' => self.string().map(|_| ()),
            ':' => self.bytes(),
            '?' => {
                self.take('?')?;
                self.take('0').or_else(|| self.take('1'))
            }
            '@' => {
                self.take('@')?;
                self.number(Parts::Whole)
            }
            '%' => {
                self.take('%')?;
                self.string().map(|_| ())
            }
            '-' | '0'..='9' => self.number(Parts::Any),
            c if c.is_ascii_alphabetic() || c == '*' => {
                self.run(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c));
                Some(())
            }
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<()> {
        self.take(':')?;
        self.run(|c| c.is_ascii_alphanumeric() || "+/=".contains(c));
        self.take(':')
    }

    fn number(&mut self, parts: Parts) -> Option<()> {
        // Some: it is negative.
        let _ = self.take('-');
        let whole = self.run(|c| c.is_ascii_digit()).len();
        if parts == Parts::Any && (1..=12).contains(&whole) && self.take('.').is_some() {
            return (1..=3).contains(&self.run(|c| c.is_ascii_digit()).len()).then_some(());
        }
        (1..=15).contains(&whole).then_some(())
    }
}

/// What a number may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Parts {
    /// A decimal part, too.
    Any,
    /// None but the whole.
    Whole,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_may_have_parameters() {
        for value in [
            r#""k""#,
            r#" "k" "#,
            r#""k";a=b"#,
            r#""k"; a=b"#,
            r#""k";a"#,
            r#""k";*a-b_c.9=?1;b=?0"#,
            r#""k";a="x;y";b=?1"#,
            r#""k";a=1.5;b=:AAA=:;c=-7;d=@1659578233;e=%"f%c3%bc""#,
            r#""k";a=*t/x:y"#,
        ] {
            assert_eq!(string(value).as_deref(), Some("k"), "{value}");
        }
        assert_eq!(string(r#""a\"b\\";x"#).as_deref(), Some(r#"a"b\"#));
        assert_eq!(string("\"\"").as_deref(), Some(""));
    }

    #[test]
    fn other_fields_are_no_strings() {
        for value in [
            "k",
            ":AAA=:",
            "?1",
            "7",
            "\"k",
            r#""a"b""#,
            r#""a\x""#,
            r#""a\"#,
            "\"a\tb\"",
            r#""a", "b""#,
            r#""k" ;a"#,
            r#""k";"#,
            r#""k";A=b"#,
            r#""k";a="#,
            r#""k";a=?2"#,
            r#""k";a=:x"#,
            r#""k";a=1."#,
            r#""k";a=1.1234"#,
            r#""k";a=1234567890123456"#,
            r#""k";a=@1.5"#,
            r#""k";a=(b)"#,
            r#"("k")"#,
            "",
        ] {
            assert_eq!(string(value), None, "{value}");
        }
    }
}
