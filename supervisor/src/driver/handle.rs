//! The way to the driver: what may be asked of it and told to it, and whether it has too much to
//! do.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rollcall_common::{
    ids::StreamName,
    limits::{COMMIT_STALL, DRIVER_QUEUE, DRIVER_QUEUE_BYTES, INTAKE_QUEUE, SMALL_EVENT_BYTES},
    message::{Message, weight_of},
    time::Time,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::dispatcher::{Arrival, Dispatcher, Event, Reply, RequestId, WorkerReply};

/// A way to the driver. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    sender: mpsc::Sender<Command>,
    /// Who asks whether the driver turns: one at a time.
    pulses: mpsc::Sender<oneshot::Sender<()>>,
    /// For bytes of answers that wait.
    room: Arc<Semaphore>,
    /// When the oldest entry that is not durable was appended, in microseconds; 0: there is none.
    unsynced_since: Arc<AtomicU64>,
}

/// Whether there is room for more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pressure {
    /// There is.
    Fine,
    /// Too much waits for the driver.
    Crowded,
    /// The journal's sync takes very long.
    Stalled,
}

/// The driver is gone: the process is on its way down, or its journal has failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the supervisor is stopping")]
pub struct Gone;

pub(super) type Look = Box<dyn FnOnce(&Dispatcher) -> Seen + Send>;
/// Tells what was seen to who asked.
pub(super) type Seen = Box<dyn FnOnce() + Send>;
pub(super) type Ask = Box<dyn FnOnce(RequestId) -> Event + Send>;

/// What comes over it.
pub(super) enum Command {
    Request(oneshot::Sender<Reply>, Ask),
    Query(Look),
    Settle(oneshot::Sender<Reply>),
    Stop,
    Send(Event, Option<Room>),
    SendAll(Vec<Event>, Option<Room>),
}

/// Room that answers take up until the driver has them.
pub(super) type Room = OwnedSemaphorePermit;

/// Bytes of an answer.
fn answer_bytes(event: &Event) -> usize {
    let Event::AttemptEnded { reply: WorkerReply::Answer { payload, .. }, .. } = event else {
        return 0;
    };
    payload.body.len() + weight_of(&payload.headers)
}

impl Handle {
    /// A way to a driver that is yet to run, and the end that the driver takes.
    #[must_use]
    pub fn new() -> (Self, Mailbox) {
        let (sender, receiver) = mpsc::channel(DRIVER_QUEUE);
        let unsynced_since = Arc::default();
        let (pulses, pulse) = mpsc::channel(1);
        let mailbox =
            Mailbox { commands: receiver, pulse, unsynced_since: Arc::clone(&unsynced_since) };
        let room = Arc::new(Semaphore::new(DRIVER_QUEUE_BYTES));
        (Self { sender, pulses, room, unsynced_since }, mailbox)
    }

    /// Whether there is room for more.
    #[must_use]
    pub fn pressure(&self, now: Time) -> Pressure {
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        let since = self.unsynced_since.load(Ordering::Relaxed);
        if since > 0 && now.since(Time::from_micros(since)) > COMMIT_STALL {
            Pressure::Stalled
        } else if waiting > INTAKE_QUEUE {
            Pressure::Crowded
        } else {
            Pressure::Fine
        }
    }

    /// Whether nothing takes up room on the way to the driver.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        waiting == 0 && self.room.available_permits() == DRIVER_QUEUE_BYTES
    }

    /// Sends messages in; the answer rests on durable ground.
    ///
    /// # Errors
    /// When the driver is gone. The messages may have been taken in or not.
    pub async fn submit(
        &self,
        stream: StreamName,
        messages: Vec<Arc<Message>>,
    ) -> Result<Reply, Gone> {
        self.request(move |request| Event::Arrived(Arrival { request, stream, messages })).await
    }

    /// Sends an event that is answered.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn request(
        &self,
        event: impl FnOnce(RequestId) -> Event + Send + 'static,
    ) -> Result<Reply, Gone> {
        let (sender, receiver) = oneshot::channel();
        let command = Command::Request(sender, Box::new(event));
        self.sender.send(command).await.map_err(|_| Gone)?;
        receiver.await.map_err(|_| Gone)
    }

    /// Sends an event that is not answered.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn send(&self, event: Event) -> Result<(), Gone> {
        let room = self.room_for(answer_bytes(&event)).await;
        self.sender.send(Command::Send(event, room)).await.map_err(|_| Gone)
    }

    /// Room for so many bytes of answers; what is small needs none.
    async fn room_for(&self, bytes: usize) -> Option<Room> {
        if bytes <= SMALL_EVENT_BYTES {
            return None;
        }
        let bytes = u32::try_from(bytes.min(DRIVER_QUEUE_BYTES)).unwrap_or(u32::MAX);
        // It is never closed.
        Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()
    }

    /// Sends events that are not answered, in one go.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn send_all(&self, events: Vec<Event>) -> Result<(), Gone> {
        let room = self.room_for(events.iter().map(answer_bytes).sum()).await;
        self.sender.send(Command::SendAll(events, room)).await.map_err(|_| Gone)
    }

    /// Waits until all that was handed in before is done, and durable.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn settled(&self) -> Result<(), Gone> {
        let (sender, receiver) = oneshot::channel();
        self.sender.send(Command::Settle(sender)).await.map_err(|_| Gone)?;
        receiver.await.map(|_| ()).map_err(|_| Gone)
    }

    /// Ends the driver, once all that it has appended is durable.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn stop(&self) -> Result<(), Gone> {
        self.sender.send(Command::Stop).await.map_err(|_| Gone)
    }

    /// Waits until the driver says that it turns. That waits neither for what was handed in before
    /// nor for the disk.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn turns(&self) -> Result<(), Gone> {
        let (sender, receiver) = oneshot::channel();
        self.pulses.send(sender).await.map_err(|_| Gone)?;
        receiver.await.map_err(|_| Gone)
    }

    /// Looks at the dispatcher between two turns. The answer comes when all that it may rest on is
    /// durable and can be read, so that nobody sees what a crash can take back.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn query<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Dispatcher) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (sender, receiver) = oneshot::channel();
        let look: Look = Box::new(move |dispatcher| {
            let seen = look(dispatcher);
            // Whoever has gone no longer wants to know.
            Box::new(move || drop(sender.send(seen)))
        });
        self.sender.send(Command::Query(look)).await.map_err(|_| Gone)?;
        receiver.await.map_err(|_| Gone)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The driver's end of the [`Handle`]s.
pub struct Mailbox {
    pub(super) commands: mpsc::Receiver<Command>,
    /// Who asks whether the driver turns.
    pub(super) pulse: mpsc::Receiver<oneshot::Sender<()>>,
    unsynced_since: Arc<AtomicU64>,
}

impl Mailbox {
    /// Passes on to another driver what comes here, with each event that is told as `change` leaves
    /// it, until one of the two is gone.
    pub async fn pass_on(mut self, to: &Handle, mut change: impl FnMut(&mut Event)) {
        while let Some(mut command) = self.commands.recv().await {
            match &mut command {
                Command::Send(event, _) => change(event),
                Command::SendAll(events, _) => events.iter_mut().for_each(&mut change),
                Command::Request(..) | Command::Query(_) | Command::Settle(_) | Command::Stop => {}
            }
            if to.sender.send(command).await.is_err() {
                return;
            }
        }
    }

    /// The events that have been told since this was last asked; whoever asks is not answered.
    #[cfg(test)]
    pub(crate) fn told(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Send(event, _) => all.push(event),
                Command::SendAll(events, _) => all.extend(events),
                Command::Request(..) | Command::Query(_) | Command::Settle(_) | Command::Stop => {}
            }
        }
        all
    }

    /// Lets everybody see since when the journal has been at its oldest entry, if it is at one.
    pub(super) fn show_unsynced(&self, since: Option<Time>) {
        self.unsynced_since.store(since.map_or(0, Time::as_micros), Ordering::Relaxed);
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}
