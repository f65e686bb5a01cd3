//! Going down: the first signal asks everything to finish, the second stops at once.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::task;

/// How far the process is on its way down.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// It works.
    Running,
    /// It finishes what it has, and takes nothing more.
    Draining,
    /// It stops where it stands.
    Now,
}

/// Says how far the process is on its way down. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

impl Shutdown {
    /// A shutdown, and the end that moves it on.
    #[must_use]
    pub fn new() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (Trigger(sender), Self(receiver))
    }

    /// The phase at this moment.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the process is at `phase` or past it.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            // Whoever could have moved it is gone, so it stays where it is.
            std::future::pending::<()>().await;
        }
    }
}

/// Moves a [`Shutdown`] on.
#[derive(Clone, Debug)]
pub struct Trigger(watch::Sender<Phase>);

impl Trigger {
    /// Moves on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Lets `SIGTERM` and `SIGINT` move it on: the first to [`Phase::Draining`], the second to
    /// [`Phase::Now`].
    ///
    /// # Errors
    /// When the signals can't be listened for.
    pub fn on_signals(self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        task::spawn("signals", async move {
            for phase in [Phase::Draining, Phase::Now] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!(?phase, "signal received");
                self.advance(phase);
            }
            // Kept alive, so that waiting for a phase never ends by itself.
            std::future::pending::<()>().await;
        });
        Ok(())
    }
}
