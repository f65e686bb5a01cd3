//! The destination's host.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rollcall_common::{net::Network, task};
use tests::oracle::DeliverySeen;
use tokio::time::sleep;
use uuid::Uuid;

use crate::history::{History, SUBSCRIPTION};

/// What of it outlives its connections.
#[derive(Debug)]
pub(crate) struct Sink {
    rng: Mutex<fastrand::Rng>,
    network: Network,
    history: Arc<History>,
    pub(crate) healed: AtomicBool,
}

impl Sink {
    pub(crate) fn new(seed: u64, network: Network, history: &Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            network,
            history: Arc::clone(history),
            healed: AtomicBool::default(),
        })
    }

    /// A life of the destination.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        let listener = self.network.listen("0.0.0.0:9100").await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let sink = Arc::clone(&self);
            task::spawn("destination", async move {
                let service = service_fn(|request| Arc::clone(&sink).take(request));
                // Err: the connection broke.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn take(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let mut answer = Response::new(Full::default());
        let Ok(body) = body.collect().await else {
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(answer);
        };
        self.history.delivered(seen(&head.headers, body.to_bytes()));
        let draw = self.rng.lock().unwrap_or_else(PoisonError::into_inner).u8(..100);
        match if self.healed.load(Ordering::Relaxed) { 99 } else { draw } {
            0..2 => sleep(Duration::from_secs(3)).await,
            2..4 => *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
            4..6 => *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
            _ => {}
        }
        Ok(answer)
    }
}

fn seen(headers: &HeaderMap, body: Bytes) -> DeliverySeen {
    let text = |name: &str| {
        let value = headers.get(name).unwrap_or_else(|| panic!("a delivery without {name}"));
        value.to_str().expect("text").to_owned()
    };
    let number = |name: &str| text(name).parse::<u64>().expect("a number");
    DeliverySeen {
        generation: 0,
        subscription: SUBSCRIPTION.into(),
        place: (text("rollcall-stream").into(), number("rollcall-sequence")),
        previous: number("rollcall-previous-sequence"),
        position: number("rollcall-position"),
        id: text("webhook-id").parse::<Uuid>().expect("an id").as_u128(),
        body,
        replay: headers.get("rollcall-replay").is_some_and(|value| value == "true"),
        epoch: number("rollcall-epoch"),
        revision: 0,
    }
}
