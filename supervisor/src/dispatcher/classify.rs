//! Whether to try again: what a worker's reply means (contract §4, the reply table).

use std::time::Duration;

use rollcall_common::{
    limits::{REASON_BYTES, RETRY_AFTER_MAX},
    message::Payload,
    protocol,
};

use super::event::WorkerReply;
use crate::record::{Ending, Outcome};

/// What a reply means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// There is a result (or the worker's word that there is none).
    Accept { outcome: Outcome, payload: Payload, status: u16, reason: Box<str> },
    /// A person has to decide.
    Park { status: u16, reason: Box<str> },
    /// It failed in a way that counts.
    Fail(Failure),
    /// Another worker now; nothing counts.
    Elsewhere(Failure),
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) ending: Ending,
    pub(super) status: Option<u16>,
    pub(super) detail: Box<str>,
    /// What it says of the worker.
    pub(super) mark: Mark,
}

/// What a failure says of the worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mark {
    /// Nothing.
    None,
    /// It pauses for so long.
    Pause(Option<Duration>),
    /// It is not there.
    Missing,
    /// A strike against it.
    Strike,
}

/// Reads the table.
pub(super) fn classify(reply: WorkerReply) -> Verdict {
    match reply {
        WorkerReply::Answer { status, outcome: Some(word), reason, payload, .. } => {
            overridden(word, status, reason, payload)
        }
        WorkerReply::Answer { status, outcome: None, reason, retry_after, payload } => {
            by_status(status, reason, retry_after, payload)
        }
        WorkerReply::Broken(detail) => {
            let (ending, mark) = (Ending::Broken, Mark::Strike);
            Verdict::Fail(Failure { ending, status: None, detail, mark })
        }
        WorkerReply::Cancelled => {
            // Those that were asked to are no longer judged; this one drops what it should do.
            let (ending, mark) = (Ending::Broken, Mark::Strike);
            let detail = "the worker dropped it unasked".into();
            Verdict::Fail(Failure { ending, status: None, detail, mark })
        }
        WorkerReply::Unreachable(detail) => {
            let (ending, mark) = (Ending::Unreachable, Mark::Missing);
            Verdict::Elsewhere(Failure { ending, status: None, detail, mark })
        }
        WorkerReply::Stale => {
            let (ending, mark) = (Ending::Unreachable, Mark::None);
            let detail = "the idle connection had been closed".into();
            Verdict::Elsewhere(Failure { ending, status: None, detail, mark })
        }
    }
}

fn overridden(word: protocol::Outcome, status: u16, reason: Box<str>, payload: Payload) -> Verdict {
    match word {
        protocol::Outcome::Ok => {
            Verdict::Accept { outcome: Outcome::Completed, payload, status, reason }
        }
        protocol::Outcome::Skip => {
            let payload = Payload::default();
            Verdict::Accept { outcome: Outcome::Skipped, payload, status, reason }
        }
        protocol::Outcome::Park => Verdict::Park { status, reason },
        protocol::Outcome::Retry => Verdict::Fail(Failure {
            ending: Ending::Retry,
            status: Some(status),
            detail: reason,
            mark: Mark::None,
        }),
    }
}

fn by_status(
    status: u16,
    reason: Box<str>,
    retry_after: Option<Duration>,
    payload: Payload,
) -> Verdict {
    let failure = |ending, mark| {
        let detail = if reason.is_empty() { excerpt(&payload) } else { reason.clone() };
        Failure { ending, status: Some(status), detail, mark }
    };
    match status {
        200..=299 => {
            let payload = match status {
                // Without a body there is no type; an event's attributes may be there.
                204 => Payload { headers: payload.headers, ..Payload::default() },
                _ => payload,
            };
            Verdict::Accept { outcome: Outcome::Completed, payload, status, reason }
        }
        429 | 503 => {
            let pause = retry_after.map(|span| span.min(RETRY_AFTER_MAX));
            Verdict::Elsewhere(failure(Ending::Busy, Mark::Pause(pause)))
        }
        300..=399 | 401 | 403 | 404 | 405 | 501 => {
            Verdict::Elsewhere(failure(Ending::Misconfigured, Mark::Strike))
        }
        408 | 409 | 425 => Verdict::Fail(failure(Ending::Error, Mark::Strike)),
        400..=499 => Verdict::Fail(failure(Ending::Refused, Mark::None)),
        // 5xx, and what HTTP knows no meaning for.
        _ => Verdict::Fail(failure(Ending::Error, Mark::Strike)),
    }
}

/// The beginning of an error's body, where it is text: often the only explanation there is.
fn excerpt(payload: &Payload) -> Box<str> {
    let start = payload.body.get(..REASON_BYTES.min(payload.body.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, outcome: Option<protocol::Outcome>) -> WorkerReply {
        WorkerReply::Answer {
            status,
            outcome,
            reason: "".into(),
            retry_after: Some(Duration::from_secs(1_000_000)),
            payload: Payload {
                content_type: "text/plain".into(),
                headers: [("ce-id".into(), "1".into())].into(),
                body: "x\ny".into(),
            },
        }
    }

    #[test]
    fn every_status_has_its_row() {
        for status in 100..=999 {
            let got = classify(answer(status, None));
            match (status, &got) {
                (200..=299, Verdict::Accept { payload, .. }) => {
                    assert_eq!(payload.body.is_empty(), status == 204);
                    assert_eq!(payload.content_type.is_empty(), status == 204);
                    assert_eq!(payload.headers.len(), 1);
                }
                (429 | 503, Verdict::Elsewhere(failure)) => {
                    assert_eq!(failure.mark, Mark::Pause(Some(RETRY_AFTER_MAX)));
                }
                (300..=399 | 401 | 403 | 404 | 405 | 501, Verdict::Elsewhere(failure)) => {
                    assert_eq!(
                        (failure.ending, failure.mark),
                        (Ending::Misconfigured, Mark::Strike)
                    );
                }
                (400 | 402 | 406 | 407 | 410..=424 | 426..=428 | 430..=499, Verdict::Fail(f)) => {
                    assert_eq!((f.ending, f.mark), (Ending::Refused, Mark::None));
                    assert_eq!(&*f.detail, "x y");
                }
                (_, Verdict::Fail(failure)) => {
                    assert_eq!((failure.ending, failure.mark), (Ending::Error, Mark::Strike));
                }
                _ => panic!("{status}: {got:?}"),
            }
        }
    }

    #[test]
    fn the_workers_word_overrides_the_status() {
        use protocol::Outcome::{Ok, Park, Retry, Skip};
        let ok = classify(answer(500, Some(Ok)));
        assert!(matches!(ok, Verdict::Accept { outcome: Outcome::Completed, .. }));
        let skip = classify(answer(200, Some(Skip)));
        assert!(matches!(skip, Verdict::Accept { outcome: Outcome::Skipped, .. }));
        assert!(matches!(classify(answer(200, Some(Park))), Verdict::Park { .. }));
        let retry = classify(answer(200, Some(Retry)));
        assert!(matches!(retry, Verdict::Fail(Failure { ending: Ending::Retry, .. })));
    }

    #[test]
    fn what_was_not_reached_does_not_count() {
        assert!(matches!(classify(WorkerReply::Stale), Verdict::Elsewhere(_)));
        let unreachable = classify(WorkerReply::Unreachable("".into()));
        assert!(matches!(unreachable, Verdict::Elsewhere(Failure { mark: Mark::Missing, .. })));
        assert!(matches!(classify(WorkerReply::Broken("".into())), Verdict::Fail(_)));
    }
}
