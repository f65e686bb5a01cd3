//! The other ends: a worker that answers what it is sent, and a destination that counts and
//! checks the order. Both print their address, and run until they are killed.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rollcall_common::task;
use tokio::net::TcpListener;

/// What a destination has seen.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    wrong: u64,
    /// The last sequence of each stream.
    last: BTreeMap<String, u64>,
}

/// A worker: the answer is the message.
///
/// # Errors
/// When it can't listen.
pub async fn worker() -> std::io::Result<()> {
    serve(|request| async move {
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        Response::new(Full::new(body.unwrap_or_default()))
    })
    .await
}

/// A destination: `GET` says what it has seen.
///
/// # Errors
/// When it can't listen.
pub async fn sink() -> std::io::Result<()> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    serve(move |request| {
        let seen = Arc::clone(&seen);
        async move {
            if request.method() == http::Method::GET {
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let text = format!("{} {}", seen.count, seen.wrong);
                return Response::new(Full::new(text.into()));
            }
            let headers = request.headers();
            let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            let stream = text("rollcall-stream").unwrap_or_default().to_owned();
            let sequence = text("rollcall-sequence").and_then(|text| text.parse::<u64>().ok());
            let sequence = sequence.unwrap_or_default();
            let _ = request.into_body().collect().await;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let last = seen.last.entry(stream).or_default();
            let in_order = sequence == *last + 1;
            *last = sequence;
            seen.count += 1;
            seen.wrong += u64::from(!in_order);
            Response::new(Full::new(Bytes::new()))
        }
    })
    .await
}

async fn serve<F, A>(answer: F) -> std::io::Result<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
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
