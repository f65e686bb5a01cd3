//! Somebody who asks how things are, at fixed times, over a few connections, until the input is
//! closed.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use memchr::memmem;
use serde_json::json;

use super::{body::now_ns, load::sleep, processes::own_cpu_seconds, sink_checker::shares};

/// What is asked.
#[derive(clap::Args, Clone, Debug)]
pub struct Ask {
    /// Which server: `http://host:port`
    #[arg(long)]
    pub url: String,
    /// What, in turn
    #[arg(long, num_args = 1.., required = true)]
    pub paths: Vec<String>,
    /// Requests a second
    #[arg(long)]
    pub rate: u64,
    /// Over how many connections
    #[arg(long, default_value_t = 8)]
    pub connections: u64,
    /// Requests that a connection sends together
    #[arg(long, default_value_t = 1)]
    pub together: usize,
}

/// Asks; prints what it took as one line of JSON.
///
/// # Errors
/// When an answer is not a good one.
pub fn ask(plan: &Ask) -> Result<(), String> {
    let over = Arc::new(AtomicBool::new(false));
    let started = now_ns();
    let askers: Vec<_> = (0..plan.connections)
        .map(|number| {
            let (plan, over) = (plan.clone(), Arc::clone(&over));
            std::thread::spawn(move || one(&plan, number, &over))
        })
        .collect();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for asker in askers {
        latencies.extend(asker.join().map_err(|_| "an asker failed".to_owned())??);
    }
    let seconds = (now_ns() - started) as f64 / 1e9;
    latencies.sort_unstable();
    let line = json!({
        "seconds": seconds,
        "results": latencies.len(),
        "latencies_ms": shares(&latencies),
        "cpu": own_cpu_seconds(),
    });
    writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
}

/// One connection. Who is late asks at once, until nothing is due.
fn one(plan: &Ask, number: u64, over: &AtomicBool) -> Result<Vec<u64>, String> {
    let host = plan.url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let paths = plan.paths.iter().cycle().skip(number as usize);
    let request = |path: &String| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let requests: Vec<String> = paths.take(plan.together * plan.paths.len()).map(request).collect();
    let (mut latencies, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let step = 1_000_000_000 * plan.connections * plan.together as u64 / plan.rate.max(1);
    let mut due = now_ns() + number * step / plan.connections;
    for requests in requests.chunks(plan.together).cycle() {
        let wait = due.saturating_sub(now_ns());
        if wait > 0 {
            sleep(Duration::from_nanos(wait));
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(requests.concat().as_bytes()).map_err(|error| error.to_string())?;
        let mut filled = 0;
        for _ in requests {
            let length = answer(&mut stream, &mut buffer, &mut filled)?;
            buffer.copy_within(length..filled, 0);
            filled -= length;
            latencies.push(now_ns().saturating_sub(due));
        }
        due += step;
    }
    Ok(latencies)
}

/// Reads until the buffer begins with a whole answer; how long that is.
fn answer(stream: &mut TcpStream, buffer: &mut [u8], filled: &mut usize) -> Result<usize, String> {
    loop {
        let read = &buffer[..*filled];
        if let Some(end) = memmem::find(read, b"\r\n\r\n") {
            if !read.starts_with(b"HTTP/1.1 200") {
                return Err(String::from_utf8_lossy(read).into_owned());
            }
            let name = b"content-length: ";
            let length = memmem::find(&read[..end], name).ok_or("an answer without a length")?;
            let digits =
                read[length + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            let length = digits.fold(0, |all, digit| all * 10 + usize::from(digit - b'0'));
            if *filled >= end + 4 + length {
                return Ok(end + 4 + length);
            }
        }
        let count = stream.read(&mut buffer[*filled..]).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("the connection was closed, or an answer is too long".to_owned());
        }
        *filled += count;
    }
}
