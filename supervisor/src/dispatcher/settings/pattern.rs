//! Patterns of streams' names.

/// A stream's name with `*` for any run of characters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The pattern `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How specific it is: a pattern without `*` is more so than any with one, and otherwise the
    /// one with more fixed characters.
    #[must_use]
    pub fn specificity(&self) -> (bool, usize) {
        let fixed = self.0.bytes().filter(|b| *b != b'*').count();
        (fixed == self.0.len(), fixed)
    }

    /// Whether `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_runs() {
        for (pattern, name, fits) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "anything", true),
            ("customer.*", "customer.7", true),
            ("customer.*", "customers", false),
            ("*.eu.*", "a.eu.b", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), fits, "{pattern} {name}");
        }
    }
}
