//! Where records go that travel without HTTP: `tcp://host:port?framing=lines|length&ack=line|none`.

use std::{fmt, str::FromStr};

use super::{BadTarget, target::is_host};

/// A `tcp://` URL, taken apart.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SocketTarget {
    host: Box<str>,
    port: u16,
    /// How records are told apart.
    pub framing: Framing,
    /// When a record is done.
    pub acks: Acks,
}

/// How records are told apart.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Framing {
    /// Each has its length before it: `u32`, big-endian.
    Length,
    /// Each ends with a line end, so it can't hold one.
    Lines,
}

/// When a record is done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Acks {
    /// When a line has come back for it.
    Line,
    /// When it is written.
    None,
}

impl SocketTarget {
    /// The host, as written; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for SocketTarget {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why: &str| BadTarget::new(format!("{text:?} is no tcp:// URL: {why}"));
        let rest = text.strip_prefix("tcp://").ok_or_else(|| bad("it has to begin with tcp://"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority: http::uri::Authority =
            place.trim_end_matches('/').parse().map_err(|error| bad(&format!("{error}")))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not hold credentials"));
        }
        if !is_host(authority.host()) {
            return Err(bad("its host is neither a name nor an address"));
        }
        let port = authority.port_u16().filter(|port| *port != 0);
        let mut target = Self {
            host: authority.host().into(),
            port: port.ok_or_else(|| bad("it needs a port from 1 to 65535"))?,
            framing: Framing::Lines,
            acks: Acks::Line,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair {
                "framing=lines" => target.framing = Framing::Lines,
                "framing=length" => target.framing = Framing::Length,
                "ack=line" => target.acks = Acks::Line,
                "ack=none" => target.acks = Acks::None,
                _ => {
                    return Err(bad(&format!(
                        "{pair:?} is not known; expected framing=lines, framing=length, \
                         ack=line or ack=none"
                    )));
                }
            }
        }
        Ok(target)
    }
}

impl fmt::Display for SocketTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let framing = match self.framing {
            Framing::Length => "length",
            Framing::Lines => "lines",
        };
        let acks = match self.acks {
            Acks::Line => "line",
            Acks::None => "none",
        };
        write!(f, "tcp://{}:{}?framing={framing}&ack={acks}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target: SocketTarget = "tcp://[::1]:9000?framing=length&ack=none".parse().unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 9000));
        assert_eq!((target.framing, target.acks), (Framing::Length, Acks::None));
        let target: SocketTarget = "tcp://sink:7".parse().unwrap();
        assert_eq!(target.to_string(), "tcp://sink:7?framing=lines&ack=line");
        assert_eq!(target.to_string().parse(), Ok(target));
    }

    #[test]
    fn other_things_are_refused() {
        for bad in [
            "tcp://x",
            "tcp://x:0",
            "tcp://x:99999",
            "tcp://:7",
            "tcp://x[::1]:7",
            "tcp://u@x:7",
            "tcp://x:7?framing=xml",
            "tcp://x:7?acks=line",
            "http://x:7",
        ] {
            assert!(bad.parse::<SocketTarget>().is_err(), "{bad}");
        }
    }
}
