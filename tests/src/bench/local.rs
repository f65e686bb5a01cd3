//! What a user would write or type on one machine: a client that keeps 512 calls in flight and
//! takes the answers in order, `xargs` and GNU `parallel` beside `pipe`. Nothing is kept.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use futures_util::{StreamExt as _, stream};

use super::{
    body::{message, now_ns},
    endpoints::Work,
    http_client::OCTETS,
    modes::Lines,
    processes::{Process, all_cpu_seconds, beside, children_cpu, on_path, own_cpu_seconds},
    report::{Figures, Latency},
    run::{Plan, start_workers},
    sink_checker::Seen,
    wire::Wire,
};

/// Calls in flight.
const CALLS: usize = 512;

/// Calls to random workers, `CALLS` at once, taken in order.
pub(super) async fn buffered(plan: &Plan, work: Work, messages: u64) -> Result<Figures, String> {
    let mut workers = start_workers(plan, work)?;
    workers.iter_mut().for_each(Process::begin);
    let idle: Vec<Mutex<Vec<Wire>>> = workers.iter().map(|_| Mutex::default()).collect();
    let lock = |index: usize| idle[index].lock().unwrap_or_else(PoisonError::into_inner);
    let (workers, bytes) = (&workers, plan.bytes);
    let call = |number: u64| async move {
        let index = fastrand::usize(..workers.len());
        let wire = lock(index).pop();
        let mut wire = match wire {
            Some(wire) => wire,
            None => Wire::connect(workers[index].url()).await?,
        };
        let answer = wire.post("/", OCTETS, &message(number, 0, bytes)).await?;
        lock(index).push(wire);
        Ok::<_, String>((number, answer))
    };
    let mut seen = Seen::new(bytes);
    let (started, cpu) = (now_ns(), own_cpu_seconds());
    let mut answers = stream::iter(0..messages).map(call).buffered(CALLS);
    while let Some(answer) = answers.next().await {
        let (number, answer) = answer?;
        seen.take(0, number + 1, &answer.body);
    }
    let seconds = (now_ns() - started) as f64 / 1e9;
    let all = seen.to_json();
    if all["count"] != messages {
        return Err(format!("not everything came back: {all}"));
    }
    let cpu = vec![("client", own_cpu_seconds() - cpu), ("workers", all_cpu_seconds(workers))];
    let latency = Latency::Unknown;
    Ok(Figures { messages, seconds, latency, cpu, peak_mib: 0.0, refused: 0, more: Vec::new() })
}

/// Lines through processes, four at once; none where the program is not installed.
pub(super) fn lines(how: Lines, messages: u64) -> Result<Option<Figures>, String> {
    let program = match how {
        Lines::Parallel => on_path("parallel"),
        Lines::Pipe | Lines::PipeStream => Some(beside("supervisor")?),
        Lines::Xargs => on_path("xargs"),
    };
    let Some(program) = program else { return Ok(None) };
    let line = match how {
        Lines::Parallel => "-k -j4 echo",
        Lines::Pipe => "pipe --jobs 4 -- cat",
        Lines::PipeStream => "pipe --jobs 4 --exec-stream -- cat",
        Lines::Xargs => "-P4 -n1 echo",
    };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (input, output) = (directory.path().join("in"), directory.path().join("out"));
    let mut text = Vec::new();
    for number in 0..messages {
        writeln!(text, "line-{number:08}").map_err(|error| error.to_string())?;
    }
    std::fs::write(&input, text).map_err(|error| error.to_string())?;
    let open = |path: &Path| File::open(path).map_err(|error| error.to_string());
    let (started, cpu) = (now_ns(), children_cpu());
    let status = Command::new(&program)
        .args(line.split_whitespace())
        .stdin(open(&input)?)
        .stdout(File::create(&output).map_err(|error| error.to_string())?)
        .stderr(Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    let seconds = (now_ns() - started) as f64 / 1e9;
    let cpu = vec![("all", children_cpu() - cpu)];
    let read = |path| -> Result<Vec<String>, String> {
        let lines = BufReader::new(open(path)?).lines();
        lines.collect::<Result<_, _>>().map_err(|error| error.to_string())
    };
    let (sent, mut came) = (read(&input)?, read(&output)?);
    if how == Lines::Xargs {
        came.sort_unstable();
    }
    if sent != came || !status.success() {
        return Err(format!(
            "{}: {status}; its lines are not those that it got",
            program.display()
        ));
    }
    let latency = Latency::Unknown;
    Ok(Some(Figures {
        messages,
        seconds,
        latency,
        cpu,
        peak_mib: 0.0,
        refused: 0,
        more: Vec::new(),
    }))
}
