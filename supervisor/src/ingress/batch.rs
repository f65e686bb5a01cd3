//! Many messages in one body, in three formats. All are read before any is taken in.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use rollcall_common::{
    frame::{self, FrameError},
    limits::BATCH_MESSAGES,
    problem::Problem,
    protocol::{CONTENT_TYPE_OF_FRAMES, FRAMES},
};
use serde::de::IgnoredAny;

use super::{
    cloudevents::{self, Mode},
    headers::single,
};
use crate::{
    dispatcher::settings::Bounds,
    record::codec::{Beside, accepted_bytes},
    web::{
        respond::{bad_request, too_large_together},
        without_mark,
    },
};

/// One message of a batch.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) content_type: Arc<str>,
    pub(super) key: Option<Box<str>>,
    pub(super) body: Bytes,
}

/// Takes a batch apart by its type. `limit` is a message's.
pub(super) fn split(
    content_type: &str,
    headers: &HeaderMap,
    body: &Bytes,
    limit: usize,
) -> Result<Vec<Item>, Box<Problem>> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = &body.slice_ref(without_mark(body));
    let items = match (Mode::of(content_type), &*essence) {
        (Mode::Batch, _) => events(text, limit)?,
        (_, "application/x-ndjson" | "application/jsonl" | "application/ndjson") => {
            lines(text, limit)?
        }
        (_, FRAMES) => frames(headers, body, limit)?,
        _ => return Err(unsupported(content_type)),
    };
    if items.is_empty() {
        return Err(bad_request("the batch is empty").into());
    }
    if items.len() > BATCH_MESSAGES {
        let detail = format!("{} messages; a batch has at most {BATCH_MESSAGES}", items.len());
        let problem = Problem::new(413, "batch-too-large", "Batch too large", detail);
        return Err(problem.with("limit_messages", BATCH_MESSAGES).into());
    }
    Ok(items)
}

/// Bytes that the messages take up in the journal's entry, in which all of them are, or none.
pub(super) fn entry_bytes(
    items: &[Item],
    kept: &[(Box<str>, Box<str>)],
) -> Result<usize, Box<Problem>> {
    let limit = Bounds::default().batch_bytes();
    let each = items.iter().map(|Item { content_type, key, body }| {
        accepted_bytes(&Beside { key: key.as_deref(), content_type, headers: kept }, body)
    });
    let bytes = each.fold(0_usize, usize::saturating_add);
    if bytes <= limit { Ok(bytes) } else { Err(too_large_together(bytes, limit).into()) }
}

fn lines(body: &Bytes, limit: usize) -> Result<Vec<Item>, Box<Problem>> {
    let mut items = Vec::new();
    let content_type: Arc<str> = "application/json".into();
    let mut start = 0;
    for (number, line) in (1_u64..).zip(body.split(|byte| *byte == b'\n')) {
        let from = start;
        start += line.len() + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if line.len() > limit {
            return Err(too_large(limit, &format!("line {number}")).with("line", number).into());
        }
        let refused = |error: &dyn std::fmt::Display| {
            let detail = format!("line {number} is no JSON value: {error}");
            bad_request(detail).with("line", number)
        };
        // What is only looked over is not looked at inside of its strings.
        let text = std::str::from_utf8(line).map_err(|error| refused(&error))?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| refused(&error))?;
        let body = body.slice(from..from + line.len());
        items.push(Item { content_type: Arc::clone(&content_type), key: None, body });
    }
    Ok(items)
}

fn events(body: &Bytes, limit: usize) -> Result<Vec<Item>, Box<Problem>> {
    let mut items = Vec::new();
    let content_type: Arc<str> = cloudevents::STRUCTURED.into();
    for (index, event) in cloudevents::batch(body)?.into_iter().enumerate() {
        let event = event.get().as_bytes();
        if event.len() > limit {
            let problem = too_large(limit, &format!("event {index}"));
            return Err(problem.with("index", index).into());
        }
        let key = cloudevents::structured(event).map_err(|problem| problem.with("index", index))?;
        let content_type = Arc::clone(&content_type);
        items.push(Item { content_type, key: Some(key), body: body.slice_ref(event) });
    }
    Ok(items)
}

fn frames(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<Vec<Item>, Box<Problem>> {
    let content_type = single(headers, &CONTENT_TYPE_OF_FRAMES)?.unwrap_or_default();
    let frames = frame::split_all(body.clone(), limit).map_err(|error| match error {
        FrameError::TooLong { index, .. } => {
            too_large(limit, &format!("frame {index}")).with("index", index)
        }
        FrameError::Truncated { index } => bad_request(error.to_string()).with("index", index),
    })?;
    let content_type: Arc<str> = content_type.into();
    let item = |body| Item { content_type: Arc::clone(&content_type), key: None, body };
    Ok(frames.into_iter().map(item).collect())
}

fn too_large(limit: usize, what: &str) -> Problem {
    let detail = format!("{what} is larger than {limit} bytes");
    Problem::new(413, "message-too-large", "Message too large", detail).with("limit_bytes", limit)
}

fn unsupported(content_type: &str) -> Box<Problem> {
    let detail = format!(
        "{content_type:?} is no batch; send application/x-ndjson, \
         application/cloudevents-batch+json or {FRAMES}"
    );
    Box::new(Problem::new(415, "unsupported-media-type", "Unsupported media type", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(content_type: &str, body: &'static [u8]) -> Result<Vec<Bytes>, Box<Problem>> {
        let items = split(content_type, &HeaderMap::new(), &Bytes::from_static(body), 8)?;
        Ok(items.into_iter().map(|item| item.body).collect())
    }

    #[test]
    fn lines_are_messages() {
        let got = bodies("application/x-ndjson", b"{\"a\":1}\r\n\n2\n\"x\"").unwrap();
        assert_eq!(got, [&b"{\"a\":1}"[..], b"2", b"\"x\""]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let got = bodies("application/x-ndjson", b"\xef\xbb\xbf{\"a\":1}\n2\n").unwrap();
        assert_eq!(got, [&b"{\"a\":1}"[..], b"2"]);
        // It stands at the beginning only.
        let problem = bodies("application/x-ndjson", b"1\n\xef\xbb\xbf2\n").unwrap_err();
        assert_eq!(problem.members["line"], 2);
        let got = bodies(FRAMES, b"\0\0\0\x03\xef\xbb\xbf").unwrap();
        assert_eq!(got, [&b"\xef\xbb\xbf"[..]]);
    }

    #[test]
    fn a_bad_line_refuses_all_and_is_named() {
        let problem = bodies("application/jsonl; x=y", b"1\n{\n").unwrap_err();
        assert_eq!((problem.status, &problem.members["line"]), (400, &2.into()));
        let problem = bodies("application/x-ndjson", b"1\n123456789").unwrap_err();
        assert_eq!((problem.status, &problem.members["line"]), (413, &2.into()));
    }

    #[test]
    fn frames_are_messages() {
        let got = bodies(FRAMES, b"\0\0\0\x02hi\0\0\0\0").unwrap();
        assert_eq!(got, [&b"hi"[..], b""]);
        assert_eq!(bodies(FRAMES, b"\0\0\0\x03hi").unwrap_err().status, 400);
        assert_eq!(bodies(FRAMES, b"\xff\xff\xff\xffhi").unwrap_err().status, 413);
    }

    #[test]
    fn a_batch_is_as_large_as_what_is_written_down_of_it() {
        let frames = Bytes::from(vec![0; 4 * 1000]);
        let limit = Bounds::default().batch_bytes();
        let long = |bytes: usize| "x".repeat(bytes);
        for (type_bytes, header_bytes) in [(10, 0), (10, 500), (40_000, 0), (100, 40_000)] {
            let value = long(type_bytes).parse().unwrap();
            let headers = HeaderMap::from_iter([(CONTENT_TYPE_OF_FRAMES, value)]);
            let items = split(FRAMES, &headers, &frames, 8).unwrap();
            assert!(items.iter().all(|one| Arc::ptr_eq(&one.content_type, &items[0].content_type)));
            let kept = [("tracestate".into(), long(header_bytes).into())];
            let least = 1000 * (type_bytes + header_bytes);
            match entry_bytes(&items, &kept) {
                Ok(bytes) => assert!((least..=limit).contains(&bytes), "{bytes}"),
                Err(problem) => {
                    assert!(least + 1000 * 100 > limit);
                    assert_eq!(problem.status, 413);
                    assert!(problem.kind.ends_with("batch-too-large"), "{}", problem.kind);
                    assert_eq!(problem.members["limit_bytes"], limit);
                }
            }
        }
    }

    #[test]
    fn nothing_and_other_things_are_refused() {
        assert_eq!(bodies("application/x-ndjson", b"\n").unwrap_err().status, 400);
        assert_eq!(bodies("text/plain", b"x").unwrap_err().status, 415);
    }
}
