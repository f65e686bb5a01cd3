//! A connection to NATS: its text protocol, as far as JetStream needs it.

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::wire::number_after;

/// A message that came in.
#[derive(Clone, Debug)]
pub(super) struct Came {
    /// Where an answer is wanted; empty: nowhere.
    pub(super) reply: String,
    /// Its status line, where it is a word of the server.
    pub(super) status: String,
    pub(super) body: Vec<u8>,
}

/// A connection, which hears what is sent to its own subject.
#[derive(Debug)]
pub(super) struct Nats {
    read: BufReader<OwnedReadHalf>,
    write: BufWriter<OwnedWriteHalf>,
    inbox: String,
}

impl Nats {
    /// Connects to `host:port`.
    pub(super) async fn connect(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let inbox = format!("_INBOX.{}", uuid::Uuid::now_v7().simple());
        let (read, write) = stream.into_split();
        let mut nats = Self {
            read: BufReader::with_capacity(1 << 16, read),
            write: BufWriter::with_capacity(1 << 16, write),
            inbox,
        };
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
        let hello = format!("CONNECT {options}\r\nSUB {} 1\r\n", nats.inbox);
        nats.write.write_all(hello.as_bytes()).await.map_err(|error| error.to_string())?;
        Ok(nats)
    }

    /// Publishes; the answer, if one is wanted, comes to this connection.
    pub(super) async fn publish(
        &mut self,
        subject: &str,
        answer: Answered,
        body: &[u8],
    ) -> Result<(), String> {
        let reply = match answer {
            Answered::No => "",
            Answered::Yes => &self.inbox,
        };
        let head = format!("PUB {subject} {reply} {}\r\n", body.len());
        for part in [head.as_bytes(), body, b"\r\n"] {
            self.write.write_all(part).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Sends what was published.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        self.write.flush().await.map_err(|error| error.to_string())
    }

    /// Asks JetStream; an error in its answer is one here.
    pub(super) async fn ask(&mut self, subject: &str, body: &str) -> Result<Came, String> {
        self.publish(subject, Answered::Yes, body.as_bytes()).await?;
        self.flush().await?;
        let came = self.next().await?;
        let text = String::from_utf8_lossy(&came.body).into_owned();
        if text.contains("\"error\"") || !came.status.is_empty() {
            return Err(format!("{subject}: {} {text}", came.status));
        }
        Ok(came)
    }

    /// Publishes many into a stream; the places that they were given.
    pub(super) async fn store(
        &mut self,
        subject: &str,
        bodies: &[Vec<u8>],
    ) -> Result<Vec<u64>, String> {
        for body in bodies {
            self.publish(subject, Answered::Yes, body).await?;
        }
        self.flush().await?;
        let mut places = Vec::with_capacity(bodies.len());
        for _ in bodies {
            let came = self.next().await?;
            let place = number_after(&came.body, b"\"seq\":").filter(|place| *place > 0);
            let text = || String::from_utf8_lossy(&came.body).into_owned();
            places.push(place.ok_or_else(|| format!("{} {}", came.status, text()))?);
        }
        Ok(places)
    }

    /// Up to so many messages that a consumer has for us; waits for the first.
    pub(super) async fn pull(&mut self, consumer: &str, most: u64) -> Result<Vec<Came>, String> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{consumer}");
        loop {
            // What is there at once; else the next one, alone.
            let at_once = format!(r#"{{"batch":{most},"no_wait":true}}"#);
            let mut came = self.pulled(&subject, &at_once).await?;
            if came.is_empty() {
                came = self.pulled(&subject, r#"{"batch":1,"expires":1000000000}"#).await?;
            }
            if !came.is_empty() {
                return Ok(came);
            }
        }
    }

    async fn pulled(&mut self, subject: &str, how: &str) -> Result<Vec<Came>, String> {
        self.publish(subject, Answered::Yes, how.as_bytes()).await?;
        self.flush().await?;
        let most = number_after(how.as_bytes(), b"\"batch\":").unwrap_or_default() as usize;
        let mut all = Vec::new();
        while all.len() < most {
            let came = self.next().await?;
            if !came.status.is_empty() {
                break;
            }
            all.push(came);
        }
        Ok(all)
    }

    async fn next(&mut self) -> Result<Came, String> {
        loop {
            let mut line = String::new();
            let length = self.read.read_line(&mut line).await.map_err(|error| error.to_string())?;
            if length == 0 {
                return Err("the connection was closed".to_owned());
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first().copied().unwrap_or_default() {
                "MSG" => return self.came(&words, 0).await,
                "HMSG" => {
                    let (most, bytes) = words.split_at(words.len() - 1);
                    let (most, head) = most.split_at(most.len() - 1);
                    let head = head[0].parse().unwrap_or_default();
                    return self.came(&[most, bytes].concat(), head).await;
                }
                "PING" => {
                    let pong = self.write.write_all(b"PONG\r\n").await;
                    pong.map_err(|error| error.to_string())?;
                    self.flush().await?;
                }
                "-ERR" => return Err(line),
                _ => {}
            }
        }
    }

    /// `words`: MSG, subject, subscription, maybe where to answer, bytes in all.
    async fn came(&mut self, words: &[&str], head: usize) -> Result<Came, String> {
        let bytes = words.last().and_then(|word| word.parse::<usize>().ok());
        let mut all = vec![0; bytes.ok_or("a message without its length")? + 2];
        self.read.read_exact(&mut all).await.map_err(|error| error.to_string())?;
        all.truncate(all.len() - 2);
        let body = all.split_off(head);
        let status = String::from_utf8_lossy(&all).lines().next().unwrap_or_default().to_owned();
        let status = status.trim_start_matches("NATS/1.0").trim().to_owned();
        let reply = if words.len() > 4 { words[3].to_owned() } else { String::new() };
        Ok(Came { reply, status, body })
    }
}

/// Whether an answer is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answered {
    No,
    Yes,
}
