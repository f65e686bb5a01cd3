//! A reader of results over one connection, as cheap as it can be: it looks for each result's
//! number in what comes, checks that none is missing, and counts. It parses nothing else.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use memchr::memmem::{self, Finder};
use serde_json::json;

use super::{body::now_ns, processes::own_cpu_seconds};

/// Bytes that are read at a time.
const READ: usize = 256 << 10;
/// Most results in a page: what the contract allows.
const PAGE: u64 = 10_000;
/// Bytes of a number.
const DIGITS: usize = 20;

/// What is to be read.
#[derive(clap::Args, Clone, Debug)]
pub struct Read {
    /// From which server: `http://host:port`
    #[arg(long)]
    pub url: String,
    /// Where the results are
    #[arg(long)]
    pub path: String,
    /// In which form
    #[arg(long, value_enum)]
    pub form: Form,
    /// How many there are
    #[arg(long)]
    pub results: u64,
    /// Begins again at the end, until the input is closed
    #[arg(long)]
    pub forever: bool,
}

/// How results come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Form {
    /// Server-sent events.
    Events,
    /// Lines, a page at a time.
    Lines,
    /// JSON, a page at a time.
    Pages,
}

impl Form {
    /// As an argument of this program.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Lines => "lines",
            Self::Pages => "pages",
        }
    }

    fn accept(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Pages => "application/json",
        }
    }
}

/// Reads; prints what it took as one line of JSON.
///
/// # Errors
/// When a request fails, or a result is missing.
pub fn read(plan: &Read) -> Result<(), String> {
    let over = Arc::new(AtomicBool::new(false));
    if plan.forever {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Ordering::Relaxed);
        });
    }
    let started = now_ns();
    let (mut results, mut bytes) = (0, 0);
    loop {
        let mut tally = Tally::new(plan);
        let mut wire = Wire::connect(&plan.url)?;
        while tally.last < plan.results && !over.load(Ordering::Relaxed) {
            wire.page(plan, &mut tally)?;
        }
        results += tally.last;
        bytes += tally.bytes;
        if !plan.forever || over.load(Ordering::Relaxed) {
            break;
        }
    }
    let seconds = (now_ns() - started) as f64 / 1e9;
    let line = json!({
        "seconds": seconds,
        "results": results,
        "bytes": bytes,
        "cpu": own_cpu_seconds(),
    });
    writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
}

/// What has come so far.
struct Tally {
    key: Finder<'static>,
    /// The number of the last result.
    last: u64,
    bytes: u64,
    wrong: Option<String>,
    /// The end of the last piece, where a number may begin.
    rest: Vec<u8>,
}

impl Tally {
    fn new(plan: &Read) -> Self {
        let of_all = plan.path == "/v1/results";
        let key: &[u8] = if of_all { b"{\"position\":" } else { b",\"sequence\":" };
        let key = Finder::new(key).into_owned();
        Self { key, last: 0, bytes: 0, wrong: None, rest: Vec::new() }
    }

    /// Takes in the next piece of a body.
    fn take(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        let overlap = self.key.needle().len() + DIGITS;
        if !self.rest.is_empty() {
            // A number that lies across: only what begins in the rest is looked for here.
            let mut rest = std::mem::take(&mut self.rest);
            let begins = rest.len();
            rest.extend_from_slice(&piece[..piece.len().min(overlap)]);
            if piece.len() < overlap {
                // Only what must be whole by now.
                let begins = rest.len().saturating_sub(overlap - 1);
                self.look(&rest, begins);
                self.rest = rest.split_off(begins);
                return;
            }
            self.look(&rest, begins);
        }
        let begins = piece.len().saturating_sub(overlap - 1);
        self.look(piece, begins);
        self.rest.extend_from_slice(&piece[begins..]);
    }

    /// No number goes on in what comes next.
    fn end(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.look(&rest, rest.len());
    }

    /// Takes the numbers whose key begins before `until`.
    fn look(&mut self, bytes: &[u8], until: usize) {
        let mut at = 0;
        while let Some(found) = self.key.find(&bytes[at..]) {
            if at + found >= until {
                return;
            }
            at += found + self.key.needle().len();
            let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
            let number = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
            if number != self.last + 1 {
                let last = self.last;
                self.wrong.get_or_insert_with(|| format!("{number} came after {last}"));
            }
            self.last = number;
        }
    }
}

/// A connection that blocks.
struct Wire {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
    filled: usize,
    at: usize,
}

impl Wire {
    fn connect(url: &str) -> Result<Self, String> {
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, host, buffer: vec![0; READ], filled: 0, at: 0 })
    }

    /// Asks for what comes next, and reads it.
    fn page(&mut self, plan: &Read, tally: &mut Tally) -> Result<(), String> {
        let before = tally.last;
        let request = format!(
            "GET {}?after={before}&limit={PAGE} HTTP/1.1\r\nHost: {}\r\nAccept: {}\r\n\r\n",
            plan.path,
            self.host,
            plan.form.accept()
        );
        self.stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let head = self.head()?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("after {before}: {head}"));
        }
        match header(&head, "content-length").and_then(|text| text.parse().ok()) {
            Some(length) => self.body(length, tally)?,
            None => self.chunks(plan, tally)?,
        }
        tally.end();
        if let Some(wrong) = tally.wrong.take() {
            return Err(wrong);
        }
        if tally.last == before { Err(format!("nothing comes after {before}")) } else { Ok(()) }
    }

    fn head(&mut self) -> Result<String, String> {
        let mut head = Vec::new();
        loop {
            let have = head.len();
            head.extend_from_slice(&self.buffer[self.at..self.filled]);
            if let Some(end) = memmem::find(&head, b"\r\n\r\n") {
                self.at += end + 4 - have;
                head.truncate(end + 2);
                return String::from_utf8(head).map_err(|error| error.to_string());
            }
            self.fill()?;
        }
    }

    /// So many bytes of a body.
    fn body(&mut self, length: usize, tally: &mut Tally) -> Result<(), String> {
        let mut left = length;
        while left > 0 {
            if self.at == self.filled {
                self.fill()?;
            }
            let piece = &self.buffer[self.at..self.filled.min(self.at + left)];
            tally.take(piece);
            left -= piece.len();
            self.at += piece.len();
        }
        Ok(())
    }

    /// A body in chunks, to its end, or until all results have come where it has none.
    fn chunks(&mut self, plan: &Read, tally: &mut Tally) -> Result<(), String> {
        loop {
            let length = self.line()?;
            let length = usize::from_str_radix(&length, 16).map_err(|error| error.to_string())?;
            self.body(length, tally)?;
            self.line()?;
            let endless = plan.form == Form::Events && tally.last >= plan.results;
            if length == 0 || endless {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if self.at == self.filled {
                self.fill()?;
            }
            line.push(self.buffer[self.at]);
            self.at += 1;
        }
        String::from_utf8(line).map(|line| line.trim_end().to_owned()).map_err(|e| e.to_string())
    }

    fn fill(&mut self) -> Result<(), String> {
        self.at = 0;
        self.filled = self.stream.read(&mut self.buffer).map_err(|error| error.to_string())?;
        if self.filled == 0 { Err("the connection was closed".to_owned()) } else { Ok(()) }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &[u8], piece: usize) -> Tally {
        let plan = Read {
            url: String::new(),
            path: "/v1/results".to_owned(),
            form: Form::Lines,
            results: 0,
            forever: false,
        };
        let mut tally = Tally::new(&plan);
        text.chunks(piece).for_each(|piece| tally.take(piece));
        tally.end();
        tally
    }

    #[test]
    fn results_are_counted_however_they_come() {
        let lines: Vec<String> =
            (1..=120).map(|n| format!("{{\"position\":{n},\"data\":{{}}}}\n")).collect();
        let text = lines.concat();
        for piece in 1..=text.len() {
            let tally = tally(text.as_bytes(), piece);
            assert_eq!((tally.last, tally.wrong), (120, None), "{piece}");
            assert_eq!(tally.bytes, text.len() as u64);
        }
    }

    #[test]
    fn a_missing_one_is_seen() {
        let text = b"{\"position\":1}\n{\"position\":3}\n";
        assert_eq!(tally(text, 5).wrong.as_deref(), Some("3 came after 1"));
    }
}
