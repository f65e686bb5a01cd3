//! A token: what it is known by, and what it is for.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::dispatcher::settings::Pattern;

/// What a token may be for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Everything that changes something: decisions, pauses, subscriptions. It has the others too.
    Admin,
    /// Everything that only looks.
    Read,
    /// Messages in.
    Send,
    /// To be a worker.
    Work,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Read, Self::Send, Self::Work];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Read => "read",
            Self::Send => "send",
            Self::Work => "work",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Admin => 1,
            Self::Read => 2,
            Self::Send => 4,
            Self::Work => 8,
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether `scope` is among them, or follows from one of them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

/// A token. Its secret is not kept, only a digest of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Token {
    /// What it is called, in the audit too.
    pub name: Box<str>,
    /// What it is for.
    pub scopes: Scopes,
    /// Which streams it is for; absent: all.
    pub streams: Option<Box<[Pattern]>>,
    digest: [u8; 32],
}

impl Token {
    /// One with this secret, for these scopes, and for all streams.
    #[must_use]
    pub fn new(name: Box<str>, secret: &[u8], scopes: Scopes) -> Self {
        let digest = Sha256::digest(secret).into();
        Self { name, scopes, streams: None, digest }
    }

    /// The same, for the streams that fit one of these patterns.
    #[must_use]
    pub fn for_streams(mut self, patterns: Vec<Pattern>) -> Self {
        self.streams = Some(patterns.into());
        self
    }

    /// Whether it has the same secret.
    #[must_use]
    pub fn is_same_secret(&self, other: &Self) -> bool {
        self.has_digest(&other.digest)
    }

    pub(super) fn has_digest(&self, digest: &[u8; 32]) -> bool {
        self.digest.ct_eq(digest).into()
    }

    pub(super) fn sees(&self, stream: &str) -> bool {
        let patterns = self.streams.as_deref();
        patterns.is_none_or(|all| all.iter().any(|pattern| pattern.matches(stream)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_secret_nor_digest_is_shown() {
        let token = Token::new("shop".into(), b"canary", [Scope::Send].into_iter().collect());
        let shown = format!("{token:?} {token:#?}");
        assert!(shown.contains("shop") && !shown.contains("canary"), "{shown}");
        assert!(!shown.contains("digest"));
    }
}
