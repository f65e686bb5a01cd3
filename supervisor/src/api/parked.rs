//! Parked messages: page by page, by what went wrong with them, and what is decided of many at
//! once.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use rollcall_common::{
    ids::{MessageId, Sequence, StreamId, StreamName},
    limits::{PARKED_GROUPS, PARKED_PAGE, PARKED_PAGE_MOST, REASON_BYTES},
    problem::Problem,
    time::Time,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, audit_note::checked, signature::signature};
use crate::{
    access::Caller,
    dispatcher::{
        Dispatcher, Event, Parking, Reply,
        event::{Bulk, Decision},
    },
    web::{
        actor, read_body,
        respond::{ApiResult, bad_request, json, look_at, refused},
        without_mark,
    },
};

/// Parked messages on which one turn of the driver decides.
const BULK: usize = 256;

/// Parked messages that are looked up between two turns of the driver.
const LISTED: usize = 256;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/parked", get(list))
        .route("/v1/parked/groups", get(groups))
        .route("/v1/parked/retry", post(retry_many))
        .route("/v1/parked/skip", post(skip_many))
}

type Asked = Query<BTreeMap<String, String>>;

async fn list(State(api): State<Arc<Api>>, caller: Caller, Query(query): Asked) -> ApiResult {
    ApiResult(api.list_parked(caller, &query).await)
}

async fn groups(State(api): State<Arc<Api>>, caller: Caller, Query(query): Asked) -> ApiResult {
    ApiResult(api.group_parked(caller, &query).await)
}

async fn retry_many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(api.decide_many(Act::Retry, caller, &headers, body).await)
}

async fn skip_many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(api.decide_many(Act::Skip, caller, &headers, body).await)
}

/// What is decided of many at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Retry,
    Skip,
}

/// Of which parked messages something is decided, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    stream: Option<String>,
    #[serde(default)]
    matching: Box<str>,
    signature: Option<Box<str>>,
    #[serde(default)]
    reason: Box<str>,
    limit: Option<usize>,
    expect: Option<usize>,
    #[serde(default)]
    dry_run: bool,
}

/// Which parked messages are meant.
#[derive(Clone, Debug, Default)]
struct Which {
    stream: Option<StreamId>,
    matching: Box<str>,
    signature: Option<Box<str>>,
}

impl Which {
    fn takes(&self, parking: &Parking) -> bool {
        parking.reason.contains(&*self.matching)
            && self.signature.as_ref().is_none_or(|wanted| signature(&parking.reason) == **wanted)
    }
}

/// A parked message, to be shown.
struct Row {
    place: (StreamId, Sequence),
    stream: StreamName,
    id: MessageId,
    reason: Box<str>,
    attempts: u32,
    at: Time,
    behind: u64,
}

/// Parked messages that were looked at between two turns.
struct Piece<T> {
    found: Vec<T>,
    /// After which place there may be more.
    more: Option<(StreamId, Sequence)>,
}

impl<T> Piece<T> {
    /// What `show` makes of those after a place that are meant.
    fn look(
        dispatcher: &Dispatcher,
        after: (StreamId, Sequence),
        which: &Which,
        show: impl Fn(&Dispatcher, (StreamId, Sequence), &Parking, u32) -> Option<T>,
    ) -> Self {
        let (mut found, mut last, mut looked) = (Vec::new(), after, 0);
        for (stream, sequence, parking, attempts) in dispatcher.parked_after(after) {
            if which.stream.is_some_and(|only| only != stream) {
                break;
            }
            if looked == LISTED {
                return Self { found, more: Some(last) };
            }
            (last, looked) = ((stream, sequence), looked + 1);
            if which.takes(parking) {
                found.extend(show(dispatcher, last, parking, attempts));
            }
        }
        Self { found, more: None }
    }
}

impl Row {
    fn of(
        dispatcher: &Dispatcher,
        place: (StreamId, Sequence),
        parking: &Parking,
        attempts: u32,
    ) -> Option<Self> {
        Some(Self {
            place,
            stream: dispatcher.state().stream_name(place.0)?.clone(),
            id: parking.head.id,
            reason: parking.reason.clone(),
            attempts,
            at: parking.at,
            behind: dispatcher.stream_status(place.0).next.before().0.saturating_sub(place.1.0),
        })
    }

    fn shown(&self) -> Value {
        json!({
            "stream": self.stream,
            "sequence": self.place.1,
            "id": self.id,
            "reason": &*self.reason,
            "attempts": self.attempts,
            "parked_at": self.at,
            "waiting_behind": self.behind,
        })
    }
}

/// Parked messages with the same signature.
struct Group {
    count: u64,
    first: (StreamName, Sequence),
    example: Box<str>,
    oldest: Time,
    newest: Time,
    streams: u64,
    last_stream: StreamId,
}

impl Group {
    fn of(row: Row) -> Self {
        let first = (row.stream, row.place.1);
        let (oldest, newest) = (row.at, row.at);
        let (streams, last_stream) = (1, row.place.0);
        Self { count: 1, first, example: row.reason, oldest, newest, streams, last_stream }
    }

    fn add(&mut self, row: &Row) {
        self.count += 1;
        self.oldest = self.oldest.min(row.at);
        self.newest = self.newest.max(row.at);
        // They come stream by stream.
        self.streams += u64::from(self.last_stream != row.place.0);
        self.last_stream = row.place.0;
    }

    fn shown(&self, signature: &str) -> Value {
        json!({
            "signature": signature,
            "count": self.count,
            "streams": self.streams,
            "first": { "stream": self.first.0, "sequence": self.first.1 },
            "example": &*self.example,
            "oldest": self.oldest,
            "newest": self.newest,
        })
    }
}

fn named(stream: Option<&String>) -> Vec<Box<str>> {
    stream.map(|name| name.as_str().into()).into_iter().collect()
}

/// One bulk at a time.
fn under_way() -> Problem {
    let detail = "parked messages are being decided in bulk already";
    Problem::new(409, "bulk-under-way", "Bulk under way", detail)
}

impl Api {
    /// A place as `next` names it: the stream and the sequence of the last one shown.
    fn cursor(&self, text: &str) -> Result<(StreamId, Sequence), Box<Problem>> {
        let refusal = || {
            let detail = format!("after is what `next` of a page says, not {text:?}");
            Box::new(bad_request(detail).with("parameter", "after"))
        };
        let (stream, sequence) = text.rsplit_once('/').ok_or_else(refusal)?;
        let (_, stream) = self.stream(stream)?;
        Ok((stream, Sequence(sequence.parse().map_err(|_| refusal())?)))
    }

    fn which(
        &self,
        caller: &Caller,
        query: &BTreeMap<String, String>,
    ) -> Result<Which, Box<Problem>> {
        let stream = query.get("stream");
        caller.must_see(&named(stream))?;
        let stream = stream.map(|name| self.stream(name)).transpose()?.map(|(_, id)| id);
        let matching = query.get("matching").map_or("", String::as_str).into();
        let signature = query.get("signature").map(|text| text.as_str().into());
        Ok(Which { stream, matching, signature })
    }

    async fn list_parked(
        &self,
        caller: Caller,
        query: &BTreeMap<String, String>,
    ) -> Result<Response, Box<Problem>> {
        let which = self.which(&caller, query)?;
        let limit = super::limit(query.get("limit"), PARKED_PAGE, PARKED_PAGE_MOST)?;
        let mut after = (which.stream.unwrap_or(StreamId(0)), Sequence(0));
        if let Some(text) = query.get("after") {
            after = after.max(self.cursor(text)?);
        }
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let which = which.clone();
            let look =
                move |dispatcher: &Dispatcher| Piece::look(dispatcher, after, &which, Row::of);
            let piece = look_at(&self.handle, look).await?;
            let seen = piece.found.into_iter().filter(|row| caller.sees(row.stream.as_str()));
            rows.extend(seen.take(limit + 1 - rows.len()));
            match piece.more {
                Some(last) if rows.len() <= limit => after = last,
                Some(_) | None => break,
            }
        }
        // One more than was asked for says that there are more.
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| format!("{}/{}", row.stream, row.place.1));
        let parked: Vec<Value> = rows.iter().map(Row::shown).collect();
        Ok(json(StatusCode::OK, &json!({ "parked": parked, "next": next })))
    }

    async fn group_parked(
        &self,
        caller: Caller,
        query: &BTreeMap<String, String>,
    ) -> Result<Response, Box<Problem>> {
        let which = self.which(&caller, query)?;
        let mut after = (which.stream.unwrap_or(StreamId(0)), Sequence(0));
        let (mut groups, mut count, mut others) = (BTreeMap::<String, Group>::new(), 0_u64, 0_u64);
        loop {
            let which = which.clone();
            let look =
                move |dispatcher: &Dispatcher| Piece::look(dispatcher, after, &which, Row::of);
            let piece = look_at(&self.handle, look).await?;
            for row in piece.found.into_iter().filter(|row| caller.sees(row.stream.as_str())) {
                count += 1;
                let signature = signature(&row.reason);
                let room = groups.len() < PARKED_GROUPS;
                match groups.get_mut(&signature) {
                    Some(group) => group.add(&row),
                    None if room => drop(groups.insert(signature, Group::of(row))),
                    None => others += 1,
                }
            }
            let Some(last) = piece.more else { break };
            after = last;
        }
        let mut all: Vec<(&String, &Group)> = groups.iter().collect();
        all.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
        let all: Vec<Value> = all.iter().map(|(signature, group)| group.shown(signature)).collect();
        let body = json!({ "groups": all, "count": count, "others": others });
        Ok(json(StatusCode::OK, &body))
    }

    /// The places of the parked messages that are meant, at most `limit`.
    async fn places(
        &self,
        which: &Which,
        limit: usize,
    ) -> Result<Vec<(StreamId, Sequence)>, Box<Problem>> {
        let mut after = (which.stream.unwrap_or(StreamId(0)), Sequence(0));
        let mut places = Vec::new();
        loop {
            let which = which.clone();
            let look = move |dispatcher: &Dispatcher| {
                Piece::look(dispatcher, after, &which, |_, place, _, _| Some(place))
            };
            let piece = look_at(&self.handle, look).await?;
            places.extend(piece.found.into_iter().take(limit - places.len()));
            match piece.more {
                Some(last) if places.len() < limit => after = last,
                Some(_) | None => return Ok(places),
            }
        }
    }

    /// Decides the same of many parked messages, piece by piece, so that nobody waits for all of
    /// them.
    async fn decide_many(
        &self,
        act: Act,
        caller: Caller,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Box<Problem>> {
        let body = read_body(headers, body, 8 * REASON_BYTES).await?;
        let wanted: Wanted = serde_json::from_slice(without_mark(&body))
            .map_err(|error| bad_request(error.to_string()))?;
        match &wanted.stream {
            Some(name) => caller.must_see(&named(Some(name)))?,
            None => caller.sees_everything("a decision that names no stream")?,
        }
        let reason = checked(wanted.reason)?;
        let decision = match act {
            Act::Retry => Decision::Retry { reason },
            Act::Skip if reason.is_empty() && !wanted.dry_run => {
                return Err(bad_request("a skip needs a reason: {\"reason\": \"…\"}").into());
            }
            Act::Skip => Decision::Skip { reason },
        };
        let stream = wanted.stream.map(|name| self.stream(&name)).transpose()?.map(|(_, id)| id);
        let which = Which { stream, matching: wanted.matching, signature: wanted.signature };
        let Ok(_alone) = self.bulk.try_lock() else {
            return Err(under_way().into());
        };
        let places = self.places(&which, wanted.limit.unwrap_or(usize::MAX)).await?;
        let count = places.len();
        if let Some(expected) = wanted.expect.filter(|expected| *expected != count) {
            let detail =
                format!("{count} parked messages are meant, not {expected}; nothing is done");
            let problem = Problem::new(409, "count-differs", "The count differs", detail);
            return Err(problem.with("count", count).with("expect", expected).into());
        }
        if wanted.dry_run {
            return Ok(json(StatusCode::OK, &json!({ "count": count })));
        }
        let (by, mut done) = (actor(headers), 0);
        for places in places.chunks(BULK) {
            let (places, decision, by) = (places.to_vec(), decision.clone(), by.clone());
            let bulk = Bulk { places, decision, by };
            let event = move |request| Event::DecidedMany { request, bulk };
            let reply = self.handle.request(event).await?;
            let Reply::DecidedMany { count } = reply else {
                return Err(refused("bulk", &reply).into());
            };
            done += count;
        }
        Ok(json(StatusCode::OK, &json!({ "count": done })))
    }
}
