//! Released results, by stream or over all streams: a page, a long poll, lines, or an endless
//! feed of server-sent events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    response::Response,
    routing::get,
};
use http::{HeaderMap, header, request::Parts};
use rollcall_common::{
    ids::{Position, Sequence, StreamName},
    limits::{LONGEST_WAIT, PAGE_RESULTS},
    net::Presence,
    problem::Problem,
    shutdown::Phase,
};

use super::{
    Api,
    events::Listener,
    form::Form,
    limit, number,
    page::Page,
    prefetch::{Chunk, Prefetcher, Quota},
    subscription_feed::FilteredFeed,
};
use crate::{
    access::Caller,
    views::{Interest, ReadFailed, Source},
    web::{
        ResultBody,
        respond::{ApiResult, internal},
    },
};

/// Where a reader of server-sent events says how far it has come.
const LAST_EVENT_ID: &str = "last-event-id";

/// Results in a page, where the reader does not say.
const PAGE: usize = 100;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/results", get(all_results))
        .route("/v1/streams/{stream}/results", get(stream_results))
        .route("/v1/subscriptions/{name}/results", get(subscription_results))
}

/// How a reader asks: by its query and headers, over its connection.
struct Asked {
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    presence: Presence,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = QueryRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let Query(query) = Query::try_from_uri(&parts.uri)?;
        let presence = parts.extensions.get::<Presence>().cloned().unwrap_or_default();
        Ok(Self { query, headers: parts.headers.clone(), presence })
    }
}

/// For how long a reader waits for its first result.
pub(super) struct Patience<O> {
    pub(super) wait: Duration,
    /// It does not wait beyond this.
    pub(super) over: O,
}

async fn all_results(State(api): State<Arc<Api>>, caller: Caller, asked: Asked) -> ApiResult {
    let some = caller.bounds().map(|patterns| Arc::new(FilteredFeed::of_streams(patterns)));
    let feed = some.map_or(Feed::All(Source::All), Feed::Some);
    ApiResult(api.results(feed, asked).await)
}

async fn stream_results(
    State(api): State<Arc<Api>>,
    Path(stream): Path<String>,
    asked: Asked,
) -> ApiResult {
    ApiResult(match api.stream(&stream) {
        Ok((_, stream)) => {
            let feed = Feed::All(Source::Stream(stream));
            api.results(feed, asked).await
        }
        Err(refusal) => match stream.parse() {
            Ok(name) if wants_events(&asked.headers) && api.makes_streams().await => {
                api.stream_to_come(name, asked)
            }
            Ok(_) | Err(_) => Err(refusal),
        },
    })
}

async fn subscription_results(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked,
) -> ApiResult {
    ApiResult(match api.reading(&caller, &name).await {
        Ok(reading) => api.results(Feed::Some(Arc::new(reading)), asked).await,
        Err(refusal) => Err(refusal),
    })
}

/// Whose results.
#[derive(Clone, Debug)]
pub(super) enum Feed {
    /// All that there are there.
    All(Source),
    /// A subscription's, or those that a caller may see.
    Some(Arc<FilteredFeed>),
}

impl Feed {
    /// The cursor of a result in this feed.
    pub(super) fn cursor(&self, position: Position, sequence: Sequence) -> u64 {
        match self {
            Self::All(Source::All) | Self::Some(_) => position.0,
            Self::All(Source::Stream(_)) => sequence.0,
        }
    }

    /// Where its reader begins, who does not say.
    fn beginning(&self) -> u64 {
        match self {
            Self::All(_) => 0,
            Self::Some(reading) => reading.checkpoint.0,
        }
    }

    /// What its reader waits for at the head.
    fn interest(&self) -> Interest {
        match self {
            Self::All(Source::All) => Interest::All,
            Self::All(Source::Stream(stream)) => Interest::Stream(*stream),
            Self::Some(reading) => Interest::Matching(Arc::clone(&reading.patterns)),
        }
    }

    /// A result as this feed shows it.
    pub(super) fn body<'a>(&self, body: ResultBody<'a>) -> ResultBody<'a> {
        match self {
            Self::All(_) => body,
            Self::Some(reading) => body.replayed_until(reading.replay_until),
        }
    }

    /// Why its results could not be read: they are gone, or something is wrong.
    pub(super) fn unreadable(&self, error: &ReadFailed) -> Problem {
        let ReadFailed::Gone { first } = error else {
            return internal(error);
        };
        let of = match self {
            Self::All(Source::All) | Self::Some(_) => "position",
            Self::All(Source::Stream(_)) => "sequence",
        };
        let detail = format!("results before {of} {first} are no longer kept");
        Problem::new(410, "no-longer-kept", "No longer kept", detail).with("first", *first)
    }
}

/// Whether a reader names this type, and not plain JSON before it.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let weight = weight(headers, wanted);
    weight > 0.0 && weight >= self::weight(headers, "application/json")
}

/// How much a reader wants a type that it names (RFC 9110 §12.5.1); 0 when it doesn't.
pub(super) fn weight(headers: &HeaderMap, wanted: &str) -> f32 {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let items = accepted.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let weights = items.filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
        let quality = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('='));
        Some(quality.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
    });
    weights.fold(0.0, f32::max)
}

fn wants_events(headers: &HeaderMap) -> bool {
    accepts(headers, "text/event-stream")
}

/// The cursor after which a reader wants to begin, if it says so; a feed of events that goes on
/// says it in a header of its own. One beyond the head is refused: it is another journal's, or one
/// that was thrown away, and what is written next would never be shown to its reader.
fn begin(
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
    head: u64,
) -> Result<Option<u64>, Box<Problem>> {
    let resumed = headers.get(LAST_EVENT_ID).filter(|_| wants_events(headers));
    // What is no text is no number either.
    let resumed = resumed.map(|id| id.to_str().unwrap_or_default().to_owned());
    let cursor = number("after", query.get("after")).and_then(|after| {
        let resumed = number(LAST_EVENT_ID, resumed.as_ref())?;
        Ok(resumed.or(after))
    });
    match cursor {
        Ok(Some(after)) if after > head => {
            let detail = format!("the cursor {after} is beyond the head, {head}");
            let problem = Problem::new(400, "cursor-beyond-head", "Cursor beyond the head", detail);
            Err(problem.with("head", head).into())
        }
        Err(wrong) => Err(wrong.with("head", head).into()),
        begun => begun,
    }
}

impl Api {
    async fn results(
        self: &Arc<Self>,
        feed: Feed,
        Asked { query, headers, presence }: Asked,
    ) -> Result<Response, Box<Problem>> {
        let begun = begin(&query, &headers, self.newest(&feed))?;
        let after = begun.unwrap_or_else(|| feed.beginning());
        if wants_events(&headers) {
            let listener = Listener::new(presence, self.readers.enter()?);
            return self.events(feed, after, listener).await;
        }
        let limit = limit(query.get("limit"), PAGE, PAGE_RESULTS)?;
        let wait = Duration::from_secs(number("wait", query.get("wait"))?.unwrap_or(0));
        let _place = self.readers.enter()?;
        let form = if accepts(&headers, "application/x-ndjson") { Form::Lines } else { Form::List };
        let mut ahead = Prefetcher::new(self, feed.clone(), (form, Quota::of_page(limit)), after);
        let patience = Patience { wait: wait.min(LONGEST_WAIT), over: presence.closed() };
        let first = self.wait_for(&feed, &mut ahead, patience).await?;
        let api = Arc::clone(self);
        let page = Page { form, newest: move || api.newest(&feed), _place };
        page.begin(first, ahead).await.map_err(|error| internal(&error).into())
    }

    /// A feed of a stream that is not there, so that it has no results yet.
    fn stream_to_come(
        self: &Arc<Self>,
        name: StreamName,
        Asked { query, headers, presence }: Asked,
    ) -> Result<Response, Box<Problem>> {
        begin(&query, &headers, 0)?;
        let listener = Listener::new(presence, self.readers.enter()?);
        Ok(self.events_to_come(name, listener))
    }

    /// The first results that there are; it waits for one, if there is none and it may. A reader
    /// whose time is over goes on behind all that it does not want.
    pub(super) async fn wait_for(
        &self,
        feed: &Feed,
        ahead: &mut Prefetcher,
        Patience { wait, over }: Patience<impl Future<Output = ()>>,
    ) -> Result<Chunk, Box<Problem>> {
        let waiting = self.views.wait_for(feed.interest());
        let mut draining = self.shutdown.clone();
        let patience = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = draining.reached(Phase::Draining) => {}
                () = over => {}
            }
        };
        tokio::pin!(patience);
        let mut is_over = wait.is_zero();
        loop {
            let early = ahead.is_under_way();
            let chunk = ahead.next().await?;
            if chunk.count > 0 || is_over {
                return Ok(chunk);
            }
            // Behind what was read early, or looked at in vain, there may be more.
            let at_head = !early && chunk.to >= self.newest(feed);
            tokio::select! {
                biased;
                () = patience.as_mut() => is_over = true,
                () = waiting.woken(), if at_head => continue,
                () = std::future::ready(()), if !at_head => continue,
            }
            let head = self.views.announced().0;
            if matches!(feed, Feed::Some(_)) && at_head && !waiting.is_concerned() {
                // All that was released up to there concerns others.
                ahead.pass(head);
                return Ok(Chunk::none(ahead.after()));
            }
        }
    }

    /// The newest cursor of a feed.
    pub(super) fn newest(&self, feed: &Feed) -> u64 {
        match feed {
            Feed::All(Source::All) | Feed::Some(_) => self.views.head().borrow().0,
            Feed::All(Source::Stream(stream)) => self.views.released(*stream).0,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn events(accept: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for text in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(text));
        }
        wants_events(&headers)
    }

    #[test]
    fn a_feed_is_given_to_those_who_want_it_most() {
        for wanted in [
            "text/event-stream",
            "Text/Event-Stream;charset=utf-8",
            "*/*, text/event-stream",
            "application/json;q=0.5, text/event-stream;q=0.9",
            "application/json, text/event-stream",
        ] {
            assert!(events(&[wanted]), "{wanted}");
        }
        assert!(events(&["text/html", "text/event-stream"]));
        for unwanted in [
            "*/*",
            "application/json",
            "text/event-streams",
            "text/event-stream;q=0",
            "text/event-stream;Q=0",
            "text/event-stream; q=0.1, application/json",
        ] {
            assert!(!events(&[unwanted]), "{unwanted}");
        }
        assert!(!events(&[]));
    }
}
