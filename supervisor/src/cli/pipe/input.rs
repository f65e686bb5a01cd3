//! Standard input, line by line, or some lines at a time.

use std::{
    io::{self, Read as _},
    num::NonZeroUsize,
};

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::RESULT_BYTES;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;
/// Chunks that are read ahead.
const CHUNKS: usize = 2;

/// What the lines are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rules {
    /// What ends a line.
    pub(super) line_end: u8,
    /// Most bytes of a line.
    pub(super) longest: usize,
    /// How many lines are worked on together.
    pub(super) together: NonZeroUsize,
}

/// What is worked on together: a line, mostly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Item {
    /// It, without its end.
    Whole(Bytes),
    /// It is too long to be kept.
    TooLong {
        /// How long it is, in bytes.
        bytes: u64,
        /// What it is known by.
        fingerprint: [u8; 16],
    },
}

/// Lines of standard input.
#[derive(Debug)]
pub(super) struct Input {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    cutter: Cutter,
}

/// Cuts what comes into items.
#[derive(Debug)]
struct Cutter {
    rules: Rules,
    buffer: BytesMut,
    /// How much of the buffer holds no end of a line.
    looked_at: usize,
    /// What has come of an item that is too long.
    skipped: Option<Skipped>,
    /// The end of the last whole line in the buffer, and how many lines come before it.
    lines: usize,
    ended_at: usize,
}

#[derive(Debug, Default)]
struct Skipped {
    bytes: u64,
    digest: Sha256,
}

impl Input {
    /// Starts reading.
    pub(super) fn start(rules: Rules) -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        // A thread of its own: it may wait for the input for ever, and nobody waits for it.
        let reader = std::thread::Builder::new().name("input".to_owned());
        reader.spawn(move || read(&sender))?;
        Ok(Self { chunks, cutter: Cutter::new(rules) })
    }

    /// The next items: those that are there, at most `most`, and none at the end.
    ///
    /// # Errors
    /// When the system can't read.
    pub(super) async fn items(&mut self, most: usize) -> io::Result<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            while items.len() < most
                && let Some(item) = self.cutter.item()
            {
                items.push(item);
            }
            if !items.is_empty() {
                return Ok(items);
            }
            let Some(chunk) = self.chunks.recv().await else {
                return Ok(self.cutter.rest().into_iter().collect());
            };
            self.cutter.buffer.extend_from_slice(&chunk?);
        }
    }
}

impl Cutter {
    fn new(rules: Rules) -> Self {
        Self { rules, buffer: BytesMut::new(), looked_at: 0, skipped: None, lines: 0, ended_at: 0 }
    }

    /// The next whole item of the buffer.
    fn item(&mut self) -> Option<Item> {
        loop {
            let fresh = self.buffer.get(self.looked_at..).unwrap_or_default();
            let end = fresh.iter().position(|byte| *byte == self.rules.line_end);
            let reached = end.map_or(self.buffer.len(), |end| self.looked_at + end);
            let is_long = reached - self.ended_at > self.rules.longest || reached > RESULT_BYTES;
            // The end of the line before stays: at the end of the input it does not count.
            if (self.skipped.is_some() || is_long) && reached > self.ended_at {
                self.skip(reached);
            } else {
                self.looked_at = reached;
            }
            end?;
            // The end of a line: it belongs to the item unless that ends here.
            self.lines += 1;
            self.looked_at += 1;
            if self.lines == self.rules.together.get() {
                return Some(self.cut());
            }
            self.ended_at = self.looked_at;
        }
    }

    /// Keeps no more of an item than what it is known by.
    fn skip(&mut self, length: usize) {
        let skipped = self.skipped.get_or_insert_default();
        let gone = self.buffer.split_to(length);
        skipped.bytes += u64::try_from(gone.len()).unwrap_or(u64::MAX);
        skipped.digest.update(&gone);
        (self.looked_at, self.ended_at) = (0, 0);
    }

    /// Cuts off what ends with the line's end that was looked at last.
    fn cut(&mut self) -> Item {
        let mut whole = self.buffer.split_to(self.looked_at);
        whole.truncate(whole.len().saturating_sub(1));
        (self.looked_at, self.ended_at, self.lines) = (0, 0, 0);
        self.finish(whole)
    }

    fn finish(&mut self, whole: BytesMut) -> Item {
        match self.skipped.take() {
            None => Item::Whole(whole.freeze()),
            Some(mut skipped) => {
                skipped.digest.update(&whole);
                let bytes = u64::try_from(whole.len()).unwrap_or(u64::MAX);
                let fingerprint = short(skipped.digest);
                Item::TooLong { bytes: skipped.bytes + bytes, fingerprint }
            }
        }
    }

    /// What is left at the end: a line without an end, or fewer lines than go together.
    fn rest(&mut self) -> Option<Item> {
        if self.buffer.is_empty() && self.skipped.is_none() {
            return None;
        }
        let mut whole = self.buffer.split();
        // The last line may have its end.
        let ended = self.lines > 0 && self.ended_at == whole.len() && !whole.is_empty();
        whole.truncate(whole.len() - usize::from(ended));
        (self.looked_at, self.ended_at, self.lines) = (0, 0, 0);
        Some(self.finish(whole))
    }
}

/// What a body is known by.
pub(super) fn fingerprint(body: &[u8]) -> [u8; 16] {
    short(Sha256::new_with_prefix(body))
}

fn short(digest: Sha256) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(digest.finalize()).for_each(|(short, byte)| *short = byte);
    short
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

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn rules(longest: usize, together: usize) -> Rules {
        Rules { line_end: b'\n', longest, together: NonZeroUsize::new(together).unwrap() }
    }

    /// All items of an input that comes in pieces of this size.
    fn items(input: &[u8], rules: Rules, piece: usize) -> Vec<Item> {
        let mut cutter = Cutter::new(rules);
        let mut items = Vec::new();
        for piece in input.chunks(piece) {
            cutter.buffer.extend_from_slice(piece);
            items.extend(std::iter::from_fn(|| cutter.item()));
        }
        items.extend(cutter.rest());
        items
    }

    /// The same, read plainly.
    fn expected(input: &[u8], rules: Rules) -> Vec<Item> {
        let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        let item = |lines: &[&[u8]]| {
            let whole = lines.join(&b'\n');
            if lines.iter().all(|line| line.len() <= rules.longest) {
                return Item::Whole(whole.into());
            }
            let bytes = u64::try_from(whole.len()).unwrap();
            Item::TooLong { bytes, fingerprint: fingerprint(&whole) }
        };
        lines.chunks(rules.together.get()).map(item).collect()
    }

    proptest! {
        #[test]
        fn an_input_is_cut_alike_however_it_comes(
            input in vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(0)], 0..60),
            (longest, together, piece) in (0_usize..6, 1_usize..4, 1_usize..10),
        ) {
            let rules = rules(longest, together);
            prop_assert_eq!(items(&input, rules, piece), expected(&input, rules));
        }
    }

    #[test]
    fn a_long_line_is_not_kept() {
        let mut cutter = Cutter::new(rules(10, 1));
        for _ in 0..1000 {
            cutter.buffer.extend_from_slice(&[b'x'; 100]);
            assert_eq!(cutter.item(), None);
            assert!(cutter.buffer.len() <= 100);
        }
    }
}
