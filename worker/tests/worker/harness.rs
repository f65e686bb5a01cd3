//! What the tests share: calls, bounded waits, processes, and a small supervisor.

use std::{
    convert::Infallible,
    future::Future,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rollcall_common::{
    http::{Peer, Reply, SendError},
    task,
};
use rollcall_worker::{Handler, Running, Worker};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// The longest that anything here may take.
const LONGEST: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LONGEST, holds).await.is_ok(), "never: {what}");
}

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(LONGEST, future).await.expect("in time")
}

pub(crate) async fn send(
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Reply, SendError> {
    let peer = Peer::new(url.parse().unwrap(), None);
    let mut request = Request::post("/").body(Full::new(body.into())).unwrap();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    soon(peer.send(request, 1 << 24)).await
}

pub(crate) async fn post(url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    send(url, headers, body).await.unwrap()
}

pub(crate) fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).map(|value| value.to_str().unwrap())
}

pub(crate) async fn start(handler: impl Handler) -> Running {
    Worker::new(handler).start().await.unwrap()
}

/// Lines of a file that processes append to; none while there is no file.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether a process runs. A zombie doesn't.
pub(crate) fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// A process that says where it listens in its first line.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) first_line: String,
    pub(crate) url: String,
}

impl Process {
    pub(crate) async fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is needed on this machine: {error}"));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first_line = String::new();
        soon(out.read_line(&mut first_line)).await.unwrap();
        let at = first_line.find("http://").expect("a URL in the first line");
        Self { url: first_line[at..].trim().to_owned(), child, first_line }
    }

    pub(crate) async fn worker(arguments: &[&str]) -> Self {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        Self::start(env!("CARGO_BIN_EXE_worker"), &all).await
    }

    /// Sends the signal `name` and goes on.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(sent.unwrap().success());
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        soon(self.child.wait()).await.unwrap().code()
    }
}

/// One call to the [`Supervisor`].
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) what: String,
    pub(crate) body: String,
    pub(crate) authorization: Option<String>,
}

/// Hears registrations, and answers as it is told.
pub(crate) struct Supervisor {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Arc<Mutex<(StatusCode, &'static str)>>,
}

pub(crate) const ACTIVE: &str = r#"{"heartbeat_ms":30,"state":"active"}"#;
pub(crate) const DRAINING: &str = r#"{"heartbeat_ms":30,"state":"draining"}"#;

impl Supervisor {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener)
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        let supervisor = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            heard: Arc::default(),
            answer: Arc::new(Mutex::new((StatusCode::OK, ACTIVE))),
        };
        let (heard, answer) = (supervisor.heard.clone(), supervisor.answer.clone());
        task::spawn("supervisor", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (heard, answer) = (heard.clone(), answer.clone());
                task::spawn("supervisor-connection", async move {
                    let service = service_fn(|call| hear(call, &heard, &answer));
                    let stream = TokioIo::new(stream);
                    let _ = http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        });
        supervisor
    }

    pub(crate) fn answer(&self, status: u16, body: &'static str) {
        *self.answer.lock().unwrap() = (StatusCode::from_u16(status).unwrap(), body);
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        let heard = self.heard();
        heard.iter().filter(|heard| heard.what == what).count()
    }

    pub(crate) async fn hears(&self, what: &str, times: usize) {
        until(what, || async { self.count(what) >= times }).await;
    }
}

async fn hear(
    call: Request<Incoming>,
    heard: &Mutex<Vec<Heard>>,
    answer: &Mutex<(StatusCode, &'static str)>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = call.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let authorization = head.headers.get("authorization");
    heard.lock().unwrap().push(Heard {
        what: format!("{} {}", head.method, head.uri),
        body: String::from_utf8(body.to_vec()).unwrap(),
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
    });
    let (status, body) = *answer.lock().unwrap();
    let body = if head.method == Method::PUT { body } else { "" };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}
