//! Threads of one's own, for what must not hold up everything else, or must not wait for it.

use std::fmt;

use tokio::runtime::{Builder, Runtime};

/// A runtime that is given up in the background: whoever drops it may be in another one, where
/// waiting for its threads is not allowed.
pub struct Threads(Option<Runtime>);

impl Threads {
    /// Starts what `builder` describes. If the system refuses, that is logged, and there are none.
    #[must_use]
    pub fn start(builder: &mut Builder, name: &'static str) -> Self {
        let runtime = builder.thread_name(name).build();
        let failed = |error: &_| tracing::warn!(%error, name, "no threads of their own");
        Self(runtime.inspect_err(failed).ok())
    }

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// They, if there are any.
    #[must_use]
    pub fn get(&self) -> Option<&Runtime> {
        self.0.as_ref()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Threads").finish()
    }
}
