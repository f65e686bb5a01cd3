//! Where somebody who may only speak to the API must not make this process connect to: the
//! machine itself, its networks, and what clouds answer there (server-side request forgery). The
//! special ranges are those of the IANA registries for IPv4 and IPv6 (RFC 6890 and its updates).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

/// What may be connected to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddressPolicy {
    networks: Vec<IpNet>,
    hosts: BTreeSet<Box<str>>,
    bars: Bars,
}

/// Which addresses are special.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Bars {
    /// All that are not public.
    #[default]
    Special,
    /// Those at which clouds hand out credentials, and those that only neighbours on the same wire
    /// have.
    Credentials,
}

/// One thing that is allowed although it is special: `10.0.0.0/8`, `127.0.0.1`, `hooks.internal`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Exception {
    /// A host by its name, wherever that leads.
    Host(Box<str>),
    /// Addresses.
    Network(IpNet),
}

/// An address that must not be connected to, and what it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{address} is {what}, and server.allow_destinations does not name it")]
pub struct Forbidden {
    address: IpAddr,
    what: &'static str,
}

impl AddressPolicy {
    /// A guard that lets these through, and all public addresses.
    #[must_use]
    pub fn new(exceptions: impl IntoIterator<Item = Exception>) -> Self {
        let mut guard = Self::default();
        for exception in exceptions {
            match exception {
                Exception::Host(name) => {
                    guard.hosts.insert(name);
                }
                Exception::Network(network) => guard.networks.push(network),
            }
        }
        guard
    }

    /// The same, with the machine itself let through: for one that only the machine can reach.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.networks.extend(IpNet::new(v4, 8).ok().map(|network| network.trunc()));
        self.networks.push(IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        self
    }

    /// The same, with private networks and the machine itself let through: workers are there. What
    /// stays closed is where clouds hand out credentials, however that is written.
    #[must_use]
    pub fn for_workers(mut self) -> Self {
        self.bars = Bars::Credentials;
        self
    }

    /// Checks an address that `host` stands for.
    ///
    /// # Errors
    /// When it must not be connected to.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        let plain = embedded(address).map_or(address, IpAddr::V4);
        let listed = self.networks.iter().any(|net| net.contains(&address) || net.contains(&plain));
        if listed || self.hosts.contains(host.to_ascii_lowercase().trim_end_matches('.')) {
            return Ok(());
        }
        let what = match (self.bars, plain) {
            (Bars::Special, IpAddr::V4(v4)) => special_v4(v4),
            (Bars::Special, IpAddr::V6(v6)) => special_v6(v6),
            (Bars::Credentials, plain) => credentials(plain),
        };
        what.map_or(Ok(()), |what| Err(Forbidden { address, what }))
    }
}

impl FromStr for Exception {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let digits = text.rsplit('.').next().is_some_and(|last| last.parse::<u32>().is_ok());
        if text.is_empty() || !text.chars().all(good) || digits {
            return Err(format!(
                "{text:?} is neither a network, nor an address, nor a host's name"
            ));
        }
        Ok(Self::Host(text.to_ascii_lowercase().trim_end_matches('.').into()))
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped (RFC 4291 §2.5.5.2), compatible
/// (§2.5.5.1), or translated (RFC 6052).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else {
        return None;
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// The IPv4 addresses that an IPv6 address may lead to by a tunnel or a translator that somebody
/// has set up: 6to4 (RFC 3056), and the prefix for translators of one's own (RFC 8215) in the two
/// places where they put them (RFC 6052 §2.2).
fn tunnelled(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let of = |bytes: [u8; 4]| Ipv4Addr::from(bytes);
    let join = |one: u16, other: u16| {
        let ([a, b], [c, d]) = (one.to_be_bytes(), other.to_be_bytes());
        [a, b, c, d]
    };
    match address.segments() {
        [0x2002, high, low, ..] => vec![of(join(high, low))],
        [0x64, 0xff9b, 1, one, two, three, high, low] => {
            let ([_, c], [d, _]) = (two.to_be_bytes(), three.to_be_bytes());
            let [a, b] = one.to_be_bytes();
            vec![of(join(high, low)), of([a, b, c, d])]
        }
        _ => Vec::new(),
    }
}

/// Where clouds hand out credentials to whoever asks, and link-local addresses, among which more of
/// these are.
fn credentials(address: IpAddr) -> Option<&'static str> {
    let closed = |v4: Ipv4Addr| match v4.octets() {
        [169, 254, ..] => special_v4(v4),
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => Some(METADATA),
        _ => None,
    };
    match address {
        IpAddr::V4(v4) => closed(v4),
        IpAddr::V6(v6) => match v6.segments() {
            [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => Some(METADATA),
            [0xfe80..=0xfebf, ..] => special_v6(v6),
            _ => tunnelled(v6).into_iter().find_map(closed),
        },
    }
}

/// What such a place is.
const METADATA: &str = "a cloud's metadata service";

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "unspecified",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared by a carrier (RFC 6598)",
        [127, ..] => "loopback",
        [169, 254, 169, 254] | [168, 63, 129, 16] => "a cloud's metadata service",
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] | [192, 88, 99, _] => "for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "for documentation",
        [198, 18..=19, ..] => "for benchmarks",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0xfd00, 0xec2, ..] => "a cloud's metadata service",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "for documentation",
        // They lead to IPv4 addresses of somebody's choice.
        [0x2002, ..] | [0x2001, 0, ..] => "a tunnel",
        [0x2001, 1..=0x1ff, ..] => "for protocols",
        [0x2000..=0x3fff, ..] => return None,
        _ => "reserved",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(address: &str) -> Option<&'static str> {
        let checked = AddressPolicy::default().check("host", address.parse().unwrap());
        checked.err().map(|forbidden| forbidden.what)
    }

    #[test]
    fn special_addresses_are_refused_in_every_form() {
        for (address, expected) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "shared by a carrier (RFC 6598)"),
            ("100.100.100.200", "shared by a carrier (RFC 6598)"),
            ("127.0.0.1", "loopback"),
            ("127.255.0.1", "loopback"),
            ("169.254.169.254", "a cloud's metadata service"),
            ("168.63.129.16", "a cloud's metadata service"),
            ("169.254.1.1", "link-local"),
            ("192.0.0.192", "for protocols"),
            ("192.0.2.1", "for documentation"),
            ("198.51.100.1", "for documentation"),
            ("203.0.113.1", "for documentation"),
            ("198.18.0.1", "for benchmarks"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("fd00:ec2::254", "a cloud's metadata service"),
            ("fc00::1", "private"),
            ("fd12::1", "private"),
            ("fe80::1", "link-local"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "for documentation"),
            ("3fff::1", "for documentation"),
            ("2002:7f00:1::", "a tunnel"),
            ("2001:0:1::", "a tunnel"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::127.0.0.1", "loopback"),
            ("::a9fe:a9fe", "a cloud's metadata service"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b:1::1", "reserved"),
            ("100::1", "reserved"),
            ("fec0::1", "reserved"),
        ] {
            assert_eq!(what(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn workers_are_anywhere_but_where_credentials_are() {
        let guard = AddressPolicy::default().for_workers();
        let check = |ip: &str| guard.check("host", ip.parse().unwrap()).is_ok();
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!check(ip), "{ip}");
        }
        for ip in [
            "10.0.0.5",
            "172.16.0.1",
            "192.168.7.7",
            "100.64.0.1",
            "127.0.0.1",
            "::1",
            "fd12::1",
            "::ffff:10.0.0.5",
            "64:ff9b::10.0.0.5",
            "8.8.8.8",
            "2001:db8::1",
        ] {
            assert!(check(ip), "{ip}");
        }
        let named = AddressPolicy::new(["169.254.0.0/16".parse().unwrap()]).for_workers();
        for ip in ["169.254.169.254", "::ffff:169.254.169.254"] {
            assert!(named.check("host", ip.parse().unwrap()).is_ok(), "{ip}");
        }
        assert!(named.check("host", "fe80::1".parse().unwrap()).is_err());
    }

    #[test]
    fn public_addresses_are_not() {
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            assert_eq!(what(address), None, "{address}");
        }
    }

    #[test]
    fn exceptions_are_networks_addresses_and_names() {
        let exceptions = ["10.0.0.0/8", "192.168.7.7", "Hooks.Internal", "fd12::/16"];
        let guard = AddressPolicy::new(exceptions.map(|text| text.parse().unwrap()));
        let check = |host: &str, ip: &str| guard.check(host, ip.parse().unwrap()).is_ok();
        for (host, ip, allowed) in [
            ("x", "10.9.8.7", true),
            ("x", "::ffff:10.9.8.7", true),
            ("x", "192.168.7.7", true),
            ("x", "192.168.7.8", false),
            ("hooks.internal", "127.0.0.1", true),
            ("HOOKS.internal.", "127.0.0.1", true),
            ("x.hooks.internal", "127.0.0.1", false),
            ("x", "fd12::5", true),
            ("x", "127.0.0.1", false),
        ] {
            assert_eq!(check(host, ip), allowed, "{host} {ip}");
        }
        let open = AddressPolicy::default().with_loopback();
        for (ip, allowed) in [("127.9.9.9", true), ("::1", true), ("10.0.0.1", false)] {
            assert_eq!(open.check("x", ip.parse().unwrap()).is_ok(), allowed, "{ip}");
        }
        for bad in ["", "10.0.0.0/33", "a b", "1.2.3", "http://x"] {
            assert!(bad.parse::<Exception>().is_err(), "{bad}");
        }
    }
}
