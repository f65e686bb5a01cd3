//! The other ends: a worker that answers in capitals, and a destination that checks what it
//! gets. Both print their addresses, and run until they are killed.

use std::{
    convert::Infallible,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use memchr::{memchr, memmem};
use rollcall_common::task;
use tokio::net::TcpListener;

use super::{
    body::work_on,
    sink_checker::{Seen, stream_of},
    wire::number_after,
};

/// How a worker works.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Work {
    /// Ports to listen at
    #[arg(long, default_value_t = 1)]
    pub ports: usize,
    /// Microseconds that a message takes
    #[arg(long, default_value_t = 0)]
    pub work_us: u64,
    /// How many of a hundred take a hundred times as long
    #[arg(long, default_value_t = 0)]
    pub slow_percent: u8,
}

impl Work {
    /// How long the next message takes.
    pub(super) fn draw(&self) -> Duration {
        let slow = fastrand::u8(0..100) < self.slow_percent;
        Duration::from_micros(self.work_us * if slow { 100 } else { 1 })
    }
}

/// A worker: the answer is the message in capitals.
///
/// # Errors
/// When it can't listen.
pub async fn worker(work: Work) -> std::io::Result<()> {
    serve(work.ports, move |request| async move {
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        let result = work_on(&body.unwrap_or_default());
        if work.work_us > 0 {
            tokio::time::sleep(work.draw()).await;
        }
        Response::new(Full::new(result.into()))
    })
    .await
}

/// A destination of results of so many bytes: `GET /` says what it has seen, `GET /latencies` how
/// long it took.
///
/// # Errors
/// When it can't listen.
pub async fn sink(bytes: usize) -> std::io::Result<()> {
    let seen = Arc::new(Mutex::new(Seen::new(bytes)));
    serve(1, move |request| {
        let seen = Arc::clone(&seen);
        async move {
            if request.method() == http::Method::GET {
                return Response::new(Full::new(asked(&seen, request.uri().path()).into()));
            }
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if text("content-type") == Some("application/x-ndjson") {
                lines(&mut seen, &body);
            } else {
                let stream = text("rollcall-stream").and_then(stream_of);
                let sequence = text("rollcall-sequence").and_then(|text| text.parse().ok());
                match stream.zip(sequence) {
                    Some((stream, sequence)) => seen.take(stream, sequence, &body),
                    None => seen.note(format!("no place: {:?}", head.headers)),
                }
            }
            Response::new(Full::new(Bytes::new()))
        }
    })
    .await
}

/// Answers `GET` by the path.
pub(super) async fn serve_text<F>(answer: F) -> std::io::Result<()>
where
    F: Fn(&str) -> String + Clone + Send + Sync + 'static,
{
    serve(1, move |request| {
        let text = answer(request.uri().path());
        async move { Response::new(Full::new(text.into())) }
    })
    .await
}

/// What a destination answers to those who ask how it is.
pub(super) fn asked(seen: &Mutex<Seen>, path: &str) -> String {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if path == "/latencies" { seen.latencies().to_string() } else { seen.to_json().to_string() }
}

/// Results, each a line of JSON. They are scanned, not parsed: a destination that costs more than
/// what is measured would measure itself.
fn lines(seen: &mut Seen, mut body: &[u8]) {
    while !body.is_empty() {
        let Some(after) = line(seen, body) else {
            let start = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            return seen.note(format!("not a line of results: {start}"));
        };
        body = &body[after..];
    }
}

/// Takes the first line; how long it is.
fn line(seen: &mut Seen, body: &[u8]) -> Option<usize> {
    let key = b"\"data\":\"";
    let at = memmem::find(body, key)?;
    let head = &body[..at];
    let data = &body[at + key.len()..];
    let (result, rest) = data.split_at_checked(seen.bytes())?;
    if rest.first() != Some(&b'"') {
        return None;
    }
    let stream = number_after(head, b"\"stream\":\"s")?;
    let sequence = number_after(head, b"\"sequence\":")?;
    let end = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
    seen.take(stream, sequence, result);
    Some(body.len() - rest.len() + end)
}

/// Serves on so many ports of this machine.
async fn serve<F, A>(ports: usize, answer: F) -> std::io::Result<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let mut listeners = Vec::new();
    let mut urls = Vec::new();
    for _ in 0..ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        urls.push(format!("http://{}", listener.local_addr()?));
        listeners.push(listener);
    }
    writeln!(std::io::stdout(), "listening on {}", urls.join(" "))?;
    let mut accepting = Vec::new();
    for listener in listeners {
        accepting.push(task::spawn("accept", accept(listener, answer.clone())));
    }
    for one in accepting {
        one.await.map_err(std::io::Error::other)??;
    }
    Ok(())
}

async fn accept<F, A>(listener: TcpListener, answer: F) -> std::io::Result<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        task::spawn("peer", async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::body::message;

    #[test]
    fn lines_of_results_are_taken_one_by_one() {
        let result = |number| String::from_utf8(work_on(&message(number, 0, 64))).unwrap();
        let line = |sequence: u64| {
            format!(
                r#"{{"position":9,"stream":"s4","sequence":{sequence},"data":"{}","x":1}}"#,
                result(sequence)
            )
        };
        let mut seen = Seen::new(64);
        lines(&mut seen, format!("{}\n{}\n{}", line(1), line(2), line(3)).as_bytes());
        assert_eq!(seen.to_json()["count"], 3);
        assert!(seen.to_json()["wrong"].is_null());
        lines(&mut seen, b"{\"nothing\":1}\n");
        assert!(!seen.to_json()["wrong"].is_null());
    }
}
