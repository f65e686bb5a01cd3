//! HTTP workers for a pipe.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rollcall_common::{http::Target, shutdown::Shutdown};
use tokio::{sync::watch, time::sleep};

use super::{
    RESULT_BYTES,
    machine::{Machine, POOL},
};
use crate::{
    dispatcher::{AttemptId, Cause, Delivery, Dispatch, Notice},
    driver::{Edges, Handle},
    record::SubscriptionId,
    web::Sizes,
    workers::{
        calls::Calls,
        membership::{self, ConfiguredPool},
        registry::Registry,
    },
};

/// How often names are resolved again.
const DNS_REFRESH: Duration = Duration::from_secs(30);
/// How often somebody looks whether there are workers at all.
const LOOK: Duration = Duration::from_secs(5);

/// HTTP workers. How many calls there are at once is a matter of the stream, over all of them.
#[derive(Debug)]
pub(super) struct Remote {
    calls: Arc<Calls>,
    shutdown: Shutdown,
    pools: watch::Sender<Vec<ConfiguredPool>>,
}

struct Outside(Arc<Calls>);

impl Edges for Outside {
    fn cancel(&self, worker: &str, attempt: AttemptId) {
        self.0.cancel(worker, attempt);
    }

    fn dispatch(&self, dispatch: Dispatch) {
        self.0.dispatch(dispatch);
    }

    fn probe(&self, worker: Arc<str>) {
        self.0.probe(worker);
    }

    fn deliver(&self, _: Delivery) {}

    fn recall(&self, _: SubscriptionId, _: u32) {}

    fn tell(&self, _: Notice) {}
}

impl Remote {
    pub(super) fn new(workers: &[Target], handle: Handle, shutdown: Shutdown) -> Self {
        let registry = Arc::new(Registry::default());
        let sizes = Sizes { message: RESULT_BYTES, batch: RESULT_BYTES };
        let sizes = Arc::new(ArcSwap::from_pointee(sizes));
        let calls = Arc::new(Calls { registry, handle, sizes });
        let (pools, _) = watch::channel(vec![ConfiguredPool {
            name: POOL.into(),
            workers: workers.to_vec(),
            concurrency: None,
            dns_refresh: DNS_REFRESH,
        }]);
        Self { calls, shutdown, pools }
    }

    pub(super) fn edges(&self) -> Arc<dyn Edges> {
        Arc::new(Outside(Arc::clone(&self.calls)))
    }

    pub(super) fn join(&self) {
        let (registry, handle) = (Arc::clone(&self.calls.registry), self.calls.handle.clone());
        membership::keep(self.pools.subscribe(), registry, handle, self.shutdown.clone());
    }

    /// A worker that is not there costs no try, so the lines wait: people should know.
    pub(super) async fn watch(&self, machine: &Machine) -> Infallible {
        loop {
            sleep(LOOK).await;
            let stream = machine.views.find(&machine.stream);
            let status = stream.and_then(|stream| machine.views.status(stream));
            if status.is_some_and(|(status, _)| status.cause == Some(Cause::NoWorker)) {
                tracing::warn!("no worker can be reached; trying on");
            }
        }
    }
}
