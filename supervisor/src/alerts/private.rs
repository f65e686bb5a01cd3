//! What must never be shown.

use std::{fmt, sync::Arc};

/// Text that is a secret, or has one in it: a URL with a token, a key, a password. It is printed
/// nowhere.
#[derive(Clone, Eq, PartialEq)]
pub struct Private(Arc<str>);

impl Private {
    /// Keeps `text` to itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for whom it is meant.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(…)")
    }
}
