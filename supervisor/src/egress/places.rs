//! A push to a list of places, in order: what one does not take, another one may. Only what all of
//! them say is what the destination says.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use rollcall_common::http::Peer;
use tokio::time::timeout;

use super::{
    Pushed,
    destination::Destination,
    request::{Envelope, push},
    socket::SocketPeer,
};
use crate::{dispatcher::Refusal, views::ReleasedResult};

/// One place of a destination.
#[derive(Debug)]
pub(super) struct Place {
    kind: PlaceKind,
    /// Whether it has said that it is gone for good, while others have not.
    gone: AtomicBool,
}

#[derive(Debug)]
pub(super) enum PlaceKind {
    Http(Peer),
    Socket(SocketPeer),
}

impl Place {
    pub(super) fn new(kind: PlaceKind) -> Self {
        Self { kind, gone: AtomicBool::new(false) }
    }

    pub(super) fn is_socket(&self) -> bool {
        matches!(self.kind, PlaceKind::Socket(_))
    }

    pub(super) fn sweep(&self) {
        match &self.kind {
            PlaceKind::Http(peer) => peer.sweep(),
            PlaceKind::Socket(_) => {}
        }
    }

    async fn push(
        &self,
        results: &[ReleasedResult],
        envelope: Envelope<'_>,
        (patience, taken): (Duration, &AtomicUsize),
    ) -> Pushed {
        match &self.kind {
            PlaceKind::Http(peer) => {
                let pushed = push(peer, results, envelope);
                timeout(patience, pushed).await.unwrap_or_else(|_| {
                    let detail = "no answer in time".into();
                    Pushed::Refused { taken: 0, refusal: Refusal::Failed, detail }
                })
            }
            PlaceKind::Socket(peer) => peer.push(results, (patience, taken)).await,
        }
    }
}

impl Destination {
    /// Pushes to the first place that takes it. `taken` counts results as they are taken, where
    /// each is answered by itself.
    pub(super) async fn push(
        &self,
        results: &[ReleasedResult],
        envelope: Envelope<'_>,
        taken: &AtomicUsize,
    ) -> Pushed {
        let all_gone = self.places.iter().all(|place| place.gone.load(Ordering::Relaxed));
        let mut refused: Option<(Refusal, Box<str>)> = None;
        for place in &self.places {
            if place.gone.load(Ordering::Relaxed) && !all_gone {
                continue;
            }
            let pushed = place.push(results, envelope, (self.timeout, taken)).await;
            let Pushed::Refused { taken, refusal, detail } = pushed else {
                place.gone.store(false, Ordering::Relaxed);
                return Pushed::Done;
            };
            place.gone.store(refusal == Refusal::Gone, Ordering::Relaxed);
            if taken > 0 {
                // The rest is another request, and begins with the first place again.
                return Pushed::Refused { taken, refusal, detail };
            }
            refused = Some(match refused {
                None => (refusal, detail),
                Some((before, said)) => {
                    (together(before, refusal), format!("{said}; {detail}").into())
                }
            });
        }
        let (refusal, detail) = refused
            .unwrap_or_else(|| (Refusal::Away { retry_after: None }, "it has no place".into()));
        Pushed::Refused { taken: 0, refusal, detail }
    }
}

/// What two places' refusals come to: whichever leaves more hope. One that fails now may take it
/// later, whatever the other one thinks of it; and one that is gone says nothing of the other.
fn together(one: Refusal, other: Refusal) -> Refusal {
    match (one, other) {
        (Refusal::Away { retry_after: a }, Refusal::Away { retry_after: b }) => {
            Refusal::Away { retry_after: a.zip(b).map(|(a, b)| a.min(b)) }
        }
        (Refusal::Gone, other) | (other, Refusal::Gone) => other,
        (Refusal::Failed | Refusal::Away { .. }, _)
        | (_, Refusal::Failed | Refusal::Away { .. }) => Refusal::Failed,
        (Refusal::Rejected, _) | (_, Refusal::Rejected) => Refusal::Rejected,
        (Refusal::Unfit, Refusal::Unfit) => Refusal::Unfit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_say_together_what_leaves_most_hope() {
        let away = |seconds| Refusal::Away { retry_after: Some(Duration::from_secs(seconds)) };
        let never = Refusal::Away { retry_after: None };
        for (one, other, both) in [
            (away(3), away(2), away(2)),
            (away(3), never, never),
            (Refusal::Gone, Refusal::Gone, Refusal::Gone),
            (Refusal::Gone, Refusal::Rejected, Refusal::Rejected),
            (Refusal::Gone, away(3), away(3)),
            (Refusal::Rejected, Refusal::Rejected, Refusal::Rejected),
            (Refusal::Rejected, away(3), Refusal::Failed),
            (Refusal::Rejected, Refusal::Failed, Refusal::Failed),
            (Refusal::Unfit, Refusal::Rejected, Refusal::Rejected),
            (Refusal::Unfit, Refusal::Failed, Refusal::Failed),
            (Refusal::Unfit, Refusal::Unfit, Refusal::Unfit),
            (Refusal::Failed, away(3), Refusal::Failed),
        ] {
            assert_eq!(together(one, other), both, "{one:?}, {other:?}");
            assert_eq!(together(other, one), both, "{other:?}, {one:?}");
        }
    }
}
