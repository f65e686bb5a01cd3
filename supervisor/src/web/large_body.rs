//! The body of one message or result, as it is sent. What clients have yet to take of large ones is
//! bounded for all of them together: a thousand clients that ask for 16 MiB each, and take nothing,
//! get no more than that.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rollcall_common::limits::{LARGE_BODIES_BYTES, LARGE_BODY_BYTES, SLICE_BYTES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room for large bodies that are being sent, per process.
#[derive(Clone, Debug)]
pub struct LargeBodies(Arc<Semaphore>);

impl Default for LargeBodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_BODIES_BYTES)))
    }
}

impl LargeBodies {
    /// A body of these bytes; `None` when it is large, and other large ones take all the room.
    pub fn body(&self, bytes: Bytes) -> Option<Body> {
        if bytes.len() <= LARGE_BODY_BYTES {
            return Some(Body::from(bytes));
        }
        // One that is larger than all the room has it for itself.
        let permits = u32::try_from(bytes.len().min(LARGE_BODIES_BYTES)).ok()?;
        let room = Arc::clone(&self.0).try_acquire_many_owned(permits).ok()?;
        Some(Body::new(LargeBody { rest: bytes, _room: room }))
    }
}

/// It goes out in slices, so that it stays until its client has taken nearly all of it.
#[derive(Debug)]
struct LargeBody {
    rest: Bytes,
    _room: OwnedSemaphorePermit,
}

impl HttpBody for LargeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let step = self.rest.len().min(SLICE_BYTES);
        let slice = self.rest.split_to(step);
        Poll::Ready((!slice.is_empty()).then(|| Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn large(count: usize) -> Bytes {
        (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into()
    }

    #[tokio::test]
    async fn large_bodies_share_room_and_give_it_back() {
        let bodies = LargeBodies::default();
        let mut held = Vec::new();
        while let Some(body) = bodies.body(large(16 << 20)) {
            held.push(body);
        }
        assert_eq!(held.len(), LARGE_BODIES_BYTES / (16 << 20));
        assert!(bodies.body(large(LARGE_BODY_BYTES)).is_some(), "a small one needs none");
        let mut first = held.remove(0);
        assert_eq!(HttpBody::size_hint(&first).exact(), Some(16 << 20));
        // A client that takes part of it gives nothing back.
        let part = first.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(part.len(), SLICE_BYTES);
        assert!(bodies.body(large(1 << 20)).is_none());
        let rest = first.collect().await.unwrap().to_bytes();
        assert!([&*part, &*rest].concat() == large(16 << 20));
        assert!(bodies.body(large(1 << 20)).is_some());
    }
}
