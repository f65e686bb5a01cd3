//! How far one worker is on its way down. One worker's own, so that several can live in a
//! process.

use tokio::sync::watch;

/// The stages, in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stage {
    /// It takes messages.
    Working,
    /// It finishes what runs, and takes nothing more.
    Draining,
    /// What still runs is ended, and its messages are sent elsewhere.
    Ending,
    /// Nothing runs: it signs off.
    Leaving,
    /// Its connections close.
    Closing,
    /// Whatever is left is dropped.
    Stopped,
}

/// Where a worker stands. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Stages(watch::Sender<Stage>);

impl Stages {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Stage::Working))
    }

    pub(crate) fn now(&self) -> Stage {
        *self.0.borrow()
    }

    /// Moves on to `lifecycle`; never back.
    pub(crate) fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            *now = stage.max(*now);
            later
        });
    }

    /// Waits until the worker is at `lifecycle` or past it.
    pub(crate) async fn reached(&self, stage: Stage) {
        // Err is impossible while `self` holds the sender.
        let _ = self.0.subscribe().wait_for(|now| *now >= stage).await;
    }
}
