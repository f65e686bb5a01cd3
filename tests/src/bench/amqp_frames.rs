//! The bytes of AMQP 0-9-1, as far as queues with confirms need them: frames, and what methods
//! are called with.

/// A method: its class, and its number there.
pub(super) type Method = (u16, u16);

pub(super) const START: Method = (10, 10);
pub(super) const START_OK: Method = (10, 11);
pub(super) const TUNE: Method = (10, 30);
pub(super) const TUNE_OK: Method = (10, 31);
pub(super) const OPEN: Method = (10, 40);
pub(super) const OPEN_OK: Method = (10, 41);
pub(super) const CLOSE: Method = (10, 50);
pub(super) const CHANNEL_OPEN: Method = (20, 10);
pub(super) const CHANNEL_OPEN_OK: Method = (20, 11);
pub(super) const CHANNEL_CLOSE: Method = (20, 40);
pub(super) const DECLARE: Method = (50, 10);
pub(super) const DECLARE_OK: Method = (50, 11);
pub(super) const QOS: Method = (60, 10);
pub(super) const QOS_OK: Method = (60, 11);
pub(super) const CONSUME: Method = (60, 20);
pub(super) const CONSUME_OK: Method = (60, 21);
pub(super) const CANCEL: Method = (60, 30);
const PUBLISH: Method = (60, 40);
pub(super) const DELIVER: Method = (60, 60);
pub(super) const ACK: Method = (60, 80);
pub(super) const NACK: Method = (60, 120);
pub(super) const SELECT: Method = (85, 10);
pub(super) const SELECT_OK: Method = (85, 11);

/// Bytes around what is in a frame.
pub(super) const AROUND: usize = 8;
/// The last byte of a frame.
const END: u8 = 0xce;
/// Says that the only property of a message is how it is kept.
const HOW_KEPT: u16 = 1 << 12;
/// On the disk.
const PERSISTENT: u8 = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Method = 1,
    Header = 2,
    Body = 3,
    Heartbeat = 8,
}

/// A whole frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) inside: Fields<'a>,
}

impl<'a> Frame<'a> {
    /// The first frame, and its length; none where it is not all there.
    pub(super) fn first(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, String> {
        let Some((head, rest)) = bytes.split_at_checked(AROUND - 1) else { return Ok(None) };
        let kind = match head[0] {
            1 => Kind::Method,
            2 => Kind::Header,
            3 => Kind::Body,
            8 => Kind::Heartbeat,
            other => return Err(format!("not a frame: it starts with {other}")),
        };
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        match rest.get(size) {
            None => Ok(None),
            Some(&END) => Ok(Some((Self { kind, inside: Fields(&rest[..size]) }, size + AROUND))),
            Some(_) => Err("a frame does not end where it should".to_owned()),
        }
    }
}

/// What is in a frame, read from its start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("a frame that is too short")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        self.take().map(u8::from_be_bytes)
    }

    pub(super) fn short(&mut self) -> Result<u16, String> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<u32, String> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn longlong(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_be_bytes)
    }

    /// Text of at most 255 bytes.
    pub(super) fn word(&mut self) -> Result<&'a [u8], String> {
        let length = usize::from(self.byte()?);
        let (word, rest) = self.0.split_at_checked(length).ok_or("a word that is too short")?;
        self.0 = rest;
        Ok(word)
    }

    pub(super) fn method(&mut self) -> Result<Method, String> {
        Ok((self.short()?, self.short()?))
    }
}

/// What a method is called with.
#[derive(Clone, Debug, Default)]
pub(super) struct With(pub(super) Vec<u8>);

impl With {
    pub(super) fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn short(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn longlong(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Text of at most 255 bytes.
    pub(super) fn word(mut self, text: &str) -> Self {
        self.0.push(text.len() as u8);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Text of any length.
    pub(super) fn text(self, text: &str) -> Self {
        let mut with = self.long(text.len() as u32);
        with.0.extend_from_slice(text.as_bytes());
        with
    }

    /// Names with texts.
    pub(super) fn table(self, rows: &[(&str, &str)]) -> Self {
        let rows = rows.iter();
        let inside = rows
            .fold(Self::default(), |table, (name, value)| table.word(name).byte(b'S').text(value));
        let mut with = self.long(inside.0.len() as u32);
        with.0.extend_from_slice(&inside.0);
        with
    }
}

/// Calls a method.
pub(super) fn put_method(out: &mut Vec<u8>, method: Method, with: &With) {
    put(out, Kind::Method, u16::from(method.0 != START.0), |out| {
        out.extend_from_slice(&method.0.to_be_bytes());
        out.extend_from_slice(&method.1.to_be_bytes());
        out.extend_from_slice(&with.0);
    });
}

/// Publishes a message that is to be on the disk, in frames of at most so many bytes.
pub(super) fn put_message(out: &mut Vec<u8>, queue: &str, body: &[u8], most: usize) {
    let with = With::default().short(0).word("").word(queue).byte(0);
    put_method(out, PUBLISH, &with);
    let with = With::default().short(PUBLISH.0).short(0).longlong(body.len() as u64);
    let with = with.short(HOW_KEPT).byte(PERSISTENT);
    put(out, Kind::Header, 1, |out| out.extend_from_slice(&with.0));
    for part in body.chunks(most - AROUND) {
        put(out, Kind::Body, 1, |out| out.extend_from_slice(part));
    }
}

fn put(out: &mut Vec<u8>, kind: Kind, channel: u16, inside: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind as u8);
    out.extend_from_slice(&channel.to_be_bytes());
    let size = out.len();
    out.extend_from_slice(&[0; 4]);
    inside(out);
    let length = (out.len() - size - 4) as u32;
    out[size..size + 4].copy_from_slice(&length.to_be_bytes());
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_three_frames_and_more_where_it_is_long() {
        let mut out = Vec::new();
        put_message(&mut out, "in", b"abcdef", AROUND + 4);
        let mut kinds = Vec::new();
        let mut body = Vec::new();
        let mut rest = &out[..];
        while let Some((mut frame, length)) = Frame::first(rest).unwrap() {
            kinds.push(frame.kind);
            match frame.kind {
                Kind::Method => {
                    assert_eq!(frame.inside.method(), Ok(PUBLISH));
                    assert_eq!(frame.inside.short(), Ok(0));
                    assert_eq!(frame.inside.word(), Ok(&b""[..]));
                    assert_eq!(frame.inside.word(), Ok(&b"in"[..]));
                }
                Kind::Header => assert_eq!(frame.inside.0[4..12], 6_u64.to_be_bytes()),
                Kind::Body => body.extend_from_slice(frame.inside.0),
                Kind::Heartbeat => panic!("nobody asked for it"),
            }
            rest = &rest[length..];
        }
        assert_eq!(kinds, [Kind::Method, Kind::Header, Kind::Body, Kind::Body]);
        assert_eq!(body, b"abcdef");
        assert!(rest.is_empty());
    }

    #[test]
    fn a_frame_that_is_not_whole_is_waited_for_and_a_broken_one_is_an_error() {
        let mut out = Vec::new();
        put_method(&mut out, OPEN, &With::default().word("/").table(&[("a", "b")]));
        for length in 0..out.len() {
            assert_eq!(Frame::first(&out[..length]), Ok(None));
        }
        *out.last_mut().unwrap() = 0;
        assert!(Frame::first(&out).is_err());
        assert!(Frame::first(b"AMQP\0\0\x09\x01").is_err());
        let mut short = Fields(&[3, b'a']);
        assert!(short.word().is_err());
    }
}
