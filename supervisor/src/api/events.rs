//! An endless feed of server-sent events.

use std::{io, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use rollcall_common::{ids::StreamName, net::Presence, problem::Problem, shutdown::Phase};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Api,
    form::Form,
    prefetch::{Prefetcher, Quota},
    results::{Feed, Patience},
};
use crate::views::{Interest, Source};

/// How long a feed says nothing before it says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What it says then.
const ALIVE: &[u8] = b": alive\n\n";

/// A feed, and how far its reader is.
struct Events {
    api: Arc<Api>,
    feed: Feed,
    ahead: Prefetcher,
    /// Whether its reader has been told that it is at the head.
    caught_up: bool,
    listener: Listener,
}

/// Who reads a feed.
pub(super) struct Listener {
    presence: Presence,
    /// It has closed its own side, and was sent something since: if it is gone, its connection
    /// breaks by that.
    closed: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    pub(super) fn new(presence: Presence, place: OwnedSemaphorePermit) -> Self {
        Self { presence, closed: false, _place: place }
    }

    /// Waits until there is reason to doubt that it is there.
    async fn doubted(&self) {
        if self.closed { self.presence.broken().await } else { self.presence.closed().await }
    }

    /// Whether it is to be sent a sign of life; `None`: it is gone.
    fn wants_a_sign(&mut self) -> Option<()> {
        self.closed |= self.presence.is_closed();
        (!self.presence.is_broken()).then_some(())
    }
}

impl Api {
    /// The results of `feed` after the cursor `after`, and those to come. `caught-up` comes once,
    /// when the reader has reached the head.
    pub(super) async fn events(
        self: &Arc<Self>,
        feed: Feed,
        after: u64,
        listener: Listener,
    ) -> Result<Response, Box<Problem>> {
        let api = Arc::clone(self);
        let mut ahead = Prefetcher::new(self, feed.clone(), (Form::Events, Quota::ALL), after);
        // A feed that can't begin says so; later it can only end.
        ahead.next().await?;
        let events = Events { api, feed, ahead, caught_up: false, listener };
        Ok(feed_of(events, async |mut events: Events| Some((events.next().await?, events))))
    }

    /// The results of a stream that comes into being with its first message, and has none yet: its
    /// reader is at the head, and stays until there is one.
    pub(super) fn events_to_come(
        self: &Arc<Self>,
        name: StreamName,
        listener: Listener,
    ) -> Response {
        let coming = Coming::Announced { api: Arc::clone(self), name, listener };
        feed_of(coming, Coming::next)
    }
}

/// An endless answer, text by text.
fn feed_of<T, F>(feed: T, next: impl FnMut(T) -> F + Send + 'static) -> Response
where
    T: Send + 'static,
    F: Future<Output = Option<(io::Result<Bytes>, T)>> + Send + 'static,
{
    let texts = futures_util::stream::unfold(feed, next);
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
    Announced { api: Arc<Api>, name: StreamName, listener: Listener },
    /// The stream is not there.
    Awaited { api: Arc<Api>, name: StreamName, listener: Listener },
    /// It is.
    There(Box<Events>),
}

impl Coming {
    /// What comes next; `None`: it ends.
    async fn next(self) -> Option<(io::Result<Bytes>, Self)> {
        let (api, name, mut listener) = match self {
            Self::Announced { api, name, listener } => {
                return Some((Ok(caught_up(0)), Self::Awaited { api, name, listener }));
            }
            Self::Awaited { api, name, listener } => (api, name, listener),
            Self::There(mut events) => return Some((events.next().await?, Self::There(events))),
        };
        let mut draining = api.shutdown.clone();
        let waiting = api.views.wait_for(Interest::Coming(name.clone()));
        let patience = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(patience);
        loop {
            if let Some(stream) = api.views.find(&name) {
                let feed = Feed::All(Source::Stream(stream));
                let ahead = Prefetcher::new(&api, feed.clone(), (Form::Events, Quota::ALL), 0);
                let events = Events { api, feed, ahead, caught_up: true, listener };
                let mut events = Box::new(events);
                return Some((events.next().await?, Self::There(events)));
            }
            tokio::select! {
                biased;
                () = draining.reached(Phase::Draining) => return None,
                () = waiting.woken() => continue,
                () = listener.doubted() => {}
                () = patience.as_mut() => {}
            }
            listener.wants_a_sign()?;
            let sign = Ok(Bytes::from_static(ALIVE));
            return Some((sign, Self::Awaited { api, name, listener }));
        }
    }
}

impl Events {
    /// What comes next; `None`: it ends.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(slice) = self.ahead.slice().await {
            return Some(slice);
        }
        let after = self.ahead.after();
        if !self.caught_up && after >= self.api.newest(&self.feed) {
            self.caught_up = true;
            return Some(Ok(caught_up(after)));
        }
        let patience = Patience { wait: KEEP_ALIVE, over: self.listener.doubted() };
        let chunk = self.api.wait_for(&self.feed, &mut self.ahead, patience).await.ok()?;
        if chunk.count > 0 {
            return self.ahead.slice().await;
        }
        self.listener.wants_a_sign()?;
        let running = self.api.shutdown.phase() == Phase::Running;
        running.then(|| Ok(Bytes::from_static(ALIVE)))
    }
}
