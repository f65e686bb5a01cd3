//! A page of results, as lines or as JSON; one that is more than a chunk goes out as it is read.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use serde_json::json;

use super::{
    ahead::{Ahead, Chunk, Form},
    slices::Slices,
};

/// How a page is written.
#[derive(Debug)]
pub(super) struct Page<N> {
    pub(super) form: Form,
    /// The newest cursor that there is.
    pub(super) newest: N,
}

impl<N: Fn() -> u64 + Send + 'static> Page<N> {
    /// The page that begins with a chunk.
    pub(super) fn begin(self, first: Chunk, ahead: Ahead) -> Response {
        let content_type = match self.form {
            Form::Lines => "application/x-ndjson",
            Form::Events | Form::List => "application/json",
        };
        let mut text = self.head(first.text);
        let body = if first.more {
            self.go_on(text, ahead)
        } else {
            text.extend_from_slice(&self.foot(first.to));
            text.into()
        };
        let mut response = Response::new(body);
        let content_type = HeaderValue::from_static(content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }

    fn go_on(self, first: Vec<u8>, ahead: Ahead) -> Body {
        let mut slices = Slices::default();
        slices.put(first);
        let start = (self, slices, Some(ahead));
        let texts = futures_util::stream::unfold(start, async |(page, mut slices, mut ahead)| {
            if let Some(slice) = slices.next().await {
                return Some((Ok::<_, Infallible>(slice), (page, slices, ahead)));
            }
            let mut reading = ahead.take()?;
            // What can't be read any more, the next request is told: it goes on from here.
            let Chunk { mut text, count, more, .. } = reading.next().await.unwrap_or_default();
            if more && count > 0 {
                ahead = Some(reading);
            } else {
                text.extend_from_slice(&page.foot(reading.after()));
            }
            slices.put(text);
            Some((Ok(slices.next().await.unwrap_or_default()), (page, slices, ahead)))
        });
        Body::from_stream(texts)
    }

    /// What comes first, with the first results.
    fn head(&self, results: Vec<u8>) -> Vec<u8> {
        match self.form {
            Form::Events | Form::Lines => results,
            Form::List => {
                let results = results.strip_prefix(b",").unwrap_or(&results);
                [b"{\"results\":[", results].concat()
            }
        }
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
