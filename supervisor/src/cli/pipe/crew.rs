//! Who does the work: processes here, or HTTP workers elsewhere.

use std::{convert::Infallible, sync::Arc};

use super::{Jobs, Machine, Remote};
use crate::driver::{Edges, Gone};

/// Who does the work.
#[derive(Debug)]
pub(super) enum Crew {
    /// Processes of this machine.
    Local(Jobs),
    /// HTTP workers.
    Remote(Remote),
}

impl Crew {
    /// What the driver hands work to.
    pub(super) fn edges(&self) -> Arc<dyn Edges> {
        match self {
            Self::Local(jobs) => jobs.edges(),
            Self::Remote(remote) => remote.edges(),
        }
    }

    /// Work may come from now on.
    pub(super) async fn join(&self, machine: &Machine) -> Result<(), Gone> {
        match self {
            Self::Local(jobs) => jobs.join(machine).await,
            Self::Remote(remote) => {
                remote.join();
                Ok(())
            }
        }
    }

    /// Says so when there is nobody to work.
    pub(super) async fn watch(&self, machine: &Machine) -> Infallible {
        match self {
            Self::Local(_) => std::future::pending().await,
            Self::Remote(remote) => remote.watch(machine).await,
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
