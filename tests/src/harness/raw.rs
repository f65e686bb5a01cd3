//! A client that sends exactly the bytes it is given.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::soon;

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    /// Connects to `http://HOST:PORT`.
    pub async fn connect(url: &str) -> Self {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let stream = soon(TcpStream::connect(address)).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        Self { stream, received: Vec::new() }
    }

    /// Connects to `http://HOST:PORT`, where somebody may be.
    pub async fn try_connect(url: &str) -> Option<Self> {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let stream = soon(TcpStream::connect(address)).await.ok()?;
        Some(Self { stream, received: Vec::new() })
    }

    /// The same, with little room for what comes and is not read.
    pub async fn connect_small(url: &str) -> Self {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        let connecting = socket.connect(address.parse().expect("an address"));
        let stream = soon(connecting).await.expect("a connection");
        Self { stream, received: Vec::new() }
    }

    /// Reads what comes next; empty when the other side has closed.
    pub async fn read_some(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 16];
        let count = soon(self.stream.read(&mut buffer)).await.unwrap_or_default();
        buffer.truncate(count);
        buffer
    }

    /// Sends bytes. Whether the other side still takes them is not asked.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // Err: it has closed, and reading shows what it said before.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends bytes; says whether the other side still took them.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Says that nothing more will come.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads what comes until the other side closes, or until nothing has come for `quiet`;
    /// says whether it closed.
    pub async fn read_for(&mut self, quiet: Duration) -> (String, bool) {
        let mut buffer = [0; 4096];
        let closed = loop {
            match timeout(quiet, self.stream.read(&mut buffer)).await {
                Err(_) => break false,
                Ok(Ok(0) | Err(_)) => break true,
                Ok(Ok(count)) => self.received.extend_from_slice(&buffer[..count]),
            }
        };
        let text = String::from_utf8_lossy(&self.received).into_owned();
        self.received.clear();
        (text, closed)
    }

    /// The status of the next answer, and its head and body; 0 when there is none.
    pub async fn answer(&mut self) -> (u16, String) {
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = answer_end(&self.received) {
                let answer: Vec<u8> = self.received.drain(..end).collect();
                let text = String::from_utf8_lossy(&answer).into_owned();
                let status = text.get(9..12).and_then(|digits| digits.parse().ok());
                return (status.unwrap_or_default(), text);
            }
            match soon(self.stream.read(&mut buffer)).await {
                Ok(0) | Err(_) => return (0, String::from_utf8_lossy(&self.received).into_owned()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// Where the first answer in `bytes` ends, if it is all there.
fn answer_end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().expect("a length"));
    (bytes.len() >= head + length).then_some(head + length)
}

/// One exchange on its own connection: the status, and the answer's text.
pub async fn exchange(url: &str, bytes: impl AsRef<[u8]>) -> (u16, String) {
    let mut raw = Raw::connect(url).await;
    raw.send(bytes).await;
    raw.answer().await
}
