//! Connections for which there is no place: they are told so, and what they send meanwhile is read
//! for a moment, or the system would throw the answer away with it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use rollcall_common::{
    limits::{TCP_LINGER, TCP_LINGER_BYTES, TURNED_AWAY},
    net::Stream,
    task,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
    time::timeout,
};

/// Turns connections away, some of them at a time; more are closed at once.
#[derive(Debug)]
pub(super) struct TurnAway(Arc<Semaphore>);

impl Default for TurnAway {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TURNED_AWAY)))
    }
}

impl TurnAway {
    /// Says this, and closes.
    pub(super) fn turn_away(&self, mut stream: Stream, text: String) {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            // What is so short finds room in an empty buffer. `None`, Err: it has gone.
            let _ = stream.write_all(text.as_bytes()).now_or_never();
            return;
        };
        task::spawn("turned-away", async move {
            // Err: it has gone, or goes on sending.
            let _ = timeout(TCP_LINGER, part(&mut stream, &text)).await;
            drop(place);
        });
    }
}

/// Says the last there is to say, closes, and hears the other side out.
pub(super) async fn part(stream: &mut Stream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(TCP_LINGER_BYTES);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map(|_| ())
}
