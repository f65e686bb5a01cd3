//! An endless feed of server-sent events.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use rollcall_common::{ids::StreamName, problem::Problem, shutdown::Phase};

use super::{
    Api,
    ahead::{Ahead, Chunk, Form, Left},
    results::Feed,
    slices::Slices,
};
use crate::views::Source;

/// How long a feed says nothing before it says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What it says then.
const ALIVE: &[u8] = b": alive\n\n";

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
        Ok(feed_of(events, async |mut events: Events| Some((events.next().await?, events))))
    }

    /// The results of a stream that comes into being with its first message, and has none yet: its
    /// reader is at the head, and stays until there is one.
    pub(super) fn events_to_come(self: &Arc<Self>, name: StreamName) -> Response {
        let coming = Coming::Announced { api: Arc::clone(self), name };
        feed_of(coming, Coming::next)
    }
}

/// An endless answer, text by text.
fn feed_of<T: Send + 'static, F: Future<Output = Option<(Bytes, T)>> + Send + 'static>(
    feed: T,
    mut next: impl FnMut(T) -> F + Send + 'static,
) -> Response {
    let texts = futures_util::stream::unfold(feed, move |feed| {
        let next = next(feed);
        async { next.await.map(|(text, feed)| (Ok::<_, std::convert::Infallible>(text), feed)) }
    });
    let mut response = Response::new(Body::from_stream(texts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn caught_up(after: u64) -> Bytes {
    format!("event: caught-up\nid: {after}\ndata: {{}}\n\n").into()
}

/// A feed of a stream that may not be there yet.
enum Coming {
    /// Its reader has not been told that it is at the head.
    Announced { api: Arc<Api>, name: StreamName },
    /// The stream is not there.
    Awaited { api: Arc<Api>, name: StreamName },
    /// It is.
    There(Box<Events>),
}

impl Coming {
    /// What comes next; `None`: it ends.
    async fn next(self) -> Option<(Bytes, Self)> {
        let (api, name) = match self {
            Self::Announced { api, name } => {
                return Some((caught_up(0), Self::Awaited { api, name }));
            }
            Self::Awaited { api, name } => (api, name),
            Self::There(mut events) => return Some((events.next().await?, Self::There(events))),
        };
        // A stream has nothing to be read before something was released.
        let (mut head, mut draining) = (api.views.head(), api.shutdown.clone());
        loop {
            head.mark_unchanged();
            if let Some(stream) = api.views.find(&name) {
                let feed = Feed::All(Source::Stream(stream));
                let ahead = Ahead::new(&api, feed.clone(), (Form::Events, Left::ALL), 0);
                let (ready, slices, caught_up) = (Chunk::none(0), Slices::default(), true);
                let mut events = Box::new(Events { api, feed, ahead, ready, slices, caught_up });
                return Some((events.next().await?, Self::There(events)));
            }
            tokio::select! {
                biased;
                () = draining.reached(Phase::Draining) => return None,
                changed = head.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    return Some((Bytes::from_static(ALIVE), Self::Awaited { api, name }));
                }
            }
        }
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
            return Some(caught_up(after));
        }
        let chunk = self.api.wait_for(&self.feed, &mut self.ahead, KEEP_ALIVE).await.ok()?;
        if chunk.count > 0 {
            self.slices.put(chunk.text);
            return self.slices.next().await;
        }
        let running = self.api.shutdown.phase() == Phase::Running;
        running.then(|| Bytes::from_static(ALIVE))
    }
}
