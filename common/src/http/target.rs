//! Where a request goes.

use std::{fmt, str::FromStr};

use http::Uri;

/// An `http://` or `https://` URL, taken apart.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    path: Box<str>,
}

/// How requests travel.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Target {
    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The host, as written; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port; 80, or 443 for `https://`, when the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, at least `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why: &str| BadTarget(format!("{text:?} is no http:// or https:// URL: {why}"));
        let uri: Uri = text.parse().map_err(|error| bad(&format!("{error}")))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) | None => return Err(bad("it has to begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not hold credentials"));
        }
        if !is_host(authority.host()) {
            return Err(bad("its host is neither a name nor an address"));
        }
        // A port that is no number makes `port` absent although there is one.
        let rest = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        let port = match rest {
            "" => Some(scheme.port()),
            _ => authority.port_u16().filter(|port| *port != 0),
        };
        Ok(Self {
            scheme,
            host: authority.host().into(),
            port: port.ok_or_else(|| bad("its port is not from 1 to 65535"))?,
            path: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).into(),
        })
    }
}

/// Whether a host is a name or an address: it is not empty, and brackets stand around the whole of
/// it or nowhere.
pub(super) fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| !inner.is_empty() && !inner.contains(['[', ']']))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Text that is no `http://` or `https://` URL, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadTarget(String);

impl BadTarget {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target: Target = "http://[::1]:9000/hook?x=1".parse().unwrap();
        assert_eq!((target.host(), target.port(), target.path()), ("::1", 9000, "/hook?x=1"));
        assert_eq!(target.authority(), "[::1]:9000");
        let target: Target = "http://example".parse().unwrap();
        assert_eq!((target.port(), target.path(), &*target.authority()), (80, "/", "example"));
        let target: Target = "https://example/x".parse().unwrap();
        assert_eq!((target.port(), &*target.authority()), (443, "example"));
        assert!(target.is_secure());
        assert_eq!(target.to_string(), "https://example/x");
    }

    #[test]
    fn other_things_are_refused() {
        let hostless = ["http://", "https://:2", "https://:2/x", "http://[]", "http://[]:2/"];
        let others = ["", "example", "tcp://x", "http://u:p@x/", "ftp://x", "http://x y"];
        for bad in others.into_iter().chain(hostless) {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
