//! A connection to RabbitMQ with one channel, which has its messages confirmed.

use std::collections::VecDeque;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::amqp_frames::{
    ACK, CANCEL, CHANNEL_CLOSE, CHANNEL_OPEN, CHANNEL_OPEN_OK, CLOSE, CONSUME, CONSUME_OK, DECLARE,
    DECLARE_OK, DELIVER, Fields, Frame, Kind, Method, NACK, OPEN, OPEN_OK, QOS, QOS_OK, SELECT,
    SELECT_OK, START, START_OK, TUNE, TUNE_OK, With, put_message, put_method,
};

/// Bytes that are read at once, about as many messages as a worker takes.
const READ: usize = 1 << 18;
/// Bytes of a frame, where the server takes as many.
const FRAME: u32 = 1 << 17;

/// A message that came in.
#[derive(Clone, Debug)]
pub(super) struct Came {
    /// What it is acknowledged by.
    pub(super) tag: u64,
    pub(super) body: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Amqp {
    stream: TcpStream,
    read: Vec<u8>,
    /// Bytes of `read` that were looked at.
    seen: usize,
    /// What goes out before anything is waited for.
    out: Vec<u8>,
    /// Bytes of a frame, at most.
    most: usize,
    published: u64,
    came: VecDeque<Came>,
    /// A message of which so many bytes are still to come.
    coming: Option<(Came, usize)>,
}

/// What the server says.
#[derive(Debug)]
enum Said {
    /// To a call.
    Answer(Method, Vec<u8>),
    /// That it has kept this message, or all up to it.
    Kept(u64, Upto),
    /// A message is there.
    Came,
}

/// Whether all before are meant as well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Upto {
    All,
    This,
}

impl Amqp {
    /// Connects to `host:port`.
    pub(super) async fn connect(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut amqp = Self {
            stream,
            read: Vec::new(),
            seen: 0,
            out: b"AMQP\0\0\x09\x01".to_vec(),
            most: FRAME as usize,
            published: 0,
            came: VecDeque::new(),
            coming: None,
        };
        amqp.answer(START).await?;
        let with = With::default().table(&[]).word("PLAIN").text("\0guest\0guest").word("en_US");
        let tune = amqp.ask(START_OK, &with, TUNE).await?;
        let mut tune = Fields(&tune);
        let (channels, frame) = (tune.short()?, tune.long()?);
        let frame = if frame == 0 { FRAME } else { frame.min(FRAME) };
        amqp.most = frame as usize;
        let no_heartbeat = With::default().short(channels).long(frame).short(0);
        put_method(&mut amqp.out, TUNE_OK, &no_heartbeat);
        amqp.ask(OPEN, &With::default().word("/").word("").byte(0), OPEN_OK).await?;
        amqp.ask(CHANNEL_OPEN, &With::default().word(""), CHANNEL_OPEN_OK).await?;
        amqp.ask(SELECT, &With::default().byte(0), SELECT_OK).await?;
        Ok(amqp)
    }

    /// Makes a queue that is still there after a restart.
    pub(super) async fn declare(
        &mut self,
        queue: &str,
        arguments: &[(&str, &str)],
    ) -> Result<(), String> {
        let durable = 2;
        let with = With::default().short(0).word(queue).byte(durable).table(arguments);
        self.ask(DECLARE, &with, DECLARE_OK).await.map(|_| ())
    }

    /// From here on takes what is in a queue; so many messages may be unacknowledged.
    pub(super) async fn consume(&mut self, queue: &str, most: u16) -> Result<(), String> {
        self.ask(QOS, &With::default().long(0).short(most).byte(0), QOS_OK).await?;
        let with = With::default().short(0).word(queue).word("all").byte(0).table(&[]);
        self.ask(CONSUME, &with, CONSUME_OK).await.map(|_| ())
    }

    /// Publishes into a queue, and waits until all are confirmed.
    pub(super) async fn store(&mut self, queue: &str, bodies: &[Vec<u8>]) -> Result<(), String> {
        for body in bodies {
            put_message(&mut self.out, queue, body, self.most);
        }
        let mut waiting = Waiting::new(self.published + 1, bodies.len());
        self.published += bodies.len() as u64;
        while waiting.left > 0 {
            if let Said::Kept(tag, upto) = self.said().await? {
                waiting.kept(tag, upto)?;
            }
        }
        Ok(())
    }

    /// What there is of what is consumed, up to so many; waits for the first.
    pub(super) async fn take(&mut self, most: usize) -> Result<Vec<Came>, String> {
        while self.came.is_empty() {
            self.said().await?;
        }
        while self.came.len() < most && self.next()?.is_some() {}
        Ok(self.came.drain(..most.min(self.came.len())).collect())
    }

    /// Acknowledges all up to this one, with whatever goes out next.
    pub(super) fn acknowledge(&mut self, tag: u64) {
        put_method(&mut self.out, ACK, &With::default().longlong(tag).byte(1));
    }

    /// Calls a method; with what it is answered.
    async fn ask(&mut self, method: Method, with: &With, by: Method) -> Result<Vec<u8>, String> {
        put_method(&mut self.out, method, with);
        self.answer(by).await
    }

    async fn answer(&mut self, by: Method) -> Result<Vec<u8>, String> {
        loop {
            if let Said::Answer(method, with) = self.said().await? {
                let right = method == by;
                return right
                    .then_some(with)
                    .ok_or_else(|| format!("{method:?} instead of {by:?}"));
            }
        }
    }

    /// The next that is said, after all that is to go out has gone out.
    async fn said(&mut self) -> Result<Said, String> {
        loop {
            if let Some(said) = self.next()? {
                return Ok(said);
            }
            let sent = self.stream.write_all(&self.out).await;
            sent.map_err(|error| error.to_string())?;
            self.out.clear();
            self.read.drain(..std::mem::take(&mut self.seen));
            self.read.reserve(READ);
            let length = self.stream.read_buf(&mut self.read).await;
            if length.map_err(|error| error.to_string())? == 0 {
                return Err("the connection was closed".to_owned());
            }
        }
    }

    /// The next that is said by what was read.
    fn next(&mut self) -> Result<Option<Said>, String> {
        while let Some((mut frame, length)) = Frame::first(&self.read[self.seen..])? {
            self.seen += length;
            match frame.kind {
                Kind::Method => {
                    let method = frame.inside.method()?;
                    if method == DELIVER {
                        frame.inside.word()?;
                        let tag = frame.inside.longlong()?;
                        self.coming = Some((Came { tag, body: Vec::new() }, 0));
                        continue;
                    }
                    return said(method, frame.inside).map(Some);
                }
                Kind::Header => {
                    frame.inside.long()?;
                    let (came, left) = self.coming.as_mut().ok_or("a header of no message")?;
                    *left = frame.inside.longlong()? as usize;
                    came.body.reserve_exact(*left);
                }
                Kind::Body => {
                    let (came, left) = self.coming.as_mut().ok_or("a body of no message")?;
                    came.body.extend_from_slice(frame.inside.0);
                    *left = left.saturating_sub(frame.inside.0.len());
                }
                Kind::Heartbeat => continue,
            }
            if let Some((came, _)) = self.coming.take_if(|(_, left)| *left == 0) {
                self.came.push_back(came);
                return Ok(Some(Said::Came));
            }
        }
        Ok(None)
    }
}

fn said(method: Method, mut with: Fields<'_>) -> Result<Said, String> {
    match method {
        ACK => {
            let tag = with.longlong()?;
            Ok(Said::Kept(tag, if with.byte()? == 0 { Upto::This } else { Upto::All }))
        }
        CLOSE | CHANNEL_CLOSE => {
            let (code, text) = (with.short()?, String::from_utf8_lossy(with.word()?));
            Err(format!("closed: {code} {text}"))
        }
        NACK => Err("a message could not be kept".to_owned()),
        CANCEL => Err("a queue is gone".to_owned()),
        _ => Ok(Said::Answer(method, with.0.to_vec())),
    }
}

/// Messages that were published together, until all are confirmed.
#[derive(Debug)]
struct Waiting {
    first: u64,
    kept: Vec<bool>,
    left: usize,
}

impl Waiting {
    fn new(first: u64, count: usize) -> Self {
        Self { first, kept: vec![false; count], left: count }
    }

    fn kept(&mut self, tag: u64, upto: Upto) -> Result<(), String> {
        let last = tag.checked_sub(self.first).map(|last| last as usize);
        let last = last.filter(|last| *last < self.kept.len());
        let last = last.ok_or_else(|| format!("nobody waits for {tag}"))?;
        let first = if upto == Upto::All { 0 } else { last };
        for kept in &mut self.kept[first..=last] {
            self.left -= usize::from(!std::mem::replace(kept, true));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirms_come_in_any_order_one_or_many_at_a_time() {
        let mut waiting = Waiting::new(11, 5);
        waiting.kept(12, Upto::This).unwrap();
        assert_eq!(waiting.left, 4);
        waiting.kept(13, Upto::All).unwrap();
        assert_eq!(waiting.left, 2);
        waiting.kept(13, Upto::This).unwrap();
        waiting.kept(15, Upto::All).unwrap();
        assert_eq!(waiting.left, 0);
        assert!(waiting.kept(16, Upto::This).is_err());
        assert!(waiting.kept(10, Upto::This).is_err());
    }

    #[test]
    fn what_the_server_objects_to_is_an_error() {
        let with = With::default().short(406).word("PRECONDITION_FAILED").short(60).short(40);
        let error = said(CHANNEL_CLOSE, Fields(&with.0)).unwrap_err();
        assert_eq!(error, "closed: 406 PRECONDITION_FAILED");
        assert!(said(ACK, Fields(&[0; 8])).is_err());
    }
}
