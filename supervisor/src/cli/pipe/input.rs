//! Standard input, line by line.

use std::io::{self, Read as _};

use bytes::{Bytes, BytesMut};
use rollcall_common::limits::MESSAGE_BYTES;
use tokio::sync::mpsc;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;
/// Chunks that are read ahead.
const CHUNKS: usize = 2;

/// Lines of standard input.
#[derive(Debug)]
pub(super) struct Input {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    buffer: BytesMut,
    /// How much of the buffer holds no newline.
    looked_at: usize,
}

/// Why there is no next line, though the input has not ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// The line is too long.
    #[error("is longer than {MESSAGE_BYTES} bytes")]
    TooLong,
    /// The system can't read.
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
}

impl Input {
    /// Starts reading.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        // A thread of its own: it may wait for the input for ever, and nobody waits for it.
        let reader = std::thread::Builder::new().name("input".to_owned());
        reader.spawn(move || read(&sender))?;
        Ok(Self { chunks, buffer: BytesMut::new(), looked_at: 0 })
    }

    /// The next lines: those that are there, at most `most`, and none at the end.
    pub(super) async fn lines(&mut self, most: usize) -> Result<Vec<Bytes>, InputError> {
        let mut lines = Vec::new();
        loop {
            while lines.len() < most
                && let Some(line) = self.line()?
            {
                lines.push(line);
            }
            if !lines.is_empty() {
                return Ok(lines);
            }
            let Some(chunk) = self.chunks.recv().await else {
                return Ok(self.rest()?.into_iter().collect());
            };
            self.buffer.extend_from_slice(&chunk?);
        }
    }

    fn line(&mut self) -> Result<Option<Bytes>, InputError> {
        let fresh = self.buffer.get(self.looked_at..).unwrap_or_default();
        let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.looked_at = self.buffer.len();
            return bounded(self.looked_at).map(|()| None);
        };
        let end = self.looked_at + end;
        bounded(end)?;
        self.looked_at = 0;
        let mut line = self.buffer.split_to(end + 1);
        line.truncate(end);
        Ok(Some(line.freeze()))
    }

    /// A last line without a newline.
    fn rest(&mut self) -> Result<Option<Bytes>, InputError> {
        bounded(self.buffer.len())?;
        self.looked_at = 0;
        Ok((!self.buffer.is_empty()).then(|| self.buffer.split().freeze()))
    }
}

fn bounded(length: usize) -> Result<(), InputError> {
    if u64::try_from(length).is_ok_and(|length| length <= MESSAGE_BYTES) {
        Ok(())
    } else {
        Err(InputError::TooLong)
    }
}

fn read(chunks: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut stdin = io::stdin().lock();
    let mut chunk = vec![0; CHUNK];
    loop {
        let news = match stdin.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => Ok(chunk.get(..length).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = news.is_err();
        if chunks.blocking_send(news).is_err() || last {
            return;
        }
    }
}
