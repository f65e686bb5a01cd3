//! Records over a plain connection (contract §5, `tcp://`): one connection, in order. A record is
//! done when a line has come back for it, or when it is written, as the URL says. What is not
//! done when the connection fails is sent again over a new one.

use std::{
    fmt, io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{BufMut as _, BytesMut};
use rollcall_common::{
    http::{Acks, Framing, Route, SocketTarget, dial},
    limits::ACK_BYTES,
    net::{Network, ReadHalf, WriteHalf},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    sync::Mutex,
    time::timeout,
};

use super::Pushed;
use crate::{dispatcher::Refusal, views::ReleasedResult};

/// One place that takes records.
pub(super) struct SocketPeer {
    target: SocketTarget,
    network: Network,
    route: Route,
    /// Whoever sends holds it until its records are done, so records never mix.
    connection: Mutex<Option<Connection>>,
}

/// A connection, and what has been read of it and not used.
struct Connection {
    reading: BufReader<ReadHalf>,
    writing: WriteHalf,
}

/// Why sending came to its end.
struct Stopped {
    refusal: Refusal,
    detail: Box<str>,
}

impl SocketPeer {
    pub(super) fn new(target: SocketTarget, network: Network, route: Route) -> Self {
        Self { target, network, route, connection: Mutex::default() }
    }

    /// Sends results, and waits `patience` for each answer line; `done` counts them as they come.
    pub(super) async fn push(
        &self,
        results: &[ReleasedResult],
        (patience, done): (Duration, &AtomicUsize),
    ) -> Pushed {
        let fit = results.iter().take_while(|result| self.fits(result)).count();
        let (sendable, _) = results.split_at(fit);
        let mut connection = self.connection.lock().await;
        let sent = self.send(&mut connection, sendable, (patience, done)).await;
        if let Err(Stopped { refusal, detail }) = sent {
            return Pushed::Refused { taken: done.load(Ordering::Relaxed), refusal, detail };
        }
        if fit == results.len() {
            return Pushed::Done;
        }
        let detail = "the result holds a line end, which framing=lines can't carry; \
                      framing=length can";
        Pushed::Refused { taken: fit, refusal: Refusal::Unfit, detail: detail.into() }
    }

    fn fits(&self, result: &ReleasedResult) -> bool {
        self.target.framing == Framing::Length || !result.answer.payload.body.contains(&b'\n')
    }

    async fn send(
        &self,
        connection: &mut Option<Connection>,
        results: &[ReleasedResult],
        (patience, done): (Duration, &AtomicUsize),
    ) -> Result<(), Stopped> {
        if results.is_empty() {
            return Ok(());
        }
        let place = (self.target.host(), self.target.port());
        let mut open = match connection.take().and_then(Connection::quiet) {
            Some(open) => open,
            None => match dial(&self.network, place, &self.route).await {
                Ok(stream) => {
                    let (reading, writing) = stream.into_split();
                    Connection { reading: BufReader::new(reading), writing }
                }
                Err(error) => {
                    let detail = format!("no connection: {error}").into();
                    let refusal = Refusal::Away { retry_after: None };
                    return Err(Stopped { refusal, detail });
                }
            },
        };
        let sent = self.exchange(&mut open, results, (patience, done)).await;
        if let Err(error) = sent {
            let detail = error.to_string().into();
            return Err(Stopped { refusal: Refusal::Failed, detail });
        }
        *connection = Some(open);
        Ok(())
    }

    /// Writes all, then reads their answers; `done` counts as far as it came.
    async fn exchange(
        &self,
        Connection { reading, writing }: &mut Connection,
        results: &[ReleasedResult],
        (patience, done): (Duration, &AtomicUsize),
    ) -> io::Result<()> {
        let late = |what: &str| io::Error::new(io::ErrorKind::TimedOut, what);
        let (records, ends) = self.records(results);
        if self.target.acks == Acks::None {
            let written = timeout(patience, writing.write_all(&records)).await;
            written.map_err(|_| late("not taken in time"))??;
            done.store(results.len(), Ordering::Relaxed);
            return Ok(());
        }
        // A destination may answer while it is still being written to, and wait for its answers
        // to be read.
        let written = AtomicUsize::new(0);
        let write = write_all(writing, &records, &written);
        let answers = async {
            for end in ends {
                let answer = timeout(patience, read_line(reading)).await;
                answer.map_err(|_| late("no answer line in time"))??;
                if written.load(Ordering::Relaxed) < end {
                    let text = "an answer line came before its record was sent";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        tokio::pin!(write);
        tokio::pin!(answers);
        let mut state = Written::Not;
        loop {
            tokio::select! {
                biased;
                ended = &mut answers => return ended,
                result = &mut write, if state == Written::Not => {
                    result?;
                    state = Written::All;
                }
            }
        }
    }

    /// All records, and where each of them ends.
    fn records(&self, results: &[ReleasedResult]) -> (BytesMut, Vec<usize>) {
        let (mut records, mut ends) = (BytesMut::new(), Vec::with_capacity(results.len()));
        for result in results {
            let body = &result.answer.payload.body;
            match self.target.framing {
                Framing::Length => rollcall_common::frame::put(&mut records, body),
                Framing::Lines => {
                    records.put_slice(body);
                    records.put_u8(b'\n');
                }
            }
            ends.push(records.len());
        }
        (records, ends)
    }
}

/// Whether all records are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Written {
    All,
    Not,
}

/// Writes all of `records`; `written` counts their bytes as they go out.
async fn write_all(
    writing: &mut WriteHalf,
    mut records: &[u8],
    written: &AtomicUsize,
) -> io::Result<()> {
    while !records.is_empty() {
        let count = writing.write(records).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        written.fetch_add(count, Ordering::Relaxed);
        records = records.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Reads one answer; what it says does not matter.
async fn read_line(stream: &mut BufReader<ReadHalf>) -> io::Result<()> {
    let mut line = Vec::new();
    let mut bounded = stream.take(ACK_BYTES);
    let count = bounded.read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        return Ok(());
    }
    Err(if count == 0 {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")
    } else {
        io::Error::new(io::ErrorKind::InvalidData, "the answer line is cut off or too long")
    })
}

impl Connection {
    /// Itself, if nothing came where nothing should come, its end least of all.
    fn quiet(mut self) -> Option<Self> {
        let quiet = self.reading.get_mut().is_quiet() && self.reading.buffer().is_empty();
        quiet.then_some(self)
    }
}

impl fmt::Debug for SocketPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketPeer").field("target", &self.target).finish_non_exhaustive()
    }
}
