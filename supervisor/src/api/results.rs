//! Released results, by stream or over all streams: a page, a long poll, lines, or an endless
//! feed of server-sent events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rollcall_common::{
    ids::{Position, Sequence, StreamId},
    limits::{LONGEST_WAIT, PAGE_BYTES, PAGE_RESULTS},
    problem::Problem,
    shutdown::Phase,
};
use serde_json::{json, value::to_raw_value};

use super::{Api, number, reading::Reading};
use crate::{
    access::Caller,
    views::{ReadFailed, ReleasedResult},
    web::{
        ResultBody,
        respond::{Answer, internal},
    },
};

/// Results in a page, where the reader does not say.
const PAGE: usize = 100;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/results", get(all_results))
        .route("/v1/streams/{stream}/results", get(stream_results))
        .route("/v1/subscriptions/{name}/results", get(subscription_results))
}

type Parameters = Query<BTreeMap<String, String>>;

async fn all_results(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Answer {
    let some = caller.bounds().map(|patterns| Arc::new(Reading::of_streams(patterns)));
    let feed = some.map_or(Feed::All, Feed::Some);
    Answer(api.results(feed, &query, &headers).await)
}

async fn stream_results(
    State(api): State<Arc<Api>>,
    Path(stream): Path<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Answer {
    Answer(match api.stream(&stream) {
        Ok((_, stream)) => api.results(Feed::Stream(stream), &query, &headers).await,
        Err(refusal) => Err(refusal),
    })
}

async fn subscription_results(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Answer {
    Answer(match api.reading(&caller, &name).await {
        Ok(reading) => api.results(Feed::Some(Arc::new(reading)), &query, &headers).await,
        Err(refusal) => Err(refusal),
    })
}

/// Whose results.
#[derive(Clone, Debug)]
enum Feed {
    All,
    /// A subscription's, or those that a caller may see.
    Some(Arc<Reading>),
    Stream(StreamId),
}

impl Feed {
    /// The cursor of a result in this feed.
    fn cursor(&self, result: &ReleasedResult) -> u64 {
        match self {
            Self::All | Self::Some(_) => result.position.0,
            Self::Stream(_) => result.sequence.0,
        }
    }

    /// Where its reader begins, who does not say.
    fn beginning(&self) -> u64 {
        match self {
            Self::All | Self::Stream(_) => 0,
            Self::Some(reading) => reading.checkpoint.0,
        }
    }

    fn body<'a>(&self, result: &'a ReleasedResult) -> ResultBody<'a> {
        let until = match self {
            Self::All | Self::Stream(_) => None,
            Self::Some(reading) => reading.replay_until,
        };
        ResultBody::of(result).replayed_until(until)
    }
}

impl Api {
    async fn results(
        self: &Arc<Self>,
        feed: Feed,
        query: &BTreeMap<String, String>,
        headers: &HeaderMap,
    ) -> Result<Response, Box<Problem>> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let accept = accept.unwrap_or_default();
        let mut after = number("after", query.get("after"))?.unwrap_or_else(|| feed.beginning());
        if accept.contains("text/event-stream") {
            let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok());
            after = resumed.and_then(|id| id.parse().ok()).unwrap_or(after);
            // A feed that can't begin says so; later it can only end.
            self.read(&feed, after, 1).await?;
            return Ok(self.events(feed, after));
        }
        let limit = number("limit", query.get("limit"))?.unwrap_or(PAGE).min(PAGE_RESULTS);
        let wait: u64 = number("wait", query.get("wait"))?.unwrap_or(0);
        let Page { results, next } =
            self.page(&feed, after, limit, Duration::from_secs(wait)).await?;
        if accept.contains("application/x-ndjson") {
            return Ok(lines(&feed, &results));
        }
        let items: Vec<_> =
            results.iter().filter_map(|result| to_raw_value(&feed.body(result)).ok()).collect();
        let caught_up = next >= self.newest(&feed);
        let body = json!({ "next": next, "caught_up": caught_up });
        let items = serde_json::to_string(&items).unwrap_or_default();
        // Spliced, so that bodies stay byte for byte as they are.
        let rest = body.to_string();
        let text = format!("{{\"results\":{items},{}", rest.trim_start_matches('{'));
        Ok(text_response("application/json", text))
    }

    /// A page; it waits for a first result, if there is none and it may.
    async fn page(
        self: &Arc<Self>,
        feed: &Feed,
        mut after: u64,
        limit: usize,
        wait: Duration,
    ) -> Result<Page, Box<Problem>> {
        let mut head = self.views.head();
        let mut draining = self.shutdown.clone();
        let patience = tokio::time::sleep(wait.min(LONGEST_WAIT));
        tokio::pin!(patience);
        loop {
            head.mark_unchanged();
            let page = self.read(feed, after, limit).await?;
            // What was looked at in vain is told: one request looks at a bounded number.
            let looked_on = page.next > after && page.next < self.newest(feed);
            if !page.results.is_empty() || limit == 0 || looked_on {
                return Ok(page);
            }
            after = page.next;
            tokio::select! {
                biased;
                () = patience.as_mut() => return Ok(page),
                () = draining.reached(Phase::Draining) => return Ok(page),
                changed = head.changed() => if changed.is_err() { return Ok(page) },
            }
        }
    }

    async fn read(
        self: &Arc<Self>,
        feed: &Feed,
        after: u64,
        limit: usize,
    ) -> Result<Page, Box<Problem>> {
        if let Feed::Some(reading) = feed {
            let (results, next) = self.read_on(reading, Position(after), limit).await?;
            return Ok(Page { results, next: next.0 });
        }
        let (views, feed_) = (Arc::clone(&self.views), feed.clone());
        let read = move || match feed_ {
            Feed::All | Feed::Some(_) => views.results(Position(after), limit, PAGE_BYTES),
            Feed::Stream(stream) => {
                views.stream_results(stream, Sequence(after), limit, PAGE_BYTES)
            }
        };
        let results = tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        let results = results.map_err(|error| Box::new(unreadable(feed, &error)))?;
        let next = results.last().map_or(after, |result| feed.cursor(result));
        Ok(Page { results, next })
    }

    fn newest(&self, feed: &Feed) -> u64 {
        match feed {
            Feed::All | Feed::Some(_) => self.views.head().borrow().0,
            Feed::Stream(stream) => {
                self.views.status(*stream).map_or(0, |(status, _)| status.released.0)
            }
        }
    }

    /// An endless feed. `caught-up` comes once, when the reader has reached the head.
    fn events(self: &Arc<Self>, feed: Feed, after: u64) -> Response {
        let start = (Arc::clone(self), feed, after, Caught::Not);
        let stream = futures_util::stream::unfold(start, async |(api, feed, after, caught)| {
            if caught == Caught::Not && after >= api.newest(&feed) {
                let event = format!("event: caught-up\nid: {after}\ndata: {{}}\n\n");
                return Some((Bytes::from(event), (api, feed, after, Caught::Up)));
            }
            let page = api.page(&feed, after, PAGE, KEEP_ALIVE).await.ok()?;
            if page.results.is_empty() {
                let alive = (api.shutdown.phase() == Phase::Running).then_some(": alive\n\n");
                return Some((
                    Bytes::from_static(alive?.as_bytes()),
                    (api, feed, page.next, caught),
                ));
            }
            let mut text = Vec::new();
            for result in &page.results {
                let cursor = feed.cursor(result).to_string();
                text.extend_from_slice(["id: ", &cursor, "\ndata: "].concat().as_bytes());
                feed.body(result).write_line(&mut text);
                text.extend_from_slice(b"\n\n");
            }
            Some((text.into(), (api, feed, page.next, caught)))
        });
        let frames = futures_util::StreamExt::map(stream, Ok::<_, std::convert::Infallible>);
        let mut response = Response::new(Body::from_stream(frames));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

/// What was read, and after what it goes on.
#[derive(Debug)]
struct Page {
    results: Vec<ReleasedResult>,
    next: u64,
}

fn unreadable(feed: &Feed, error: &ReadFailed) -> Problem {
    let of = match feed {
        Feed::All | Feed::Some(_) => "position",
        Feed::Stream(_) => "sequence",
    };
    no_longer_kept(of, error)
}

/// Why results could not be read: they are gone, or something is wrong.
pub(super) fn no_longer_kept(of: &str, error: &ReadFailed) -> Problem {
    let ReadFailed::Gone { first } = error else {
        return internal(error);
    };
    let detail = format!("results before {of} {first} are no longer kept");
    Problem::new(410, "no-longer-kept", "No longer kept", detail).with("first", *first)
}

/// Bytes of a line, about, beside the result's own.
const LINE: usize = 256;

/// How long a feed says nothing before it says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whether a feed's reader has been told that it is at the head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Caught {
    Not,
    Up,
}

fn lines(feed: &Feed, results: &[ReleasedResult]) -> Response {
    let bytes = results.iter().map(|result| result.answer.weight() + LINE).sum();
    let mut text = Vec::with_capacity(bytes);
    for result in results {
        feed.body(result).write_line(&mut text);
        text.push(b'\n');
    }
    text_response("application/x-ndjson", text)
}

fn text_response(content_type: &'static str, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
