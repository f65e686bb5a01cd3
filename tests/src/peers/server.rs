//! A small HTTP/1.1 server of our own: it speaks plain sockets, so that it can do to a client
//! whatever a server can do.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use super::{Act, Reply};
use crate::harness::{now, spawn};

/// A request that was read whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was there.
    pub at: Instant,
    /// Its method and target.
    pub line: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Request {
    /// A header's text; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// A header's number; 0 when it is not there.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.header(name).parse().unwrap_or_default()
    }
}

type Handler = Arc<dyn Fn(Request) -> Act + Send + Sync>;

/// A server at an address that stays its own, whether it is up or down.
pub struct Server {
    address: SocketAddr,
    handler: Handler,
    idle: Option<Duration>,
    up: Mutex<Option<watch::Sender<()>>>,
}

impl Server {
    /// A server on a free port. `idle` is when it closes connections that nothing comes on.
    pub async fn start(
        idle: Option<Duration>,
        handler: impl Fn(Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Self { address, handler: Arc::new(handler), idle, up: Mutex::default() };
        server.serve(listener);
        server
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes its port and all its connections: who connects is refused.
    pub fn go_down(&self) {
        self.up.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Listens again.
    pub async fn come_up(&self) {
        let deadline = now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                // The old listener is closed by a task that may not have had its turn.
                Err(error) => assert!(now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(5)).await;
        };
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let (sender, up) = watch::channel(());
        *self.up.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let (handler, idle) = (Arc::clone(&self.handler), self.idle);
        spawn(async move {
            let mut down = up.clone();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = down.changed() => return,
                };
                let Ok((stream, _)) = accepted else { continue };
                let (handler, mut down) = (Arc::clone(&handler), up.clone());
                spawn(async move {
                    tokio::select! {
                        () = connection(stream, handler, idle) => {}
                        _ = down.changed() => {}
                    }
                });
            }
        });
    }
}

async fn connection(stream: TcpStream, handler: Handler, idle: Option<Duration>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    loop {
        let wait = idle.unwrap_or(Duration::from_secs(3600));
        let Ok(Some(request)) = timeout(wait, read(&mut stream)).await else {
            return;
        };
        if !perform(handler(request), &mut stream).await {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let line = read_line(stream).await?;
    let mut headers = HeaderMap::new();
    loop {
        let header = read_line(stream).await?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).ok()?;
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    let length = headers.get("content-length").and_then(|value| value.to_str().ok());
    let mut body = vec![0; length.map_or(Ok(0), str::parse).ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { at: now(), line, headers, body: body.into() })
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    let count = stream.read_until(b'\n', &mut line).await.ok()?;
    (count > 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Does it; says whether the connection goes on. What can't be written is nobody's concern.
async fn perform(act: Act, stream: &mut BufReader<TcpStream>) -> bool {
    match act {
        Act::Answer(reply) => {
            sleep(reply.after).await;
            let mut bytes = reply.head().into_bytes();
            bytes.extend_from_slice(&reply.body);
            stream.write_all(&bytes).await.is_ok()
        }
        Act::Hang => std::future::pending().await,
        Act::Close => false,
        Act::Reset => {
            let _ = stream.get_ref().set_zero_linger();
            false
        }
        Act::CutOff(reply) => {
            half(&reply, stream).await;
            false
        }
        Act::ResetMidway(reply) => {
            half(&reply, stream).await;
            let _ = stream.get_ref().set_zero_linger();
            false
        }
        Act::Endless => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes()).await;
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            while sent.is_ok() {
                sent = stream.write_all(chunk.as_bytes()).await;
            }
            false
        }
        Act::Repeat(first, again, pause) => {
            let mut sent = stream.write_all(&first).await;
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
                sleep(pause).await;
            }
            false
        }
        Act::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            false
        }
    }
}

async fn half(reply: &Reply, stream: &mut BufReader<TcpStream>) {
    sleep(reply.after).await;
    let _ = stream.write_all(reply.head().as_bytes()).await;
    let _ = stream.write_all(&reply.body[..reply.body.len() / 2]).await;
    let _ = stream.flush().await;
    // So that the half is not overtaken by the reset.
    sleep(Duration::from_millis(20)).await;
}
