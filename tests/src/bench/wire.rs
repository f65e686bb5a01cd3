//! The client's end of a connection: as little as HTTP/1.1 with keep-alive needs, so that the
//! client takes as little as it can of the cores that it shares with what is measured.

use std::io::Write as _;

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Stands for a status where the connection was closed before the whole request had gone out.
pub(super) const CLOSED: u16 = 0;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    host: String,
    out: Vec<u8>,
    read: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Its body, for people.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The number behind this name in a body of JSON.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        number_after(&self.body, format!("\"{name}\":").as_bytes())
    }
}

/// The decimal number behind the first `name`.
pub(super) fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let start = memmem::find(text, name)? + name.len();
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |number: Option<u64>, digit| {
        Some(number.unwrap_or_default() * 10 + u64::from(digit - b'0'))
    })
}

impl Wire {
    /// Connects to `http://host:port`.
    pub(super) async fn connect(url: &str) -> Result<Self, String> {
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Ok(Self { stream: dial(&host).await?, host, out: Vec::new(), read: Vec::new() })
    }

    /// Asks, and reads the answer.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.send("GET", path, "", &[]).await
    }

    /// Sends `body` and reads the answer. `headers`: lines with their ends.
    pub(super) async fn post(
        &mut self,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Answer, String> {
        self.send("POST", path, headers, body).await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Answer, String> {
        self.out.clear();
        write!(
            self.out,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        )
        .map_err(|error| error.to_string())?;
        self.out.extend_from_slice(body);
        // Who refuses a body may answer, and close, before all of it is there.
        let written = self.stream.write_all(&self.out).await;
        self.read.clear();
        let (head, length) = loop {
            if let Some(end) = memmem::find(&self.read, b"\r\n\r\n") {
                break (end + 4, content_length(&self.read[..end + 2])?);
            }
            match (self.more().await, &written) {
                (Ok(()), _) => {}
                // It can't have been taken: not all of it went out.
                (Err(_), Err(_)) => {
                    self.stream = dial(&self.host).await?;
                    return Ok(Answer { status: CLOSED, body: Vec::new() });
                }
                (Err(error), Ok(())) => return Err(error),
            }
        };
        while self.read.len() < head + length {
            self.more().await?;
        }
        let status = number_after(&self.read, b"HTTP/1.1 ").unwrap_or_default();
        let body = self.read[head..head + length].to_vec();
        if memmem::find(&self.read[..head], b"\r\nconnection: close").is_some() {
            self.stream = dial(&self.host).await?;
        }
        Ok(Answer { status: status as u16, body })
    }

    async fn more(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn dial(host: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// From a head, line ends and all.
fn content_length(head: &[u8]) -> Result<usize, String> {
    let name = b"\ncontent-length:";
    let at = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name));
    let value = at.map(|at| head[at + name.len()..].trim_ascii_start()).and_then(|value| {
        let end = value.iter().position(|byte| !byte.is_ascii_digit())?;
        str::from_utf8(&value[..end]).ok()?.parse().ok()
    });
    value.ok_or_else(|| format!("an answer without a length: {}", String::from_utf8_lossy(head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_are_found() {
        let head = b"HTTP/1.1 202 Accepted\r\nContent-LENGTH:  17\r\nX: 1\r\n";
        assert_eq!(content_length(head), Ok(17));
        assert!(content_length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n").is_err());
        let answer = Answer { status: 202, body: br#"{"first":1,"sequence":42}"#.to_vec() };
        assert_eq!(answer.number("sequence"), Some(42));
        assert_eq!(answer.number("last_sequence"), None);
    }
}
