//! `[server]`: where the supervisor listens, and how it stops.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use rollcall_common::http::{AddressPolicy, Exception, Site, Target};
use rustls::ServerConfig;

use super::{
    node::Node,
    section::Section,
    tls::{self, Tls},
    values::{Checked, DAY, boolean, duration, list, text, url},
};

/// `[server]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where people and readers are answered, if not there too.
    pub admin_listen: Option<SocketAddr>,
    /// What it speaks TLS with; absent: it speaks plain HTTP.
    pub tls: Option<Tls<ServerConfig>>,
    /// Whether it may listen beyond loopback although anybody can speak to it.
    pub insecure: bool,
    /// How long what is under way may take to finish when it stops.
    pub drain_timeout: Duration,
    /// Where subscriptions of the API may send although it is special.
    pub allow_destinations: Vec<Exception>,
    /// A file of certificates in PEM that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
    /// Under which URL people's browsers find it, if that is not where it listens.
    pub public_url: Option<Target>,
    /// Names by which it is called, beside IP addresses and `localhost`.
    pub hosts: Vec<Box<str>>,
}

/// Whether there are tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Callers {
    /// No: anybody may call.
    Anybody,
    /// Yes.
    Known,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400),
            admin_listen: None,
            tls: None,
            insecure: false,
            drain_timeout: Duration::from_secs(25),
            allow_destinations: Vec::new(),
            ca_file: None,
            public_url: None,
            hosts: Vec::new(),
        }
    }
}

impl Server {
    pub(super) fn read(mut section: Section<'_>, callers: Callers) -> Self {
        let mut server = Self::default();
        let places = ["listen", "admin_listen"].map(|key| section.place_of(key));
        let listen = section.read("listen", socket_address);
        server.admin_listen = section.read("admin_listen", socket_address);
        if server.admin_listen.is_some_and(|admin| admin.port() != 0 && Some(admin) == listen) {
            let text = "is the same as server.listen; expected another one, or none";
            section.problem(places[1].clone(), "admin_listen", text);
        }
        server.tls = tls::server(&mut section);
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
        server.public_url = section.read("public_url", url);
        server.hosts = section.read("hosts", |node| list(node, host)).unwrap_or_default();
        if callers == Callers::Anybody && !server.insecure && !server.knows_clients() {
            let listens = [("listen", Some(server.listen)), ("admin_listen", server.admin_listen)];
            for ((key, address), place) in listens.into_iter().zip(places) {
                let Some(address) = address.filter(|address| !is_loopback(*address)) else {
                    continue;
                };
                let text = format!(
                    "{address} is not loopback and there are no tokens: refuses to start unless \
                     server.insecure = true"
                );
                section.problem(place, key, &text);
            }
        }
        section.close();
        server
    }

    /// Whether only clients with a certificate are spoken to.
    pub(super) fn knows_clients(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::names_authorities)
    }

    /// Whether tokens would travel for everybody to read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.tls.is_none() && !self.is_for_the_machine_itself()
    }

    pub(super) fn is_for_the_machine_itself(&self) -> bool {
        [Some(self.listen), self.admin_listen].into_iter().flatten().all(is_loopback)
    }

    /// The names by which it is called, for whoever needs no token.
    #[must_use]
    pub fn site(&self) -> Site {
        Site::new(self.public_url.clone(), self.hosts.iter().cloned())
    }

    /// Where workers that register may be: anywhere but where clouds hand out credentials.
    #[must_use]
    pub fn worker_guard(&self) -> AddressPolicy {
        AddressPolicy::new(self.allow_destinations.iter().cloned()).for_workers()
    }

    /// Where subscriptions of the API may send. A server that only the machine itself reaches may
    /// reach the machine.
    #[must_use]
    pub fn guard(&self) -> AddressPolicy {
        let guard = AddressPolicy::new(self.allow_destinations.iter().cloned());
        if self.is_for_the_machine_itself() { guard.with_loopback() } else { guard }
    }
}

/// Whether only the machine itself can reach an address.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// An address to listen at. No name but `localhost`: others may lead elsewhere, or to several.
pub(super) fn socket_address(node: &Node) -> Checked<SocketAddr> {
    let address = node.text().and_then(|text| match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?))),
        None => text.parse().ok(),
    });
    address.ok_or_else(|| {
        node.unfit("an IP address and a port, as \"127.0.0.1:7400\" or \"[::1]:7400\"")
    })
}

/// A host's name, without a port.
fn host(node: &Node) -> Checked<Box<str>> {
    let name = text(node)?.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if !name.is_empty() && name.chars().all(good) {
        return Ok(name.into());
    }
    Err(node.unfit("a host's name without a port, as \"rollcall.internal\""))
}

fn exception(node: &Node) -> Checked<Exception> {
    text(node)?.parse().map_err(|error: String| node.wrong(error))
}
