//! An endless feed of server-sent events.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use rollcall_common::{problem::Problem, shutdown::Phase};

use super::{
    Api,
    ahead::{Ahead, Chunk, Form, Left},
    results::Feed,
    slices::Slices,
};

/// How long a feed says nothing before it says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A feed, and how far its reader is.
struct Events {
    api: Arc<Api>,
    feed: Feed,
    ahead: Ahead,
    ready: Chunk,
    slices: Slices,
    /// Whether its reader has been told that it is at the head.
    caught_up: bool,
}

impl Api {
    /// The results of `feed` after the cursor `after`, and those to come. `caught-up` comes once,
    /// when the reader has reached the head.
    pub(super) async fn events(
        self: &Arc<Self>,
        feed: Feed,
        after: u64,
    ) -> Result<Response, Box<Problem>> {
        let api = Arc::clone(self);
        let mut ahead = Ahead::new(self, feed.clone(), (Form::Events, Left::ALL), after);
        // A feed that can't begin says so; later it can only end.
        let ready = ahead.next().await?;
        let events =
            Events { api, feed, ahead, ready, slices: Slices::default(), caught_up: false };
        let texts = futures_util::stream::unfold(events, async |mut events| {
            let text = events.next().await?;
            Some((Ok::<_, std::convert::Infallible>(text), events))
        });
        let mut response = Response::new(Body::from_stream(texts));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}

impl Events {
    /// What comes next; `None`: it ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(slice) = self.slices.next().await {
            return Some(slice);
        }
        let ready = std::mem::take(&mut self.ready);
        if ready.count > 0 {
            self.slices.put(ready.text);
            return self.slices.next().await;
        }
        let after = self.ahead.after();
        if !self.caught_up && after >= self.api.newest(&self.feed) {
            self.caught_up = true;
            let event = format!("event: caught-up\nid: {after}\ndata: {{}}\n\n");
            return Some(event.into());
        }
        let chunk = self.api.wait_for(&self.feed, &mut self.ahead, KEEP_ALIVE).await.ok()?;
        if chunk.count > 0 {
            self.slices.put(chunk.text);
            return self.slices.next().await;
        }
        let running = self.api.shutdown.phase() == Phase::Running;
        running.then(|| Bytes::from_static(b": alive\n\n"))
    }
}
