//! Workers that stand in the configuration: their host names are resolved to all their addresses,
//! again and again, and each address is a worker.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use rollcall_common::{
    http::Target,
    net::Network,
    shutdown::{Phase, Shutdown},
    task,
};
use tokio::{sync::watch, time::timeout};

use super::registry::{Member, Registry};
use crate::{dispatcher::Event, driver::Handle};

/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The workers of one pool, as the configuration names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfiguredPool {
    /// The pool.
    pub name: Arc<str>,
    /// Its workers.
    pub workers: Vec<Target>,
    /// How many calls each takes at once; `None`: no bound of ours.
    pub concurrency: Option<u32>,
    /// How often names are resolved again.
    pub dns_refresh: Duration,
}

/// Keeps the roster in step with the configured pools until the process drains.
pub fn keep(
    mut pools: watch::Receiver<Vec<ConfiguredPool>>,
    registry: Arc<Registry>,
    handle: Handle,
    mut shutdown: Shutdown,
) {
    task::spawn("membership", async move {
        let mut known: BTreeMap<Arc<str>, Seen> = BTreeMap::new();
        loop {
            let wanted = pools.borrow_and_update().clone();
            let refresh = wanted.iter().map(|pool| pool.dns_refresh).min().unwrap_or(Duration::MAX);
            let found = resolve(registry.network(), &wanted, &known).await;
            for (id, seen) in &found {
                let place = (seen.target.clone(), Some(seen.address));
                let member = registry.set(id, &seen.pool, place, None);
                if known.get(id) == Some(seen) {
                    continue;
                }
                if tell(&handle, id, seen).await.is_err() {
                    return;
                }
                look(&handle, Arc::clone(id), member);
            }
            for id in known.keys().filter(|id| !found.contains_key(*id)) {
                registry.remove(id);
                let left = Event::WorkerLeft { id: Arc::clone(id) };
                if handle.send(left).await.is_err() {
                    return;
                }
            }
            known = found;
            tokio::select! {
                changed = pools.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(refresh) => {}
                () = shutdown.reached(Phase::Draining) => return,
            }
        }
    });
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    pool: Arc<str>,
    target: Target,
    address: SocketAddr,
    concurrency: Option<u32>,
}

async fn tell(handle: &Handle, id: &Arc<str>, seen: &Seen) -> Result<(), crate::driver::Gone> {
    let (id, pool) = (Arc::clone(id), Arc::clone(&seen.pool));
    let concurrency = seen.concurrency;
    handle.send(Event::WorkerSeen { id, pool, concurrency, beats: false }).await
}

/// Looks whether a worker that has just come is there: nobody else does before it gets work.
fn look(handle: &Handle, worker: Arc<str>, member: Arc<Member>) {
    let handle = handle.clone();
    task::spawn("probe", async move {
        let presence = member.look(&worker).await;
        // Err: the driver has ended, and nobody waits.
        let _ = handle.send(Event::Probed { worker, presence }).await;
    });
}

/// Each address of each worker. A name that can't be resolved now keeps what it had.
async fn resolve(
    network: &Network,
    pools: &[ConfiguredPool],
    known: &BTreeMap<Arc<str>, Seen>,
) -> BTreeMap<Arc<str>, Seen> {
    let mut found = BTreeMap::new();
    for pool in pools {
        for target in &pool.workers {
            let looking = network.lookup(target.host(), target.port());
            let looked_up = timeout(RESOLVE_TIMEOUT, looking).await;
            let addresses: Vec<SocketAddr> = match looked_up {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(%target, "a worker's name can't be resolved");
                    let before = known.values().filter(|seen| seen.target == *target);
                    before.map(|seen| seen.address).collect()
                }
            };
            for address in addresses {
                let literal = target.host().parse::<std::net::IpAddr>().is_ok();
                let id: Arc<str> = if literal {
                    target.to_string().trim_end_matches('/').into()
                } else {
                    format!("{}#{}", target.to_string().trim_end_matches('/'), address.ip()).into()
                };
                let (pool_name, concurrency) = (Arc::clone(&pool.name), pool.concurrency);
                let (pool, target) = (pool_name, target.clone());
                found.insert(id, Seen { pool, target, address, concurrency });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(workers: &[&str]) -> ConfiguredPool {
        ConfiguredPool {
            name: "p".into(),
            workers: workers.iter().map(|url| url.parse().unwrap()).collect(),
            concurrency: Some(3),
            dns_refresh: Duration::from_secs(30),
        }
    }

    #[tokio::test]
    async fn a_name_is_all_its_addresses_and_an_address_is_itself() {
        let pool = pool(&["http://localhost:9000/x", "http://127.0.0.1:9000"]);
        let found = resolve(&Network::default(), &[pool], &BTreeMap::new()).await;
        let looked_up = tokio::net::lookup_host(("localhost", 9000)).await.unwrap();
        let addresses: std::collections::BTreeSet<_> = looked_up.collect();
        assert_eq!(found.len(), addresses.len() + 1, "{found:?}");
        for address in addresses {
            let id = format!("http://localhost:9000/x#{}", address.ip());
            assert_eq!(found[&*id].address, address);
        }
        assert!(found.contains_key("http://127.0.0.1:9000"));
    }

    #[tokio::test]
    async fn a_name_that_is_lost_keeps_what_it_had() {
        // RFC 6761 keeps this name from ever being there.
        let pool = pool(&["http://rollcall.invalid:9000"]);
        let [target] = &pool.workers[..] else { panic!("one worker") };
        let seen = |last: u8| Seen {
            pool: "p".into(),
            target: target.clone(),
            address: SocketAddr::from(([10, 0, 0, last], 9000)),
            concurrency: Some(3),
        };
        let known = [1, 2].map(|last| {
            (Arc::from(format!("http://rollcall.invalid:9000#10.0.0.{last}")), seen(last))
        });
        let known = BTreeMap::from(known);
        assert_eq!(resolve(&Network::default(), &[pool], &known).await, known);
    }
}
