//! A worker at work, and how it goes down.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rollcall_common::{
    net::Listener,
    shutdown::{Phase, Shutdown},
    task,
};
use tokio::{sync::watch, time::timeout};

use crate::{
    heartbeat::Heartbeat,
    lifecycle::{Stage, Stages},
    server::Server,
};

/// How long connections may take to send their last answer.
const CLOSING: Duration = Duration::from_secs(5);

/// How a worker ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It has finished what it had.
    Drained,
    /// It was stopped with work under way.
    Stopped,
}

/// Passes the process's phases on to the worker.
pub(crate) async fn follow(mut shutdown: Shutdown, stages: Stages) {
    for (phase, stage) in [(Phase::Draining, Stage::Draining), (Phase::Now, Stage::Stopped)] {
        tokio::select! {
            () = shutdown.reached(phase) => stages.advance(stage),
            () = stages.reached(Stage::Stopped) => return,
        }
    }
}

/// A worker's life, from the first connection to the last.
pub(crate) async fn live(
    server: Arc<Server>,
    listener: Listener,
    beats: Vec<Heartbeat>,
    (stages, patience): (Stages, Option<Duration>),
) -> Ended {
    let beats: Vec<_> =
        beats.into_iter().map(|beat| task::spawn("heartbeat", beat.run())).collect();
    let connections = task::spawn("server", Arc::clone(&server).run(listener));
    let drained = async {
        stages.reached(Stage::Draining).await;
        tracing::info!("draining");
        if !is_done_within(patience, server.calls.none()).await {
            tracing::warn!(after = ?patience, "what still runs is ended; it is done elsewhere");
            stages.advance(Stage::Ending);
            server.calls.none().await;
        }
        let ended = if stages.now() == Stage::Ending { Ended::Stopped } else { Ended::Drained };
        stages.advance(Stage::Leaving);
        for beat in beats {
            // Err: the runtime goes down, and everything with it.
            let _ = beat.await;
        }
        ended
    };
    let ended = tokio::select! {
        ended = drained => ended,
        () = stages.reached(Stage::Stopped) => Ended::Stopped,
    };
    // Asked here, because a stop leaves no calls either and so looks like the end of a drain.
    let ended = if stages.now() == Stage::Stopped { Ended::Stopped } else { ended };
    stages.advance(Stage::Closing);
    let mut connections = connections;
    if timeout(CLOSING, &mut connections).await.is_err() {
        stages.advance(Stage::Stopped);
        let _ = connections.await;
    }
    stages.advance(Stage::Stopped);
    tracing::info!(?ended, "ended");
    ended
}

/// Whether `done` comes in time; without a bound it always does.
async fn is_done_within(patience: Option<Duration>, done: impl Future<Output = ()>) -> bool {
    match patience {
        None => {
            done.await;
            true
        }
        Some(patience) => timeout(patience, done).await.is_ok(),
    }
}

/// Lets `life` take its course, and tells how it ended.
pub(crate) fn watched(
    life: impl Future<Output = Ended> + Send + 'static,
) -> watch::Receiver<Option<Ended>> {
    let (ended, end) = watch::channel(None);
    task::spawn("worker", async move {
        let how = life.await;
        // Err: nobody wants to know.
        let _ = ended.send(Some(how));
    });
    end
}

/// A worker at work. When this is dropped the worker stops where it stands.
#[derive(Debug)]
pub struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) secure: bool,
    pub(crate) id: String,
    pub(crate) stages: Stages,
    pub(crate) end: watch::Receiver<Option<Ended>>,
}

impl Running {
    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where supervisors call it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes no more messages, finishes those that run, signs off, and ends.
    pub async fn drain(&self) -> Ended {
        self.stages.advance(Stage::Draining);
        self.ended().await
    }

    /// Drops what runs, and ends.
    pub async fn stop(&self) -> Ended {
        self.stages.advance(Stage::Stopped);
        self.ended().await
    }

    /// Waits until it has ended: by itself when a supervisor or the process asks it to.
    pub async fn ended(&self) -> Ended {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        // Err: the runtime goes down, and everything with it.
        ended.map_or(Ended::Stopped, |ended| ended.unwrap_or(Ended::Stopped))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stages.advance(Stage::Stopped);
    }
}
