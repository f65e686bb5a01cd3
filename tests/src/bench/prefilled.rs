//! Journals that are full before anything is measured. They stay, so that what is read is the same
//! in every run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rollcall_common::client::Client;

use super::{
    load::{Content, Load, To},
    message_modes::LINK,
    modes::{Setup, Workers},
    processes::Process,
    rollcall::{ask, register, supervise},
    run::{Plan, send},
};

/// Streams of the results that are read.
const STREAMS: u64 = 4;
/// Says that a folder's journal is full.
const WHOLE: &str = "whole";

/// So many results of JSON, worked on by workers. The folder of their supervisor.
pub(super) async fn results(plan: &Plan, messages: u64) -> Result<PathBuf, String> {
    let setup = Setup { streams: STREAMS, ..LINK };
    fill(plan, "results", &setup, messages).await
}

/// So many streams with one result each.
pub(super) async fn streams(plan: &Plan, messages: u64) -> Result<PathBuf, String> {
    let setup = Setup { streams: messages, workers: Workers::None, ..LINK };
    fill(plan, "streams", &setup, messages).await
}

async fn fill(plan: &Plan, name: &str, setup: &Setup, messages: u64) -> Result<PathBuf, String> {
    let keep = plan.keep.as_deref().ok_or("no folder")?;
    let folder = keep.join(format!("{name}-{messages}-{}", plan.bytes));
    if folder.join(WHOLE).exists() {
        return Ok(folder);
    }
    eprintln!("filling {}", folder.display());
    let text = |error: io::Error| error.to_string();
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.to_string()),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&folder).map_err(text)?;
    let supervisor = supervise(setup, &folder, &[], None)?;
    let workers = match setup.workers {
        Workers::None => Vec::new(),
        Workers::Linked | Workers::Plain => register(plan, supervisor.url()).await?,
    };
    let single = setup.streams == messages;
    send(&Load {
        connections: if single { plan.connections } else { 8 },
        batch: if single { 1 } else { 500 },
        streams: setup.streams,
        content: Content::Json,
        ..Load::new(supervisor.url(), To::Intake, messages, plan.bytes)
    })?;
    released(&supervisor, messages).await?;
    drop((supervisor, workers));
    fs::write(folder.join(WHOLE), "").map_err(text)?;
    Ok(folder)
}

/// Waits until so many messages are released.
async fn released(supervisor: &Process, messages: u64) -> Result<(), String> {
    let client = Client::new(supervisor.url(), None).map_err(|error| error.to_string())?;
    loop {
        let status = ask(&client, "/v1/status").await?;
        if status["head"].as_u64().unwrap_or_default() >= messages {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The journal's files.
pub(super) fn journal(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let all = fs::read_dir(folder.join("data"))?;
    let mut files = Vec::new();
    for one in all {
        let path = one?.path();
        if path.extension().is_some_and(|ending| ending == "seg") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
