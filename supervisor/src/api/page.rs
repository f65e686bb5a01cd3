//! A page of results, as lines or as JSON; one that is more than a slice goes out as it is read.

use std::io;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use rollcall_common::limits::SLICE_BYTES;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    form::Form,
    prefetch::{Chunk, Prefetcher},
};

/// What begins a list.
const LIST: &[u8] = b"{\"results\":[";

/// How a page is written.
#[derive(Debug)]
pub(super) struct Page<N> {
    pub(super) form: Form,
    /// The newest cursor that there is.
    pub(super) newest: N,
    /// The reader's place, until all of it is sent.
    pub(super) _place: OwnedSemaphorePermit,
}

/// A page that goes out bit by bit.
struct Sending<N> {
    page: Page<N>,
    ahead: Prefetcher,
    /// What comes next, before what is ready.
    head: Option<Bytes>,
    rest: Rest,
}

/// What comes behind what is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rest {
    Results,
    Foot,
    Nothing,
}

impl Rest {
    fn behind(chunk: &Chunk) -> Self {
        if chunk.more && chunk.count > 0 { Self::Results } else { Self::Foot }
    }
}

impl<N: Fn() -> u64 + Send + 'static> Page<N> {
    /// The page that begins with a chunk.
    pub(super) async fn begin(self, first: Chunk, mut ahead: Prefetcher) -> io::Result<Response> {
        let form = self.form;
        let head = match form {
            Form::Events | Form::Lines => &[],
            Form::List => LIST,
        };
        if form == Form::List && first.count > 0 {
            // There is no comma before the first.
            ahead.cut(1);
        }
        let body = if first.more || first.length > SLICE_BYTES {
            let head = (!head.is_empty()).then_some(Bytes::from_static(head));
            let sending = Sending { page: self, ahead, head, rest: Rest::behind(&first) };
            Body::from_stream(futures_util::stream::unfold(sending, Sending::next))
        } else {
            let mut text = head.to_vec();
            while let Some(slice) = ahead.slice().await {
                text.extend_from_slice(&slice?);
            }
            text.extend_from_slice(&self.foot(first.to));
            text.into()
        };
        let mut response = Response::new(body);
        let content_type = match form {
            Form::Lines => "application/x-ndjson",
            Form::Events | Form::List => "application/json",
        };
        let content_type = HeaderValue::from_static(content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(response)
    }

    /// What comes last.
    fn foot(&self, next: u64) -> Vec<u8> {
        match self.form {
            Form::Events | Form::Lines => Vec::new(),
            Form::List => {
                let rest = json!({ "next": next, "caught_up": next >= (self.newest)() });
                rest.to_string().replacen('{', "],", 1).into_bytes()
            }
        }
    }
}

impl<N: Fn() -> u64 + Send + 'static> Sending<N> {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if let Some(head) = self.head.take() {
            return Some((Ok(head), self));
        }
        loop {
            if let Some(slice) = self.ahead.slice().await {
                return Some((slice, self));
            }
            match self.rest {
                Rest::Results => {
                    // What can't be read any more, the next request is told: it goes on from here.
                    let chunk = self.ahead.next().await.unwrap_or_default();
                    self.rest = Rest::behind(&chunk);
                    continue;
                }
                Rest::Foot => self.rest = Rest::Nothing,
                Rest::Nothing => return None,
            }
            let foot = self.page.foot(self.ahead.after());
            if !foot.is_empty() {
                return Some((Ok(foot.into()), self));
            }
        }
    }
}
