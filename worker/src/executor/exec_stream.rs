//! Long-lived children: each message is one line to a child, and one line back.

use std::{
    ffi::OsString,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollcall_common::{
    limits::MESSAGE_BYTES,
    reconnect::Reconnect,
    task,
    time::{Clock, Time},
    units::HumanDuration,
};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    line_child::{Fault, LineChild, Progress, Rules},
    patience::{NO_ROOM, Patience},
    program::{BadCommand, Program},
    room::{NotStarted, Room},
};
use crate::handler::{Handler, Reply, Request};

/// The shortest wait before a child that died is started again.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A message waits this long for a child to be started again; if it takes longer, it is sent
/// away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a child may take for a line that nobody waits for any more, if its caller had not said
/// how long that may take.
const OWED: Duration = Duration::from_secs(60);
/// The same, in times of what its caller had said.
const OWED_TIMES: u32 = 2;
/// The wait before another look for a child, when there is no room for one more.
const LOOK: Duration = Duration::from_millis(20);

/// Keeps children running, and hands each message to one that is free. What a child says must be
/// one line for each that it is given: anything else ends it, and is no answer to anything. A
/// child that has ended is started again when the next message comes; one that ended between two
/// lines is charged to nobody.
#[derive(Clone, Debug)]
pub struct ExecStream(Arc<Children>);

#[derive(Debug)]
struct Children {
    settings: Settings,
    room: Arc<Room>,
    clock: Clock,
    free: Semaphore,
    seats: Mutex<Vec<Seat>>,
}

#[derive(Clone, Debug)]
struct Settings {
    program: Program,
    content_type: Option<Box<str>>,
    rules: Rules,
    longest: Option<Duration>,
    patience: Patience,
}

/// The place of one child.
#[derive(Debug)]
struct Seat {
    child: Option<LineChild>,
    /// A caller hung up while the child worked for it: its next line is nobody's, and has to come
    /// by then.
    owes: Option<Time>,
    reconnect: Reconnect,
    not_before: Time,
}

impl ExecStream {
    /// Keeps `children` processes of `command` running.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn new<W: Into<OsString>>(
        command: impl IntoIterator<Item = W>,
        children: NonZeroUsize,
    ) -> Result<Self, BadCommand> {
        let limit = usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX);
        let settings = Settings {
            program: Program::find(command)?,
            content_type: None,
            rules: Rules { line_end: b'\n', limit },
            longest: None,
            patience: Patience::Short,
        };
        Ok(Self::with(settings, children.get()))
    }

    fn with(settings: Settings, children: usize) -> Self {
        let seat = || Seat {
            child: None,
            owes: None,
            reconnect: Reconnect::new(FIRST_WAIT, LONGEST_WAIT),
            not_before: Time::default(),
        };
        Self(Arc::new(Children {
            settings,
            room: Room::new(),
            clock: Clock::start(Time::default()),
            free: Semaphore::new(children),
            seats: Mutex::new((0..children).map(|_| seat()).collect()),
        }))
    }

    /// The same with other settings. Before the first message only.
    fn but(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        Self::with(settings, self.0.seats().len())
    }

    /// The results' content type; otherwise that of the message. Before the first message only.
    #[must_use]
    pub fn content_type(self, content_type: Option<impl Into<Box<str>>>) -> Self {
        self.but(|settings| settings.content_type = content_type.map(Into::into))
    }

    /// Most bytes of a result. Before the first message only.
    #[must_use]
    pub fn output_limit(self, bytes: usize) -> Self {
        self.but(|settings| settings.rules.limit = bytes)
    }

    /// Lines end with this byte instead of a newline, both ways. Before the first message only.
    #[must_use]
    pub fn line_end(self, byte: u8) -> Self {
        self.but(|settings| settings.rules.line_end = byte)
    }

    /// The longest that a child may take for a line; it is ended then, and the line has failed.
    /// Without it, it may take as long as somebody waits. Before the first message only.
    #[must_use]
    pub fn longest(self, longest: Option<Duration>) -> Self {
        self.but(|settings| settings.longest = longest)
    }

    /// Waits as long as it takes for room on the machine; otherwise a message that finds none soon
    /// is sent away. Before the first message only.
    #[must_use]
    pub fn wait_for_room(self) -> Self {
        self.but(|settings| settings.patience = Patience::Endless)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.0.settings.program
    }
}

impl Handler for ExecStream {
    async fn handle(&self, request: Request) -> Reply {
        let line_end = self.0.settings.rules.line_end;
        if request.body.contains(&line_end) {
            let name = if line_end == 0 { "a zero byte" } else { "a newline" };
            return Reply::park(format!("the body holds {name}, and a message is one line"));
        }
        let patience = self.0.settings.patience.with(request.timeout);
        let begun = self.0.clock.now();
        loop {
            // Err: the semaphore is closed, which it never is.
            let Ok(_permit) = self.0.free.acquire().await else {
                return Reply::busy(1, NO_CHILD);
            };
            let Some(mut taken) = Taken::from(&self.0) else {
                return Reply::busy(1, NO_CHILD);
            };
            let reply = taken.work(&request).await;
            taken.calm = true;
            drop(taken);
            if let Some(reply) = reply {
                return reply;
            }
            if patience.is_some_and(|most| self.0.clock.now().since(begun) >= most) {
                return Reply::busy(1, NO_ROOM);
            }
            // There may be room for one more, or another child may be free.
            sleep(LOOK).await;
        }
    }
}

/// What a message is told when all children work.
const NO_CHILD: &str = "no child is free";

impl Children {
    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends children that owe a line for too long.
    fn call_in(&self) {
        let now = self.clock.now();
        for seat in self.seats().iter_mut() {
            if seat.owes.is_some_and(|until| until <= now) {
                (seat.child, seat.owes) = (None, None);
            }
        }
    }
}

/// A seat in use; given back when dropped, also when the caller hangs up in the middle.
struct Taken<'a> {
    children: &'a Arc<Children>,
    seat: Option<Seat>,
    at: Progress,
    /// How long the message that is worked on may take.
    timeout: Option<Duration>,
    calm: bool,
}

impl<'a> Taken<'a> {
    fn from(children: &'a Arc<Children>) -> Option<Self> {
        let seat = Some(children.seats().pop()?);
        Some(Self { children, seat, at: Progress::Before, timeout: None, calm: false })
    }

    /// Works on a message. `None`: there is no room for the child that it would need.
    async fn work(&mut self, request: &Request) -> Option<Reply> {
        self.timeout = request.timeout;
        let children = Arc::clone(self.children);
        let (settings, clock) = (&children.settings, &children.clock);
        let Some(seat) = self.seat.as_mut() else {
            return Some(Reply::busy(1, NO_CHILD));
        };
        seat.settle(Patience::Short.with(request.timeout)).await;
        loop {
            match seat.start(&children).await {
                Ok(()) => {}
                Err(NotStarted::NoRoom) => return None,
                Err(NotStarted::Failed(error)) => {
                    return Some(Reply::retry(format!("can't run the command: {error}")));
                }
            }
            let Some(child) = seat.child.as_mut() else {
                let wait = clock.until(seat.not_before).as_secs() + 1;
                let reason = "the command keeps ending; it is started again soon";
                return Some(Reply::busy(wait, reason));
            };
            let fault = match ask(child, settings, request, &mut self.at).await {
                Ok(line) => {
                    seat.reconnect.reset();
                    let content_type = settings.content_type.clone();
                    return Some(Reply { content_type, ..Reply::ok(line) });
                }
                Err(fault) => fault,
            };
            self.at = Progress::Before;
            let knows_how = child.has_answered();
            let status = seat.end(&fault).await;
            // One that has answered before has had done with its lines: this one is for the next,
            // at once. A new one that can't do it shows that in its turn.
            if knows_how && fault.is_between_lines() {
                tracing::warn!(why = fault.words(status), "a command is started again");
                continue;
            }
            seat.not_before = clock.now() + seat.reconnect.wait();
            let words = fault.words(status);
            let is_too_large = matches!(fault, Fault::TooLarge(_));
            return Some(if is_too_large { Reply::park(words) } else { Reply::retry(words) });
        }
    }
}

/// Asks a child, within the time that it may take.
async fn ask(
    child: &mut LineChild,
    settings: &Settings,
    request: &Request,
    at: &mut Progress,
) -> Result<Vec<u8>, Fault> {
    let asking = child.ask(&request.body, at);
    match settings.longest {
        None => asking.await,
        Some(longest) => match timeout(longest, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Late(HumanDuration(longest))),
        },
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some(mut seat) = self.seat.take() else {
            return;
        };
        if !self.calm {
            match self.at {
                Progress::Before => {}
                // Half a line: nothing can come after it.
                Progress::Writing => seat.child = None,
                Progress::Asked => {
                    let span = self.timeout.map_or(OWED, |timeout| timeout * OWED_TIMES);
                    seat.owes = Some(self.children.clock.now() + span);
                    let children = Arc::clone(self.children);
                    task::spawn("owed-line", async move {
                        sleep(span).await;
                        children.call_in();
                    });
                }
            }
        }
        let mut seats = self.children.seats();
        // The last is taken first: a child that owes nothing is preferred to none, and that to one
        // that owes a line.
        let owing = seats.iter().take_while(|seat| seat.owes.is_some()).count();
        match (&seat.child, seat.owes) {
            (_, Some(_)) => seats.insert(0, seat),
            (None, None) => seats.insert(owing, seat),
            (Some(_), None) => seats.push(seat),
        }
    }
}

impl Seat {
    /// A child that owes a line to somebody who hung up may bring it, if that does not take long:
    /// others are waiting.
    async fn settle(&mut self, patience: Option<Duration>) {
        if self.owes.is_none() {
            return;
        }
        if let Some(child) = &mut self.child
            && !matches!(timeout(patience.unwrap_or(PATIENCE), child.settle()).await, Ok(Ok(())))
        {
            self.child = None;
        }
        self.owes = None;
    }

    /// Sees to it that there is a child, unless it is too early for one.
    async fn start(&mut self, children: &Children) -> Result<(), NotStarted> {
        let Children { settings, room, clock, .. } = children;
        let wait = clock.until(self.not_before);
        if self.child.is_some() || wait > PATIENCE {
            return Ok(());
        }
        // Sleeping takes a millisecond, however short it is.
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let room = (room, Some(LOOK));
        let child = LineChild::start(&settings.program, settings.rules, room).await?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends the child, and says how it ended if it did so by itself.
    async fn end(&mut self, fault: &Fault) -> Option<std::process::ExitStatus> {
        let child = self.child.take()?;
        match fault {
            Fault::Gone | Fault::Ended => child.end().await,
            Fault::Unasked(_)
            | Fault::TooMuch(_)
            | Fault::TooLarge(_)
            | Fault::Late(_)
            | Fault::Io(_) => None,
        }
    }
}
