//! One peer and its connections. Our own small pool rather than a general one, because the
//! dispatcher must know whether a failed request can have been seen (contract §4: a reused
//! connection that is closed before any byte of answer is no failed attempt), and because idle
//! connections have to be given up before Node.js closes them.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Body as _;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;

use super::connection::{CallError, Connection, Reply, SendError, before_any_byte, handshake};
use crate::{
    exhaustion::is_exhausted,
    http::{AnswerShare, Route, Target, Trust, dial},
    limits::{CONNECT_TIMEOUT, IDLE_CONNECTION, IDLE_CONNECTIONS, PROBE_STAY},
    net::{Network, Stream},
    task,
    time::{Clock, Time},
};

/// A connection that speaks another protocol than HTTP now.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// One peer and its connections.
pub struct Peer {
    target: Target,
    /// What a request line for the target's path has.
    uri: Uri,
    /// What a request's `Host` has.
    host: HeaderValue,
    network: Network,
    route: Route,
    trust: Option<Trust>,
    clock: Clock,
    idle: Mutex<Vec<Idle>>,
    /// Milliseconds for which a connection may be idle: our bound, or the peer's if shorter.
    idle_ms: AtomicU64,
}

struct Idle {
    connection: Connection,
    since: Time,
}

/// What became of a connection on which nothing was said.
enum Knock {
    /// The other side closed it in an orderly way.
    Closed,
    /// It did not come up, or was broken off.
    Nobody,
    /// It was still open after a while.
    Stayed,
}

impl Peer {
    /// The peer at `target`; at `address`, where that is given, instead of what the target's
    /// host resolves to.
    #[must_use]
    pub fn new(target: Target, address: Option<SocketAddr>) -> Self {
        let route = address.map_or(Route::Open, Route::Fixed);
        // They were parts of a URL, so they can be parts of a request.
        let uri = target.path().parse().unwrap_or_default();
        let host = HeaderValue::from_str(&target.authority());
        Self {
            host: host.unwrap_or(HeaderValue::from_static("")),
            uri,
            target,
            network: Network::default(),
            route,
            trust: None,
            clock: Clock::start(Time::default()),
            idle: Mutex::default(),
            idle_ms: AtomicU64::new(millis(IDLE_CONNECTION)),
        }
    }

    /// The same, reached by this route.
    #[must_use]
    pub fn by(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// The same, over this network; without it over the system's.
    #[must_use]
    pub fn over(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The same, with these believed where it speaks TLS; without it the public authorities are.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Who is believed where it speaks TLS; `None`: the public authorities.
    #[must_use]
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// Where it is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The target's path, as a request has it.
    #[must_use]
    pub fn uri(&self) -> Uri {
        self.uri.clone()
    }

    /// Sends `request` (`Host` is added) and reads the whole answer, of at most `limit` bytes.
    /// There is no time limit: drop the future to give up.
    ///
    /// # Errors
    /// When there is no whole answer; the error says how far it came.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Reply, SendError> {
        self.send_within(request, limit, None).await
    }

    /// The same; a large answer is read once its share has room for it.
    ///
    /// # Errors
    /// As [`Peer::send`]; also when the rest of a large answer takes too long.
    pub async fn send_within(
        &self,
        mut request: Request<Full<Bytes>>,
        limit: usize,
        mut share: Option<&mut AnswerShare>,
    ) -> Result<Reply, SendError> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        if request.method() != Method::GET && request.body().is_end_stream() {
            // Servers that insist on a length are told it, also where it is 0 (RFC 9110 §8.6).
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        while let Some(mut connection) = self.take_idle() {
            match connection.call(request, limit, share.as_deref_mut()).await {
                Ok(reply) => return Ok(self.keep(connection, reply)),
                Err(CallError::Unsent(unsent)) => request = *unsent,
                Err(CallError::Lost(error)) if before_any_byte(&error) => {
                    return Err(SendError::Stale);
                }
                Err(CallError::Lost(error)) => return Err(SendError::Broken(error)),
                Err(CallError::Answer(error)) => return Err(error),
            }
        }
        // Boxed: TLS would make every call as large as its handshake.
        let connecting = Box::pin(self.connect());
        let mut connection = connecting.await.map_err(SendError::Connect)?;
        match connection.call(request, limit, share).await {
            Ok(reply) => Ok(self.keep(connection, reply)),
            Err(CallError::Unsent(_)) => {
                Err(SendError::Connect(io::ErrorKind::ConnectionReset.into()))
            }
            Err(CallError::Lost(error)) => Err(SendError::Broken(error)),
            Err(CallError::Answer(error)) => Err(error),
        }
    }

    /// Asks for another protocol, on a connection of its own: `request` names it. Gives back the
    /// headers of the answer and the connection; `None` if the peer does not agree.
    ///
    /// # Errors
    /// When the peer can't be reached, or breaks off.
    pub async fn upgrade(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> io::Result<Option<(HeaderMap, Upgraded)>> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        let asking = async {
            let Connection { mut sender, driver, meter } = self.connect().await?;
            task::spawn("http-upgrade", async move {
                // Whoever waits for an answer on this connection is told; nobody else cares.
                let _ = driver.await;
            });
            let answer = sender.send_request(request).await.map_err(io::Error::other);
            // The other protocol has bounds of its own.
            meter.begun();
            answer
        };
        // Boxed: as in `send`.
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, Box::pin(asking)).await;
        let answer = asked.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        let headers = answer.headers().clone();
        let upgraded = hyper::upgrade::on(answer).await.map_err(io::Error::other)?;
        Ok(Some((headers, TokioIo::new(upgraded))))
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        let oldest = self.oldest_usable();
        self.lock_idle().retain(|idle| idle.since >= oldest);
    }

    fn take_idle(&self) -> Option<Connection> {
        let oldest = self.oldest_usable();
        loop {
            // The newest first: what is older stays idle, and is swept.
            let Idle { mut connection, since } = self.lock_idle().pop()?;
            if since >= oldest && connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Whether a new connection comes up in time, and stays for [`PROBE_STAY`] or is closed in an
    /// orderly way twice: some servers close what is idle that soon. Nothing is said on it.
    pub async fn probe(&self, longest: Duration) -> bool {
        match self.knock(longest).await {
            Knock::Closed => !matches!(self.knock(longest).await, Knock::Nobody),
            Knock::Stayed => true,
            Knock::Nobody => false,
        }
    }

    async fn knock(&self, longest: Duration) -> Knock {
        let mut stream = match tokio::time::timeout(longest, self.dial()).await {
            Ok(Ok(stream)) => stream,
            // This machine has no room to look, which says nothing against the peer.
            Ok(Err(error)) if is_exhausted(&error) => return Knock::Stayed,
            Ok(Err(_)) | Err(_) => return Knock::Nobody,
        };
        // The system still takes connections for a process that is on its way down, and closes
        // them a moment later.
        match tokio::time::timeout(PROBE_STAY, stream.read_u8()).await {
            Ok(Ok(_)) | Err(_) => Knock::Stayed,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Knock::Closed,
            Ok(Err(_)) => Knock::Nobody,
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = self.dial().await?;
        if !self.target.is_secure() {
            return handshake(stream).await;
        }
        let trust = self.trust.clone().map_or_else(Trust::public, Ok)?;
        handshake(trust.secure(stream, self.target.host()).await?).await
    }

    async fn dial(&self) -> io::Result<Stream> {
        let place = (self.target.host(), self.target.port());
        dial(&self.network, place, &self.route).await
    }

    /// Keeps a connection for the next request.
    fn keep(&self, mut connection: Connection, reply: Reply) -> Reply {
        self.note_keep_alive(&reply.headers);
        let open = connection.is_open();
        let mut idle = self.lock_idle();
        if open && idle.len() < IDLE_CONNECTIONS {
            idle.push(Idle { connection, since: self.clock.now() });
        }
        reply
    }

    /// `Keep-Alive: timeout=N`: a second less, so that the peer is never the first to close.
    fn note_keep_alive(&self, headers: &HeaderMap) {
        let Some(value) = headers.get("keep-alive").and_then(|value| value.to_str().ok()) else {
            return;
        };
        let timeout = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="));
        if let Some(seconds) = timeout.and_then(|seconds| seconds.trim().parse::<u64>().ok()) {
            let ours = millis(IDLE_CONNECTION);
            let theirs = seconds.saturating_mul(1000).saturating_sub(1000);
            self.idle_ms.store(ours.min(theirs), Ordering::Relaxed);
        }
    }

    fn oldest_usable(&self) -> Time {
        self.clock.now() - Duration::from_millis(self.idle_ms.load(Ordering::Relaxed))
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("target", &self.target)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;
    use crate::{http::AnswerRoom, limits::ANSWER_HEAD_BYTES};

    /// What comes of a call to a peer that says these bytes, so often, and then nothing more.
    async fn answer(said: &'static str, times: usize) -> Result<Reply, SendError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let peer = Peer::new(url.parse().unwrap(), None);
        let speaking = task::spawn("speaking", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
            for _ in 0..times {
                if stream.write_all(said.as_bytes()).await.is_err() {
                    return;
                }
            }
            // Nothing more comes, and it is not closed.
            std::future::pending::<()>().await;
        });
        let request = Request::new(Full::new(Bytes::new()));
        let sent = tokio::time::timeout(Duration::from_secs(20), peer.send(request, 1 << 20));
        let sent = sent.await.expect("it is cut off by what it says, not by the time");
        speaking.abort();
        sent
    }

    #[tokio::test]
    async fn a_peer_that_never_comes_to_its_answer_is_cut_off() {
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
        for said in ["HTTP/1.1 100 Continue\r\n\r\n", hint] {
            let error = answer(said, ANSWER_HEAD_BYTES).await.unwrap_err();
            assert!(matches!(error, SendError::Broken(_)), "{said}: {error:?}");
        }
        let error = answer("HTTP/1.1 200 OK\r\nx: ", 1 << 20).await.unwrap_err();
        assert!(matches!(error, SendError::Broken(_)), "{error:?}");
    }

    #[tokio::test]
    async fn interim_responses_are_passed_over() {
        let reply = answer(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
             HTTP/1.1 204 No Content\r\n\r\n",
            1,
        );
        assert_eq!(reply.await.unwrap().status, 204);
    }

    #[tokio::test]
    async fn a_body_may_be_longer_than_what_comes_before_it() {
        let body = "1000\r\n".to_owned() + &"x".repeat(0x1000) + "\r\n";
        let all = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()
            + &body.repeat(64)
            + "0\r\n\r\n";
        let reply = answer(Box::leak(all.into_boxed_str()), 1).await.unwrap();
        assert_eq!(reply.body.len(), 64 * 0x1000);
    }

    #[tokio::test]
    async fn only_who_keeps_a_connection_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let peer = Peer::new(url.parse().unwrap(), None);
        // The system takes the connection, and nobody closes it.
        assert!(peer.probe(Duration::from_secs(5)).await);
        drop(listener.accept().await.unwrap());
        // As a process does that is on its way down.
        let dying = task::spawn("dying", async move { drop(listener.accept().await.unwrap()) });
        assert!(!peer.probe(Duration::from_secs(5)).await);
        dying.await.unwrap();
        assert!(!peer.probe(Duration::from_secs(5)).await, "nobody listens");
    }

    /// A peer that sends the first half of an answer of `bytes`, and the rest once it is told.
    async fn halting(bytes: usize) -> (Peer, tokio::sync::oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (go_on, told) = tokio::sync::oneshot::channel();
        task::spawn("halting", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'x'; bytes / 2]).await.unwrap();
            if told.await.is_ok() {
                stream.write_all(&vec![b'x'; bytes - bytes / 2]).await.unwrap();
            }
            // It is not closed: what it has not read would make that a reset.
            std::future::pending::<()>().await;
        });
        (Peer::new(url.parse().unwrap(), None), go_on)
    }

    #[tokio::test]
    async fn large_answers_wait_for_room_and_small_ones_do_not() {
        let room = AnswerRoom::new(300 << 10);
        let request = || Request::new(Full::new(Bytes::new()));
        let ask = async |peer: &Peer, patience: u64| {
            let mut share = room.share(Duration::from_secs(patience));
            let reply = peer.send_within(request(), 1 << 20, Some(&mut share)).await;
            reply.map(|reply| reply.body.len())
        };
        let ((first, go_on), (second, second_goes_on)) =
            (halting(200 << 10).await, halting(200 << 10).await);
        let (third, third_goes_on) = halting(20 << 10).await;
        second_goes_on.send(()).unwrap();
        third_goes_on.send(()).unwrap();
        let asking = ask(&first, 60);
        let mut asking = std::pin::pin!(asking);
        let has_room = async {
            while room.left() > 100 << 10 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            reply = &mut asking => panic!("{reply:?} is not whole"),
            () = has_room => {}
        }
        let waiting = ask(&second, 60);
        let mut waiting = std::pin::pin!(waiting);
        tokio::select! {
            reply = &mut waiting => panic!("there is no room for {reply:?}"),
            reply = ask(&third, 60) => assert_eq!(reply.unwrap(), 20 << 10),
        }
        go_on.send(()).unwrap();
        assert_eq!(asking.await.unwrap(), 200 << 10);
        assert_eq!(waiting.await.unwrap(), 200 << 10);
        assert_eq!(room.left(), 300 << 10);
    }

    #[tokio::test]
    async fn who_has_room_for_a_large_answer_does_not_keep_it_for_ever() {
        let (peer, _not_told) = halting(200 << 10).await;
        let room = AnswerRoom::new(1 << 20);
        let mut share = room.share(Duration::from_millis(10));
        let request = Request::new(Full::new(Bytes::new()));
        let error = peer.send_within(request, 1 << 20, Some(&mut share)).await.unwrap_err();
        assert!(matches!(error, SendError::Truncated(_)), "{error:?}");
    }
}
