//! How many connections each address has, so that nobody alone takes them all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rollcall_common::limits::CONNECTIONS_PER_ADDRESS;

/// Counts connections by address.
#[derive(Clone, Debug, Default)]
pub struct AddressLimiter {
    most: Option<u32>,
    counts: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// A connection that is counted as long as this is there.
#[derive(Debug)]
pub(super) struct AddressPermit {
    per_address: AddressLimiter,
    address: IpAddr,
}

impl AddressLimiter {
    /// At most so many of each address; `None`: of the machine itself as many as come (a proxy
    /// beside us brings everybody's), and [`CONNECTIONS_PER_ADDRESS`] of another one.
    #[must_use]
    pub fn new(most: Option<u32>) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// A place for one more connection of `address`, if there is one.
    pub(super) fn enter(&self, address: IpAddr) -> Option<AddressPermit> {
        let address = network(address);
        let most = match self.most {
            Some(most) => most,
            None if address.is_loopback() => u32::MAX,
            None => CONNECTIONS_PER_ADDRESS,
        };
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(AddressPermit { per_address: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.per_address.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What one machine can have many of is taken as one: the last 64 bits of an IPv6 address are its
/// own to choose (RFC 4291 §2.5.1).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))
        }
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(per_address: &AddressLimiter, address: &str) -> Option<AddressPermit> {
        per_address.enter(address.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let per_address = AddressLimiter::new(Some(2));
        let first = enter(&per_address, "127.0.0.1").unwrap();
        let _second = enter(&per_address, "127.0.0.1").unwrap();
        assert!(enter(&per_address, "127.0.0.1").is_none());
        assert!(enter(&per_address, "::ffff:127.0.0.1").is_none());
        let _other = enter(&per_address, "127.0.0.2").unwrap();
        drop(first);
        assert!(enter(&per_address, "127.0.0.1").is_some());
    }

    #[test]
    fn who_has_gone_leaves_nothing_behind() {
        let per_address = AddressLimiter::new(None);
        drop([enter(&per_address, "10.0.0.1"), enter(&per_address, "::1")]);
        assert!(per_address.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let per_address = AddressLimiter::new(Some(1));
        let _first = enter(&per_address, "2001:db8::1").unwrap();
        assert!(enter(&per_address, "2001:db8::ffff:2").is_none());
        assert!(enter(&per_address, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn unless_told_otherwise_the_machine_itself_has_no_bound() {
        let per_address = AddressLimiter::new(None);
        let most = CONNECTIONS_PER_ADDRESS;
        let own: Vec<_> = (0..=most).map(|_| enter(&per_address, "127.0.0.1")).collect();
        assert!(own.iter().all(Option::is_some));
        let others: Vec<_> = (0..=most).map(|_| enter(&per_address, "10.0.0.1")).collect();
        assert_eq!(others.iter().filter(|place| place.is_none()).count(), 1);
    }
}
