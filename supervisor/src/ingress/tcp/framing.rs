//! Where one message ends and the next begins.

use bytes::{Buf as _, Bytes, BytesMut};
use rollcall_common::{frame::HEAD, http::Framing};

/// A message that is too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the message is larger than {limit} bytes")]
pub(super) struct TooLong {
    limit: usize,
}

/// Cuts whole messages of at most `limit` bytes off the buffer's beginning, `most` of them; and
/// says what is wrong behind them.
pub(super) fn cut(
    buffer: &mut BytesMut,
    framing: Framing,
    (limit, most): (usize, usize),
) -> (Vec<Bytes>, Option<TooLong>) {
    let mut all = Vec::new();
    while all.len() < most {
        let next = match framing {
            Framing::Length => frame(buffer, limit),
            Framing::Lines => line(buffer, limit),
        };
        match next {
            Ok(Some(message)) => all.push(message),
            Ok(None) => break,
            Err(wrong) => return (all, Some(wrong)),
        }
    }
    (all, None)
}

/// Whether there may be a whole message, after bytes were read to what was there `before`.
pub(super) fn is_worth_a_look(buffer: &[u8], before: usize, framing: Framing) -> bool {
    match framing {
        Framing::Length => match buffer.first_chunk::<HEAD>() {
            Some(head) => {
                let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
                buffer.len() - HEAD >= length || before < HEAD
            }
            None => false,
        },
        Framing::Lines => buffer.get(before..).unwrap_or_default().contains(&b'\n'),
    }
}

/// What is cut off bytes that come in pieces, and whether something too large is behind it. It is
/// looked for as a connection does.
#[cfg(any(test, feature = "checks"))]
pub(in super::super) fn cut_all(
    framing: Framing,
    limit: usize,
    pieces: &[&[u8]],
) -> (Vec<Bytes>, bool) {
    let (mut buffer, mut all) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        let before = buffer.len();
        buffer.extend_from_slice(piece);
        if !is_worth_a_look(&buffer, before, framing) && buffer.len() <= limit {
            continue;
        }
        loop {
            let (messages, wrong) = cut(&mut buffer, framing, (limit, 2));
            if messages.is_empty() && wrong.is_none() {
                break;
            }
            all.extend(messages);
            if wrong.is_some() {
                return (all, true);
            }
        }
    }
    (all, false)
}

fn frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TooLong> {
    let Some(head) = buffer.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(TooLong { limit });
    }
    if buffer.len() - HEAD < length {
        return Ok(None);
    }
    buffer.advance(HEAD);
    Ok(Some(buffer.split_to(length).freeze()))
}

fn line(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TooLong> {
    // One more for a carriage return, which is not part of it.
    let seen = buffer.get(..buffer.len().min(limit + 2)).unwrap_or_default();
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        let perhaps = buffer.len() == limit + 1 && buffer.ends_with(b"\r");
        let fits = buffer.len() <= limit || perhaps;
        return if fits { Ok(None) } else { Err(TooLong { limit }) };
    };
    let length =
        if seen.get(..end).is_some_and(|line| line.ends_with(b"\r")) { end - 1 } else { end };
    if length > limit {
        return Err(TooLong { limit });
    }
    let mut line = buffer.split_to(end + 1);
    line.truncate(length);
    Ok(Some(line.freeze()))
}

/// Whether a connection that begins with this line speaks HTTP: a page in a browser can't choose
/// how its requests begin, but where they go.
pub(super) fn is_http(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().is_some_and(|word| word.iter().all(u8::is_ascii_uppercase));
    let rest = (words.next(), words.next(), words.next());
    let target = rest.0.is_some_and(|word| word.starts_with(b"/") || word.starts_with(b"http://"));
    method && target && matches!(rest, (_, Some(b"HTTP/1.1" | b"HTTP/1.0"), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_known() {
        for (line, http) in [
            (&b"POST / HTTP/1.1"[..], true),
            (b"GET /x?y HTTP/1.0", true),
            (b"PUT http://a/ HTTP/1.1", true),
            (b"POST / HTTP/1.1 and more", false),
            (b"post / HTTP/1.1", false),
            (b"POST it HTTP/1.1", false),
            (b"{\"a\": 1}", false),
            (b"", false),
        ] {
            assert_eq!(is_http(line), http, "{line:?}");
        }
    }

    fn all(framing: Framing, bytes: &[u8]) -> (Vec<Bytes>, Option<TooLong>, usize) {
        let mut buffer = BytesMut::from(bytes);
        let (messages, wrong) = cut(&mut buffer, framing, (5, 3));
        (messages, wrong, buffer.len())
    }

    #[test]
    fn lines_end_with_a_line_feed_and_perhaps_a_carriage_return() {
        let (messages, wrong, left) = all(Framing::Lines, b"one\r\n\nthr\ree\nrest");
        assert_eq!(messages, [&b"one"[..], b""]);
        assert_eq!((wrong, left), (Some(TooLong { limit: 5 }), 11));
        assert_eq!(all(Framing::Lines, b"12345\r\n12345\nrest").2, 4);
    }

    #[test]
    fn a_message_over_the_limit_is_found_as_soon_as_it_shows() {
        for bytes in [&b"123456\n"[..], b"123456\r\n", b"123456", b"12345\rx"] {
            let (messages, wrong, _) = all(Framing::Lines, bytes);
            assert_eq!((messages.len(), wrong), (0, Some(TooLong { limit: 5 })), "{bytes:?}");
        }
        assert_eq!(all(Framing::Lines, b"12345\r").1, None);
        assert_eq!(all(Framing::Length, b"\0\0\0\x06").1, Some(TooLong { limit: 5 }));
        assert_eq!(all(Framing::Length, b"\0\0\0\x05").1, None);
    }

    #[test]
    fn frames_have_their_length_before_them() {
        let (messages, wrong, left) = all(Framing::Length, b"\0\0\0\x02hi\0\0\0\0\0\0\0\x03cut\0");
        assert_eq!(messages, [&b"hi"[..], b"", b"cut"]);
        assert_eq!((wrong, left), (None, 1));
    }

    #[test]
    fn wherever_reads_end_the_messages_are_the_same() {
        for (framing, bytes) in [
            (Framing::Lines, &b"a\n\nbcd\r\nefghi\n"[..]),
            (Framing::Length, b"\0\0\0\x01a\0\0\0\0\0\0\0\x03bcd\0\0\0\x05efghi"),
        ] {
            for first in 0..bytes.len() {
                let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
                for part in [&bytes[..first], &bytes[first..]] {
                    let before = buffer.len();
                    buffer.extend_from_slice(part);
                    let (whole, wrong) = cut(&mut buffer.clone(), framing, (5, 9));
                    assert_eq!(wrong, None);
                    let worth = is_worth_a_look(&buffer, before, framing);
                    assert!(worth || whole.is_empty(), "{first}: {buffer:?}");
                    messages.extend(cut(&mut buffer, framing, (5, 9)).0);
                }
                assert_eq!(messages, [&b"a"[..], b"", b"bcd", b"efghi"], "{first}");
                assert!(buffer.is_empty());
            }
        }
    }
}
