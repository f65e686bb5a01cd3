//! `[server]`: where the supervisor listens, and how it stops.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use rollcall_common::http::{Exception, Guard};

use super::{
    node::Node,
    section::Section,
    values::{Checked, DAY, boolean, duration, list, text},
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
    /// Where subscriptions of the API may send although it is special.
    pub allow_destinations: Vec<Exception>,
    /// A file of certificates in PEM that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400),
            insecure: false,
            drain_timeout: Duration::from_secs(25),
            allow_destinations: Vec::new(),
            ca_file: None,
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
        let allowed = section.read("allow_destinations", |node| list(node, exception));
        server.allow_destinations = allowed.unwrap_or_default();
        server.ca_file = section.read("ca_file", |node| Ok(PathBuf::from(text(node)?)));
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

    /// Where subscriptions of the API may send. A server that only the machine itself reaches may
    /// reach the machine.
    #[must_use]
    pub fn guard(&self) -> Guard {
        let guard = Guard::new(self.allow_destinations.iter().cloned());
        if self.listen.ip().to_canonical().is_loopback() { guard.with_loopback() } else { guard }
    }
}

fn exception(node: &Node) -> Checked<Exception> {
    text(node)?.parse().map_err(|error: String| node.wrong(error))
}
