//! The workers' hosts: the `worker` library, with a handler that is not always at its best.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use rollcall_common::net::Network;
use rollcall_worker::{Reply, Request, Worker, from_fn};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    history::{History, Something, result_of},
    supervisor,
};

/// How many there are.
pub(crate) const WORKERS: usize = 3;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Crew {
    rng: Mutex<fastrand::Rng>,
    network: Network,
    history: Arc<History>,
    /// How many messages each has in hand.
    busy: Mutex<[u32; WORKERS]>,
    pub(crate) healed: AtomicBool,
}

/// A message that is being worked on; one that is dropped when its host dies counts.
struct InHand(Arc<Crew>, usize);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner)[self.1] -= 1;
    }
}

impl Crew {
    pub(crate) fn new(seed: u64, network: Network, history: &Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            network,
            history: Arc::clone(history),
            busy: Mutex::default(),
            healed: AtomicBool::default(),
        })
    }

    pub(crate) fn name(number: usize) -> String {
        format!("worker{number}")
    }

    /// Says that a worker's process is about to end.
    pub(crate) fn dies(&self, host: &str) {
        let number = (0..WORKERS).find(|number| Self::name(*number) == host).expect("a worker");
        if self.busy.lock().unwrap_or_else(PoisonError::into_inner)[number] > 0 {
            self.history.note(Something::WorkerDied);
        }
    }

    /// A life of a worker.
    pub(crate) async fn run(self: Arc<Self>, number: usize) -> turmoil::Result {
        let crew = Arc::clone(&self);
        let worker = Worker::new(from_fn(move |request| work(Arc::clone(&crew), number, request)))
            .network(self.network.clone())
            .listen("0.0.0.0:9000")
            .advertise(format!("http://{}:9000", Self::name(number)))
            .supervisor(supervisor::AT)
            .id(Self::name(number));
        worker.start().await?.ended().await;
        Ok(())
    }

    /// What it does this time: a draw, and a time.
    fn draw(&self) -> (u8, u64) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let (draw, millis) = (rng.u8(..100), rng.u64(..1000));
        if self.healed.load(Ordering::Relaxed) { (99, millis) } else { (draw, millis) }
    }
}

async fn work(crew: Arc<Crew>, number: usize, request: Request) -> Reply {
    crew.busy.lock().unwrap_or_else(PoisonError::into_inner)[number] += 1;
    let _in_hand = InHand(Arc::clone(&crew), number);
    let place = (Arc::from(&*request.stream), request.sequence);
    let id = request.id.parse::<Uuid>().expect("an id").as_u128();
    let attempt = (request.attempt, request.max_attempts.expect("a bound"));
    crew.history.executed(Clone::clone(&place), attempt, (id, request.body.clone()));
    let (draw, millis) = crew.draw();
    match draw {
        0..2 => sleep(Duration::from_secs(30)).await,
        2..8 => sleep(Duration::from_millis(800 + 2 * millis)).await,
        8..12 => return Reply::retry("not this time"),
        12..15 => return Reply::busy(1, "busy"),
        15..40 => {}
        _ => sleep(Duration::from_millis(millis / 20)).await,
    }
    crew.history.offered(place);
    Reply::ok(result_of(&request.body))
}
