//! A connection to Redis: its protocol, and the two scripts with which it does this very job.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Takes messages in: gives each its place, and keeps it. The answer is the last place.
pub(super) const TAKE_IN: &str = "
    local place
    for at = 1, #ARGV do
        place = redis.call('INCR', 'place')
        redis.call('XADD', 'in', place .. '-0', 'd', ARGV[at])
    end
    return place";

/// Takes results (place, result, …), and releases those whose turn has come.
pub(super) const RELEASE: &str = "
    local due = tonumber(redis.call('GET', 'due') or '1')
    for at = 1, #ARGV, 2 do
        if tonumber(ARGV[at]) >= due then redis.call('HSETNX', 'done', ARGV[at], ARGV[at + 1]) end
        redis.call('XACK', 'in', 'pool', ARGV[at] .. '-0')
        redis.call('XDEL', 'in', ARGV[at] .. '-0')
    end
    while true do
        local result = redis.call('HGET', 'done', due)
        if not result then break end
        redis.call('XADD', 'out', due .. '-0', 'd', result)
        redis.call('HDEL', 'done', due)
        due = due + 1
    end
    redis.call('SET', 'due', due)
    return due";

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Nothing,
    Number(u64),
}

impl Reply {
    /// What is in a list; nothing where it is none.
    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(all) => all,
            Self::Bytes(_) | Self::Nothing | Self::Number(_) => &[],
        }
    }

    /// Bytes; none where it is something else.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::List(_) | Self::Nothing | Self::Number(_) => &[],
        }
    }

    /// The places and bodies in what a stream is read with.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let entries = self.list().first().map_or(&[][..], |stream| stream.list()[1].list());
        entries.iter().map(|entry| {
            let place = String::from_utf8_lossy(entry.list()[0].bytes()).into_owned();
            let place = place.trim_end_matches("-0").parse().unwrap_or_default();
            (place, entry.list()[1].list()[1].bytes())
        })
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Resp {
    read: BufReader<OwnedReadHalf>,
    write: BufWriter<OwnedWriteHalf>,
}

impl Resp {
    /// Connects to `host:port`.
    pub(super) async fn connect(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (read, write) = stream.into_split();
        let (read, write) = (BufReader::with_capacity(1 << 16, read), BufWriter::new(write));
        Ok(Self { read, write })
    }

    /// One command, and its answer.
    pub(super) async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        self.put(words).await?;
        self.write.flush().await.map_err(|error| error.to_string())?;
        self.reply().await
    }

    /// A line of words, and its answer.
    pub(super) async fn ask_line(&mut self, line: &str) -> Result<Reply, String> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        self.ask(&words).await
    }

    /// Runs a script that the server knows by its sum.
    pub(super) async fn run(&mut self, sum: &[u8], words: &[Vec<u8>]) -> Result<Reply, String> {
        let mut all: Vec<&[u8]> = vec![b"EVALSHA", sum, b"0"];
        all.extend(words.iter().map(Vec::as_slice));
        self.ask(&all).await
    }

    /// Makes a script known; its sum.
    pub(super) async fn know(&mut self, script: &str) -> Result<Vec<u8>, String> {
        let reply = self.ask(&[b"SCRIPT", b"LOAD", script.as_bytes()]).await?;
        Ok(reply.bytes().to_vec())
    }

    async fn put(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        self.write.write_all(&out).await.map_err(|error| error.to_string())
    }

    /// Reads an answer, whose lists are walked without recursion: each open list is on a stack
    /// with what it still lacks.
    async fn reply(&mut self) -> Result<Reply, String> {
        let mut open: Vec<(usize, Vec<Reply>)> = Vec::new();
        loop {
            let mut done = match self.item().await? {
                Item::Whole(reply) => reply,
                Item::List(0) => Reply::List(Vec::new()),
                Item::List(length) => {
                    open.push((length, Vec::with_capacity(length)));
                    continue;
                }
            };
            loop {
                let Some((length, items)) = open.last_mut() else { return Ok(done) };
                items.push(done);
                if items.len() < *length {
                    break;
                }
                done = Reply::List(open.pop().map(|(_, items)| items).unwrap_or_default());
            }
        }
    }

    async fn item(&mut self) -> Result<Item, String> {
        let kind = self.read.read_u8().await.map_err(|error| error.to_string())?;
        let mut line = Vec::new();
        loop {
            match self.read.read_u8().await.map_err(|error| error.to_string())? {
                b'\n' => break,
                b'\r' => {}
                byte => line.push(byte),
            }
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let number = text.parse::<i64>().unwrap_or_default();
        match kind {
            b'+' => Ok(Item::Whole(Reply::Bytes(line))),
            b':' => Ok(Item::Whole(Reply::Number(number as u64))),
            b'$' | b'*' if number < 0 => Ok(Item::Whole(Reply::Nothing)),
            b'$' => {
                let mut bytes = vec![0; number as usize + 2];
                let read = self.read.read_exact(&mut bytes).await;
                read.map_err(|error| error.to_string())?;
                bytes.truncate(number as usize);
                Ok(Item::Whole(Reply::Bytes(bytes)))
            }
            b'*' => Ok(Item::List(number as usize)),
            _ => Err(text),
        }
    }
}

/// What comes next in an answer.
enum Item {
    /// A list of so many.
    List(usize),
    Whole(Reply),
}
