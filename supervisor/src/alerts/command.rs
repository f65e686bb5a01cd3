//! A program of this machine, run without a shell: the alert as JSON on its standard input, its
//! parts as `ROLLCALL_ALERT_*`. Exit code 0: done. 65 (`EX_DATAERR`): refused for good. Anything
//! else, 75 (`EX_TEMPFAIL`) too: another try; an alert that is told twice is better than one that
//! is lost.

use std::{io, pin::pin, process::Stdio, time::Duration};

use rollcall_common::limits::REASON_BYTES;
use rollcall_worker::executor::{Group, Program};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStderr, ChildStdin, Command},
    time::timeout,
};

use super::{Failure, Notice, http::unwritten, text};

/// Exit code `EX_DATAERR`, which `worker --exec` reads so too.
const REFUSED: i32 = 65;
/// How long what a program left behind may keep its standard error open after it has ended.
const LEFT_BEHIND: Duration = Duration::from_secs(1);
/// Bytes of the end of its standard error that are kept: no more than is shown in the end.
const LAST_WORDS: usize = REASON_BYTES / 5;
/// Bytes that are read at a time.
const CHUNK: usize = 1024;

/// Runs it. When this is dropped, the program's whole process group is killed.
pub(super) async fn send(command: &[String], notice: &Notice) -> Result<(), Failure> {
    let json = notice.json().map_err(|error| unwritten(&error))?;
    // At each run: a program that comes to be later is found then.
    let program =
        Program::find(command).map_err(|error| Failure::unavailable(error.to_string()))?;
    let mut command = program.command();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    describe(&mut command, notice);
    let (code, said) = run(command, &json)
        .await
        .map_err(|error| Failure::unavailable(format!("the command can't be run: {error}")))?;
    let words = text::one_line(String::from_utf8_lossy(&said).trim());
    let detail = match code {
        Some(0) => return Ok(()),
        Some(code) => format!("the command ended with exit code {code}: {words}"),
        None => format!("the command was ended by a signal: {words}"),
    };
    let detail = detail.trim_end_matches([':', ' ']).to_owned();
    if code == Some(REFUSED) {
        return Err(Failure::Refused(detail));
    }
    Err(Failure::unavailable(detail))
}

fn describe(command: &mut Command, notice: &Notice) {
    let alert = &notice.alert;
    command
        .env("ROLLCALL_ALERT_EVENT", notice.what.as_str())
        .env("ROLLCALL_ALERT_ID", &alert.id)
        .env("ROLLCALL_ALERT_JOURNAL", &alert.journal)
        .env("ROLLCALL_ALERT_KEY", notice.key())
        .env("ROLLCALL_ALERT_ATTEMPT", notice.attempt.to_string())
        .env("ROLLCALL_ALERT_TITLE", sayable(&alert.title))
        .env("ROLLCALL_ALERT_DETAIL", sayable(&alert.detail));
    for (name, value) in alert.facts() {
        command.env(format!("ROLLCALL_ALERT_{}", name.to_uppercase()), sayable(&value));
    }
}

/// A variable can't hold a zero byte.
fn sayable(text: &str) -> String {
    text.replace('\0', " ")
}

async fn run(mut command: Command, json: &[u8]) -> io::Result<(Option<i32>, Vec<u8>)> {
    let mut child = command.spawn()?;
    let mut group = Group::of(&child);
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let mut said = Vec::new();
    let status = {
        let mut talk = pin!(async { tokio::join!(feed(stdin, json), tail(stderr, &mut said)) });
        tokio::select! {
            _ = &mut talk => {
                let status = child.wait().await?;
                group.ended();
                status
            }
            status = child.wait() => {
                // Something it left behind may hold its standard error open for ever.
                if timeout(LEFT_BEHIND, &mut talk).await.is_ok() {
                    group.ended();
                }
                status?
            }
        }
    };
    Ok((status.code(), said))
}

/// A program need not read its input, so an error here says nothing.
async fn feed(stdin: Option<ChildStdin>, json: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(json).await;
    }
}

/// Keeps the end of what is written.
async fn tail(stderr: Option<ChildStderr>, into: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut chunk = [0; CHUNK];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        into.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let over = into.len().saturating_sub(LAST_WORDS);
        into.drain(..over);
    }
}
