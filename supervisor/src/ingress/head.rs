//! The head of a request, read as strictly as anybody reads it, before hyper sees it: so what is
//! wrong with it is told as a problem (hyper answers without a body), and what can be read in two
//! ways is refused (RFC 9112 §3.2, §6.1), as a proxy in front may have read it the other way.

use http::Uri;
use rollcall_common::{
    limits::{HEAD_BYTES, HEADERS, TARGET_BYTES},
    problem::Problem,
};

/// What comes behind a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// A body in chunks.
    Chunked,
    /// A body of so many bytes; 0: none.
    Length(u64),
}

type Checked<T> = Result<T, Box<Problem>>;

/// The bytes of the head with which `bytes` begin; `None` when it is not there as a whole. What is
/// before `from` was looked through.
pub(super) fn length(bytes: &[u8], from: usize) -> Option<usize> {
    // Empty lines may stand before a request line.
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let mut start = from.max(begin);
    loop {
        let line = bytes.get(start..)?.iter().position(|byte| *byte == b'\n')?;
        start += line + 1;
        match bytes.get(start..)? {
            [b'\n', ..] => return Some(start + 1),
            [b'\r', b'\n', ..] => return Some(start + 2),
            _ => {}
        }
    }
}

/// Whether no head can begin with these bytes: somebody speaks something else, and need not be
/// waited for.
pub(super) fn is_hopeless(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !matches!(byte, b'\r' | b'\n'));
    first.is_some_and(|byte| !is_token(&[*byte]))
}

/// It is none.
pub(super) fn hopeless() -> Box<Problem> {
    bad("this is no request of HTTP/1.1 or HTTP/1.0")
}

/// It is larger than a head may be.
pub(super) fn too_large() -> Box<Problem> {
    let detail = format!("the request line and the headers have more than {HEAD_BYTES} bytes");
    let problem = Problem::new(431, "head-too-large", "Request header fields too large", detail);
    Box::new(problem.with("limit_bytes", HEAD_BYTES))
}

/// Checks a whole head; gives back what comes behind it.
pub(super) fn check(head: &[u8]) -> Checked<Framing> {
    if head.len() > HEAD_BYTES {
        return Err(too_large());
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| {
        // A line ends with CR and LF, or with LF alone.
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let version = request_line(first)?;
    let mut said = Said::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        said.hear(line)?;
    }
    said.framing(version)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    Http10,
    Http11,
}

fn bad(detail: impl Into<String>) -> Box<Problem> {
    Box::new(Problem::new(400, "bad-request", "Bad request", detail))
}

fn ambiguous(detail: &str) -> Box<Problem> {
    Box::new(Problem::new(400, "ambiguous-request", "Ambiguous request", detail))
}

fn is_token(bytes: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(fits)
}

fn request_line(line: &[u8]) -> Checked<Version> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return Err(bad("the request line is no method, target and version"));
    };
    if !is_token(method) || words.next().is_some() {
        return Err(bad("the request line is no method, target and version"));
    }
    if target.len() > TARGET_BYTES {
        let detail = format!("the request's target has more than {TARGET_BYTES} bytes");
        let problem = Problem::new(414, "target-too-long", "URI too long", detail);
        return Err(Box::new(problem.with("limit_bytes", TARGET_BYTES)));
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._~-:=&,+?%".contains(byte);
    let is_plain = target.first() == Some(&b'/') && target.iter().all(plain);
    // The parser of URIs drops a fragment without a look at it.
    if !is_plain && (target.contains(&b'#') || Uri::try_from(target).is_err()) {
        return Err(bad("the request's target is none: it has no fragment, and is valid UTF-8"));
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ if version.starts_with(b"HTTP/") => {
            let detail = "HTTP/1.1 and HTTP/1.0 are spoken here";
            Err(Box::new(Problem::new(505, "http-version", "HTTP version not supported", detail)))
        }
        _ => Err(bad("the request line is no method, target and version")),
    }
}

/// What headers say of the request's end, and of its host.
#[derive(Debug, Default)]
struct Said {
    headers: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Said {
    fn hear(&mut self, line: &[u8]) -> Checked<()> {
        self.headers += 1;
        if self.headers > HEADERS {
            let detail = format!("the request has more than {HEADERS} headers");
            let title = "Request header fields too large";
            let problem = Problem::new(431, "too-many-headers", title, detail);
            return Err(Box::new(problem.with("limit_headers", HEADERS)));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        if !is_token(name) || colon.is_none() {
            let text = String::from_utf8_lossy(name.get(..40.min(name.len())).unwrap_or_default());
            let detail = format!("header {}, {text:?}: no name and a colon", self.headers);
            return Err(bad(detail));
        }
        let value = value.get(1..).unwrap_or_default();
        if value.iter().any(|byte| matches!(byte, 0..=0x08 | 0x0A..=0x1F | 0x7F)) {
            let name = String::from_utf8_lossy(name);
            return Err(bad(format!("the header {name} holds a control character")));
        }
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        if is(b"content-length") {
            let length = number(value.trim_ascii());
            let length = length.ok_or_else(|| bad("Content-Length is no number"))?;
            if self.length.is_some_and(|before| before != length) {
                return Err(ambiguous("a request has one Content-Length"));
            }
            self.length = Some(length);
        } else if is(b"transfer-encoding") {
            self.encode(value)?;
        } else if is(b"host") {
            self.hosts += 1;
        }
        Ok(())
    }

    fn encode(&mut self, value: &[u8]) -> Checked<()> {
        let value = value.trim_ascii();
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        if self.chunked || !last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            // Nobody can say where the body ends (RFC 9112 §6.3).
            return Err(ambiguous("a body's last transfer encoding is chunked, once"));
        }
        if last.len() < value.len() {
            let detail = "a body comes plain or in chunks; other encodings are not taken off";
            let title = "Not implemented";
            return Err(Box::new(Problem::new(501, "transfer-encoding", title, detail)));
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, version: Version) -> Checked<Framing> {
        // HTTP/1.0 has no Host header, and health checks speak it (HAProxy's do unless told).
        let fewest = usize::from(version == Version::Http11);
        if !(fewest..=1).contains(&self.hosts) {
            return Err(ambiguous("a request has exactly one Host header"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => {
                Err(ambiguous("a request has Content-Length or Transfer-Encoding, not both"))
            }
            (true, None) if version == Version::Http10 => {
                Err(ambiguous("HTTP/1.0 has no Transfer-Encoding"))
            }
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or_default())),
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok();
    // Nobody counts further than this.
    number.filter(|number| *number <= u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "POST /v1/x HTTP/1.1\r\nHost: a\r\n";

    fn status(head: &str) -> u16 {
        check(head.as_bytes()).map_or_else(|problem| problem.status, |_| 200)
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (bytes, ends) in [
            ("A\r\n\r\nb", Some(5)),
            ("A\n\nb", Some(3)),
            ("A\n\r\nb", Some(4)),
            ("\r\n\r\nA\r\n\r\n", Some(9)),
            ("A\r\nb: c\r\n", None),
            ("A\r\n\r", None),
            ("\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(length(bytes.as_bytes(), 0), ends, "{bytes:?}");
        }
        assert_eq!(length(b"A\r\nb: c\r\n\r\n", 8), Some(11));
        assert!(is_hopeless(b"\x16\x03") && is_hopeless(b"\r\n\0") && is_hopeless(b" "));
        assert!(!is_hopeless(b"P") && !is_hopeless(b"\r\n") && !is_hopeless(b""));
    }

    #[test]
    fn what_comes_behind_is_told() {
        let framing = |more: &str| check(format!("{START}{more}\r\n").as_bytes());
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("content-LENGTH: 7\r\n"), Ok(Framing::Length(7)));
        assert_eq!(framing("Content-Length: 7\nContent-Length: 7\n"), Ok(Framing::Length(7)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing("X-Content-Length: 3\r\nY:\r\n"), Ok(Framing::Length(0)));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for more in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\ncontent-length: 3\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551615\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length : 3\r\n",
            " Content-Length: 3\r\n",
            "Host: b\r\n",
        ] {
            assert_eq!(status(&format!("{START}{more}\r\n")), 400, "{more:?}");
        }
        for (more, expected) in
            [("gzip, chunked", 501), ("gzip,Chunked ", 501), ("gzip", 400), ("identity", 400)]
        {
            let head = format!("{START}Transfer-Encoding: {more}\r\n\r\n");
            assert_eq!(status(&head), expected, "{more}");
        }
        let twice = "Transfer-Encoding: chunked\r\n".repeat(2);
        assert_eq!(status(&format!("{START}{twice}\r\n")), 400);
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200);
        assert_eq!(status("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn what_is_no_head_is_refused_and_bounds_are_named() {
        for (line, expected) in [
            ("OPTIONS * HTTP/1.0", 200),
            ("GET /a?b=c%20d HTTP/1.0", 200),
            ("GET /a?b=c%20d#e HTTP/1.0", 400),
            ("GET /#\u{7f} HTTP/1.0", 400),
            ("GET http://a/b HTTP/1.0", 200),
            ("GET / HTTP/2.0", 505),
            ("GET / HTTP/1.2", 505),
            ("GET / FTP/1.1", 400),
            ("GET /", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET /a b HTTP/1.1", 400),
            ("G\u{1}T / HTTP/1.1", 400),
            ("GET /\u{1} HTTP/1.1", 400),
            ("\u{16}\u{3}\u{1}", 400),
        ] {
            assert_eq!(status(&format!("{line}\r\n\r\n")), expected, "{line:?}");
        }
        for more in ["Bad Header: y", "nonsense", ": y", "X: a\u{1}b", "X: a\rb", "\u{e9}: y"] {
            assert_eq!(status(&format!("{START}{more}\r\n\r\n")), 400, "{more:?}");
        }
        assert_eq!(status(&format!("{START}X: \u{e9}\tb\r\n\r\n")), 200);
        let bound = |head: String, member: &str| {
            let problem = check(head.as_bytes()).unwrap_err();
            (problem.status, problem.members[member].as_u64())
        };
        let large = format!("{START}X: {}\r\n\r\n", "y".repeat(HEAD_BYTES));
        assert_eq!(bound(large, "limit_bytes"), (431, Some(HEAD_BYTES as u64)));
        let many = format!("{START}{}\r\n", "X: y\r\n".repeat(HEADERS));
        assert_eq!(bound(many, "limit_headers"), (431, Some(HEADERS as u64)));
        let long = format!("GET /{} HTTP/1.0\r\n\r\n", "y".repeat(TARGET_BYTES));
        assert_eq!(bound(long, "limit_bytes"), (414, Some(TARGET_BYTES as u64)));
    }
}
