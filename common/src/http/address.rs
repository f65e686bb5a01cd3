//! Where results can be sent: by HTTP, or as records over a plain connection.

use std::{fmt, str::FromStr};

use super::{BadTarget, SocketTarget, Target};

/// A destination's URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// `http://` or `https://`.
    Http(Target),
    /// `tcp://`.
    Socket(SocketTarget),
}

impl Address {
    /// The host, as written; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Http(target) => target.host(),
            Self::Socket(target) => target.host(),
        }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Http(target) => target.port(),
            Self::Socket(target) => target.port(),
        }
    }
}

impl FromStr for Address {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("tcp://") {
            return text.parse().map(Self::Socket);
        }
        text.parse().map(Self::Http)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(target) => target.fmt(f),
            Self::Socket(target) => target.fmt(f),
        }
    }
}
