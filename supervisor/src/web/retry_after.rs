//! When somebody wants to be asked again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header};
use rollcall_common::time::{Clock, Time};

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date. Fractions of a second are seen in the
/// wild.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    wait(headers.get(header::RETRY_AFTER)?.to_str().ok()?)
}

/// What the value of `Retry-After` says.
#[must_use]
pub fn wait(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        let sane = (0.0..=f64::MAX).contains(&seconds);
        return sane.then(|| Duration::from_secs_f64(seconds.min(1e6)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(wall()).unwrap_or_default())
}

/// The wall clock: a date in a header means that of the world.
fn wall() -> SystemTime {
    let now = Clock::start(Time::default()).now();
    UNIX_EPOCH + Duration::from_micros(now.as_micros())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parsed(value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parsed("3"), Some(Duration::from_secs(3)));
        assert_eq!(parsed("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(parsed("1000000000"), Some(Duration::from_secs(1_000_000)));
        assert_eq!(parsed("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(parsed("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > Duration::from_secs(1));
        for bad in ["", "-1", "nan", "soon"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
