//! What must never be shown.

use std::{convert::Infallible, fmt, str::FromStr, sync::Arc};

/// Text that is a secret, or has one in it: a token, a URL with one, a key, a password. It is
/// printed nowhere.
#[derive(Clone, Eq, PartialEq)]
pub struct Redacted(Arc<str>);

impl Redacted {
    /// Keeps `text` to itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for whom it is meant.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// For command lines.
impl FromStr for Redacted {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_shown_and_told_when_asked() {
        let private: Redacted = "canary".parse().unwrap();
        assert_eq!(format!("{private:?} {:#?}", Some(&private)).matches("canary").count(), 0);
        assert_eq!(private.reveal(), "canary");
    }
}
