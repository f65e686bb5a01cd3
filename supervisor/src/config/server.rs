//! `[server]`: where the supervisor listens, and how it stops.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{
    section::Section,
    values::{DAY, boolean, duration},
};

/// `[server]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback although anybody can speak to it.
    pub insecure: bool,
    /// How long what is under way may take to finish when it stops.
    pub drain_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400),
            insecure: false,
            drain_timeout: Duration::from_secs(25),
        }
    }
}

impl Server {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let mut server = Self::default();
        let place = section.place_of("listen");
        let listen = section.read("listen", |node| {
            node.text().and_then(|text| text.parse().ok()).ok_or_else(|| {
                node.unfit("an IP address and a port, as \"127.0.0.1:7400\" or \"[::1]:7400\"")
            })
        });
        server.listen = listen.unwrap_or(server.listen);
        // A wrong value was meant for something; one problem is enough.
        let said = section.place_of("insecure").is_some();
        let insecure = section.read("insecure", boolean).or_else(|| said.then_some(true));
        server.insecure = insecure.unwrap_or(server.insecure);
        let drain = section.read("drain_timeout", |node| duration(node, Duration::ZERO..=DAY));
        server.drain_timeout = drain.unwrap_or(server.drain_timeout);
        section.refuse(&["admin_listen", "tls"]);
        if !server.listen.ip().to_canonical().is_loopback() && !server.insecure {
            let text = format!(
                "{} is not loopback and there are no tokens: refuses to start unless \
                 server.insecure = true",
                server.listen
            );
            section.problem(place, "listen", &text);
        }
        section.close();
        server
    }
}
