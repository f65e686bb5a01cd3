//! Logging: lines of text, or JSON, on standard error. A thread of its own writes them, so that
//! whoever reads them slowly, or not at all, holds nothing else up; what there is no room for is
//! dropped, and counted in the log itself.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

use crate::{
    limits::{LOG_FLUSH, LOG_LINES},
    shown::{visible, visible_json},
};

/// The way to the thread that writes.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// What the thread is given.
enum Item {
    /// Something to write.
    Line(Box<[u8]>),
    /// Somebody waits until all before it is written.
    Mark(SyncSender<()>),
}

/// Lines on their way to the thread.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Item::Line(clean(line).into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines go straight to standard error, because no thread could be started.
struct Straight;

impl Write for Straight {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&clean(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line of the log in which nothing acts: its words may come from anywhere.
fn clean(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let shown = if text.starts_with('{') { visible_json(text) } else { visible(text) };
    format!("{shown}\n").into_bytes()
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text.
    Text,
}

/// Starts logging for the process. `ROLLCALL_LOG` sets what is shown (as `RUST_LOG` would: `info`,
/// `rollcall_supervisor=debug`, …); `default` counts where it is absent. A second call does
/// nothing.
pub fn init(format: LogFormat, default: &str) {
    let filter =
        EnvFilter::try_from_env("ROLLCALL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = io::stderr().is_terminal();
    // Without colours, so that no escape sequence is ours, and none gets through.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer()).with_ansi(false);
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    // Err: something has set a logger before, and that one stays.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// Waits until what was logged so far is written, for at most [`LOG_FLUSH`]: the end of the process
/// is near.
pub fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = sync_channel(1);
    if queue.sender.try_send(Item::Mark(done)).is_ok() {
        // Err: nobody reads them.
        let _ = written.recv_timeout(LOG_FLUSH);
    }
}

/// Where lines go: to the thread, or straight out if there can be none.
fn writer() -> BoxMakeWriter {
    if let Some(queue) = QUEUE.get() {
        let queue = queue.clone();
        return BoxMakeWriter::new(move || queue.clone());
    }
    let (sender, items) = sync_channel(LOG_LINES);
    let queue = Queue { sender, dropped: Arc::default() };
    let dropped = Arc::clone(&queue.dropped);
    let thread = thread::Builder::new().name("log".to_owned());
    if thread.spawn(move || write_all(&items, &dropped, &mut io::stderr())).is_err() {
        return BoxMakeWriter::new(|| Straight);
    }
    let queue = QUEUE.get_or_init(|| queue).clone();
    BoxMakeWriter::new(move || queue.clone())
}

/// Writes lines until nobody can send any more. What can't be written can't be complained of.
fn write_all(items: &Receiver<Item>, dropped: &AtomicU64, out: &mut impl Write) {
    for item in items {
        match item {
            Item::Line(line) => {
                let _ = out.write_all(&line);
            }
            Item::Mark(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{{\"level\":\"WARN\",\"log_lines_dropped\":{lost}}}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_logged_acts() {
        let shown = |line: &str| String::from_utf8(clean(line.as_bytes())).unwrap();
        assert_eq!(shown("a \u{1b}[2J\nb\n"), "a \\u{1b}[2J\\nb\n");
        assert_eq!(shown("{\"a\":\"\u{9b}\"}\n"), "{\"a\":\"\\u009b\"}\n");
    }

    #[test]
    fn lines_beyond_the_room_are_dropped_and_counted() {
        let (sender, items) = sync_channel(2);
        let mut queue = Queue { sender, dropped: Arc::default() };
        for line in [b"one\n", b"two\n", b"3rd\n", b"4th\n"] {
            queue.write_all(line).unwrap();
        }
        let dropped = Arc::clone(&queue.dropped);
        drop(queue);
        let mut out = Vec::new();
        write_all(&items, &dropped, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines, ["one", r#"{"level":"WARN","log_lines_dropped":2}"#, "two"]);
    }
}
