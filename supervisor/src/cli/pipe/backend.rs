//! Who does the work: processes here, or HTTP workers elsewhere.

use std::{convert::Infallible, sync::Arc};

use super::{Embedded, Jobs, Remote};
use crate::driver::{Edges, Gone};

/// Who does the work.
#[derive(Debug)]
pub(super) enum Backend {
    /// Processes of this machine.
    Local(Jobs),
    /// HTTP workers.
    Remote(Remote),
}

impl Backend {
    /// What the driver hands work to.
    pub(super) fn edges(&self) -> Arc<dyn Edges> {
        match self {
            Self::Local(jobs) => jobs.edges(),
            Self::Remote(remote) => remote.edges(),
        }
    }

    /// Work may come from now on.
    pub(super) async fn join(&self, embedded: &Embedded) -> Result<(), Gone> {
        match self {
            Self::Local(jobs) => jobs.join(embedded).await,
            Self::Remote(remote) => {
                remote.join();
                Ok(())
            }
        }
    }

    /// Says so when there is nobody to work.
    pub(super) async fn watch(&self, embedded: &Embedded) -> Infallible {
        match self {
            Self::Local(_) => std::future::pending().await,
            Self::Remote(remote) => remote.watch(embedded).await,
        }
    }

    /// Ends all work under way.
    pub(super) async fn stop(self) {
        match self {
            Self::Local(jobs) => jobs.stop().await,
            // Calls end with the process.
            Self::Remote(_) => {}
        }
    }
}
