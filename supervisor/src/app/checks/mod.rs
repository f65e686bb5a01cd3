//! What holds for whatever a supervisor is asked. Asked by random tests, and by `tests/fuzz`.

mod cable;
mod house;
mod places;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use self::{
    house::{Answer, LONG, SHORT, ask},
    places::{PLACES, Place},
};
use crate::web::routes;

/// What stands in a query as it is: everything that a request line can hold.
const QUERY: &AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'#').add(b'"').add(b'<').add(b'>');

/// Methods that a route may be asked with.
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "DELETE"];

/// What a reader may want, by `Accept`.
const WANTED: [&str; 3] = ["application/json", "application/x-ndjson", "text/event-stream"];

/// A query of any bytes, to any route, is answered or refused; and the same query, spelled
/// otherwise, with the same status.
///
/// # Panics
/// When that is not so, or the supervisor is not what it was.
pub fn query((route, method, wanted): (u8, u8, u8), query: &[u8]) {
    let all: Vec<_> = routes().collect();
    let Some((path, _)) = all.get(usize::from(route) % all.len()) else { return };
    let path = path.replace("{stream}", "a").replace("{name}", "q");
    let path = path.replace("{sequence}", "2").replace("{id}", "w");
    let query = percent_encode(query, QUERY).to_string();
    let (method, wanted) = (one_of(&METHODS, method), one_of(&WANTED, wanted));
    let waits = asks_to_wait(&query) || wanted == "text/event-stream";
    let patience = if waits { SHORT } else { LONG };
    let asked = |query: &str| {
        let head = format!("Host: a.localhost\r\nAccept: {wanted}\r\nContent-Length: 0\r\n\r\n");
        ask(format!("{method} {path}?{query} HTTP/1.1\r\n{head}").as_bytes(), patience)
    };
    let answer = asked(&query);
    in_order(&answer, &query);
    // What changes something need not answer the same twice.
    if method == "GET" && answer.whole {
        let other = spelled_out(&query);
        let again = asked(&other);
        let as_before = !again.whole || again.status == answer.status;
        assert!(as_before, "{answer:?} to {path}?{query}, {again:?} to {other}");
    }
}

/// A text in any place that holds a number, of a path, a query, a header or a body, is a number
/// or refused.
///
/// # Panics
/// When that is not so, or the supervisor is not what it was.
pub fn number(place: u16, text: &str) {
    let Some(place) = PLACES.get(usize::from(place) % PLACES.len()) else { return };
    let Place { method, path, head, body } = place;
    let in_path = percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string();
    let in_head: String = text.chars().filter(|c| matches!(c, ' '..='~')).collect();
    let (path, head) = (path.replace("{}", &in_path), head.replace("{}", &in_head));
    let body = body.replace("{}", text);
    let length = if head.contains("-Length") || head.contains("-Encoding") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let start = format!("{method} {path} HTTP/1.1\r\nHost: a.localhost\r\n");
    let request = format!("{start}{head}{length}\r\n{body}");
    let waits = ["wait", "event-stream", "-Length", "-Encoding"];
    let waits = waits.iter().any(|word| path.contains(word) || head.contains(word));
    let patience = if waits { SHORT } else { LONG };
    in_order(&ask(request.as_bytes(), patience), &request);
}

/// A head of any lines is answered or refused.
///
/// # Panics
/// When that is not so, or the supervisor is not what it was.
pub fn head(place: u8, lines: &[u8]) {
    let starts = [
        "POST /v1/streams/a/messages",
        "POST /v1/streams/a/messages:batch",
        "GET /v1/results",
        "GET /v1/streams/a/results",
        "POST /v1/streams/b/messages/1/resolve",
        "POST /v1/subscriptions/q/checkpoint",
    ];
    let start = format!("{} HTTP/1.1\r\nHost: a.localhost\r\n", one_of(&starts, place));
    let request = [start.as_bytes(), lines, b"\r\n\r\n"].concat();
    // What a head says of its body may not come, and what it says of waiting may be so.
    in_order(&ask(&request, SHORT), &String::from_utf8_lossy(&request));
}

/// An answer has a status that somebody has thought of, and a refusal says why.
fn in_order(answer: &Answer, about: &str) {
    let Some(status) = answer.status else { return };
    let known = (200..500).contains(&status) || matches!(status, 501 | 503 | 507);
    assert!(known, "{answer:?} to {about}");
    if status < 400 || !answer.whole || answer.body.is_empty() {
        return;
    }
    let problem: Result<serde_json::Value, _> = serde_json::from_str(&answer.body);
    let says =
        problem.as_ref().is_ok_and(|said| said["status"] == status && !said["detail"].is_null());
    let typed = answer.head.contains("content-type: application/problem+json");
    assert!(says && typed, "{answer:?} to {about}");
}

/// The same query: each pair with its key and its value encoded, byte by byte.
fn spelled_out(query: &str) -> String {
    let all = |text: &str| -> String {
        let text = text.replace('+', " ");
        percent_decode_str(&text).map(|byte| format!("%{byte:02X}")).collect()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        format!("{}={}", all(key), all(value))
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Whether a query may make its sender wait.
fn asks_to_wait(query: &str) -> bool {
    percent_decode_str(&query.replace('+', " ")).decode_utf8_lossy().contains("wait")
}

fn one_of<T: Copy + Default>(all: &[T], number: u8) -> T {
    all.get(usize::from(number) % all.len().max(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What a number may be written as, and what is nearly one.
    fn number_text() -> impl Strategy<Value = String> {
        let ends = prop::sample::select(vec![
            0,
            1,
            2,
            3,
            4,
            255,
            256,
            65_535,
            65_536,
            1 << 31,
            u64::from(u32::MAX),
            1 << 32,
            (1 << 53) + 1,
            u64::MAX >> 1,
            1 << 63,
            u64::MAX - 1,
            u64::MAX,
        ]);
        let exact = (ends, 0..3_u64).prop_map(|(end, more)| end.saturating_add(more).to_string());
        let signed = (prop::sample::select(vec!["-", "+", "0", " ", "%2B"]), exact.clone());
        let signed = signed.prop_map(|(sign, number)| [sign, &number].concat());
        let odd = prop::sample::select(vec![
            "1e3",
            "1e400",
            "nan",
            "inf",
            "0x10",
            "1.0",
            "1_000",
            "\u{661}",
            "",
            "18446744073709551616",
            "340282366920938463463374607431768211456",
            "\"1\"",
            "null",
            "[]",
            "9223372036854775807s",
            "1h",
            "999999999999days",
            "-1s",
            "2s 18446744073709551615ms",
        ]);
        prop_oneof![4 => exact, 1 => signed, 2 => odd.prop_map(str::to_owned), 1 => "\\PC{0,12}"]
    }

    fn query_text() -> impl Strategy<Value = Vec<u8>> {
        let keys = prop::sample::select(vec![
            "after",
            "limit",
            "wait",
            "state",
            "stream",
            "matching",
            "signature",
            "afte",
            "%61fter",
        ]);
        let value = prop_oneof![number_text(), Just("a/1".to_owned()), "[a-z/%&=+]{0,6}"];
        let pair = (keys, value).prop_map(|(key, value)| format!("{key}={value}"));
        let near = vec(pair, 0..4).prop_map(|pairs| pairs.join("&").into_bytes());
        prop_oneof![3 => near, 1 => vec(any::<u8>(), 0..40)]
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let names = prop::sample::select(vec![
            "Prefer: wait=",
            "Idempotency-Key: ",
            "Last-Event-ID: ",
            "Accept: text/event-stream;q=",
            "Content-Length: ",
            "ce-id: ",
            "ce-specversion: ",
            "ce-time: ",
            "traceparent: ",
            "Content-Type: ",
            "Rollcall-Content-Type: ",
            "Origin: ",
            "Authorization: Bearer ",
            "Rollcall-Actor: ",
            "Rollcall-Reason: ",
            "Expect: ",
            "Content-Encoding: ",
        ]);
        let value = prop_oneof![
            number_text().prop_map(String::into_bytes),
            vec(prop_oneof![Just(b'\t'), b' '..=b'~', 0x80_u8..=0xff], 0..20),
        ];
        (names, value).prop_map(|(name, value)| [name.as_bytes(), &value].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn queries_are_answered_or_refused_however_they_are_spelled(
            route in any::<(u8, u8, u8)>(),
            text in query_text(),
        ) {
            query(route, &text);
        }

        #[test]
        fn numbers_are_numbers_or_refused_wherever_they_stand(
            place in any::<u16>(),
            text in number_text(),
        ) {
            number(place, &text);
        }

        #[test]
        fn heads_are_answered_or_refused(place in any::<u8>(), lines in vec(line(), 0..6)) {
            head(place, &lines.join(&b"\r\n"[..]));
        }
    }

    #[test]
    fn every_number_at_its_ends_has_an_answer_in_every_place() {
        for place in 0..u16::try_from(PLACES.len()).unwrap() {
            for text in [
                "0",
                "1",
                "9223372036854775807",
                "9223372036854775808",
                "18446744073709551615",
                "18446744073709551616",
                "-1",
                "4294967295",
                "4294967296",
            ] {
                number(place, text);
            }
        }
    }
}
