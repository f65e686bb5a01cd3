//! Frames: a `u32` big-endian length, then so many bytes. Batches of messages and the TCP
//! framing `length` are made of them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes of a frame's head.
pub const HEAD: usize = 4;

/// What is wrong with a run of frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// A frame says it is longer than allowed.
    #[error("frame {index} has {length} bytes, more than the limit of {limit}")]
    TooLong {
        /// Which frame, from 0.
        index: usize,
        /// What its head says.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes end inside a frame.
    #[error("frame {index} is cut off")]
    Truncated {
        /// Which frame, from 0.
        index: usize,
    },
}

/// Appends one frame to `out`.
///
/// # Panics
/// When `body` has 4 GiB or more.
#[expect(clippy::expect_used, reason = "bodies are bounded far below 4 GiB by limits")]
pub fn put(out: &mut BytesMut, body: &[u8]) {
    out.put_u32(u32::try_from(body.len()).expect("a frame has less than 4 GiB"));
    out.put_slice(body);
}

/// Splits a whole run of frames, without copying.
///
/// # Errors
/// When a frame is cut off, or longer than `limit`.
pub fn split_all(mut bytes: Bytes, limit: usize) -> Result<Vec<Bytes>, FrameError> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let index = frames.len();
        if bytes.len() < HEAD {
            return Err(FrameError::Truncated { index });
        }
        let length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
        if length > limit {
            return Err(FrameError::TooLong { index, length, limit });
        }
        if length > bytes.len() {
            return Err(FrameError::Truncated { index });
        }
        frames.push(bytes.split_to(length));
    }
    Ok(frames)
}

/// The next frame at the front of `bytes`, if all of it has come; it takes up [`HEAD`] bytes more
/// than it holds.
///
/// # Errors
/// When it is longer than `limit`.
pub fn next(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(FrameError::TooLong { index: 0, length, limit });
    }
    Ok(rest.get(..length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        let mut out = BytesMut::new();
        for body in [&b"one"[..], b"", b"three"] {
            put(&mut out, body);
        }
        let frames = split_all(out.freeze(), 10).unwrap();
        assert_eq!(frames, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn frames_come_one_by_one_however_the_bytes_arrive() {
        let mut out = BytesMut::new();
        for body in [&b"one"[..], b"", b"three"] {
            put(&mut out, body);
        }
        let (mut arrived, mut frames) = (BytesMut::new(), Vec::new());
        for byte in out {
            arrived.put_u8(byte);
            if let Some(frame) = next(&arrived, 10).unwrap() {
                frames.push(frame.to_vec());
                arrived.advance(HEAD + frames.last().unwrap().len());
            }
        }
        assert_eq!(frames, [&b"one"[..], b"", b"three"]);
        put(&mut arrived, b"too long");
        assert!(matches!(next(&arrived, 7), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn every_cut_and_every_overlong_frame_is_refused() {
        let mut out = BytesMut::new();
        put(&mut out, b"hello");
        let whole = out.freeze();
        for cut in 1..whole.len() {
            let error = split_all(whole.slice(..cut), 10).unwrap_err();
            assert_eq!(error, FrameError::Truncated { index: 0 });
        }
        assert!(matches!(split_all(whole, 4), Err(FrameError::TooLong { .. })));
    }
}
