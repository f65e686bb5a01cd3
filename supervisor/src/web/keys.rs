//! Which keys the query of each route may have. A mistyped key is not ignored: the answer would be
//! another one than was asked for.

use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use rollcall_common::problem::Problem;

/// Distance (0 to 1, by Jaro and Winkler) from which a key is taken for another one, mistyped.
const NEAR: f64 = 0.7;

/// What `GET` of a route may be asked with. Whatever changes something has no query.
struct Route {
    path: &'static str,
    keys: &'static [&'static str],
}

const fn route(path: &'static str, keys: &'static [&'static str]) -> Route {
    Route { path, keys }
}

/// Every route of the program. One that is missing here is found by a test.
const ROUTES: &[Route] = &[
    route("/", &[]),
    route("/livez", &[]),
    route("/metrics", &[]),
    route("/readyz", &[]),
    route("/v1/alerts", &["state"]),
    route("/v1/alerts/{id}", &[]),
    route("/v1/alerts/{id}/acknowledge", &[]),
    route("/v1/audit", &["limit"]),
    route("/v1/parked", &["after", "limit", "matching", "signature", "stream"]),
    route("/v1/parked/groups", &["matching", "signature", "stream"]),
    route("/v1/parked/retry", &[]),
    route("/v1/parked/skip", &[]),
    route("/v1/results", &["after", "limit", "wait"]),
    route("/v1/status", &[]),
    route("/v1/streams", &["after", "limit"]),
    route("/v1/streams/{stream}", &[]),
    route("/v1/streams/{stream}/messages", &[]),
    route("/v1/streams/{stream}/messages:batch", &[]),
    route("/v1/streams/{stream}/messages/{sequence}", &[]),
    route("/v1/streams/{stream}/messages/{sequence}/body", &[]),
    route("/v1/streams/{stream}/messages/{sequence}/resolve", &[]),
    route("/v1/streams/{stream}/messages/{sequence}/result", &[]),
    route("/v1/streams/{stream}/messages/{sequence}/retry", &[]),
    route("/v1/streams/{stream}/messages/{sequence}/skip", &[]),
    route("/v1/streams/{stream}/pause", &[]),
    route("/v1/streams/{stream}/results", &["after", "limit", "wait"]),
    route("/v1/streams/{stream}/resume", &[]),
    route("/v1/subscriptions", &[]),
    route("/v1/subscriptions/{name}", &[]),
    route("/v1/subscriptions/{name}/checkpoint", &[]),
    route("/v1/subscriptions/{name}/pause", &[]),
    route("/v1/subscriptions/{name}/results", &["after", "limit", "wait"]),
    route("/v1/subscriptions/{name}/resume", &[]),
    route("/v1/subscriptions/{name}/rewind", &[]),
    route("/v1/subscriptions/{name}/skip", &[]),
    route("/v1/workers", &[]),
    route("/v1/workers/{id}", &[]),
    route("/v1/workers/{id}/drain", &[]),
    route("/v1/workers/{id}/resume", &[]),
];

/// Every route, and which keys the query of its `GET` may have.
#[cfg(any(test, feature = "checks"))]
pub(crate) fn routes() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    ROUTES.iter().map(|route| (route.path, route.keys))
}

/// Refuses a query with a key that its route does not know, or with one key twice. What is no
/// route is refused elsewhere.
///
/// # Errors
/// The refusal, which names the key, and the nearest one that there is.
pub fn check_query(method: &Method, uri: &Uri) -> Result<(), Box<Problem>> {
    let Some(query) = uri.query() else {
        return Ok(());
    };
    let Some(route) = ROUTES.iter().find(|route| fits(route.path, uri.path())) else {
        return Ok(());
    };
    let looks = matches!(*method, Method::GET | Method::HEAD);
    let keys = if looks { route.keys } else { &[] };
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let key = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let key = percent_decode_str(&key).decode_utf8_lossy().into_owned();
        if !keys.contains(&&*key) {
            return Err(unknown(&key, keys).into());
        }
        if seen.contains(&key) {
            let detail = format!("{key} is there twice");
            let problem = Problem::new(400, "repeated-query-key", "Repeated query key", detail);
            return Err(problem.with("parameter", &*key).into());
        }
        seen.push(key);
    }
    Ok(())
}

/// Whether a path is one of a route, whose parts in braces stand for any.
fn fits(route: &str, path: &str) -> bool {
    let (mut wanted, mut parts) = (route.split('/'), path.split('/'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if wanted == part || wanted.starts_with('{') => {}
            (Some(_) | None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

fn unknown(key: &str, keys: &[&str]) -> Problem {
    let near = keys.iter().map(|known| (strsim::jaro_winkler(key, known), *known));
    let near = near.filter(|(nearness, _)| *nearness >= NEAR);
    let nearest = near.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known);
    let rest = match (nearest, keys) {
        (Some(known), _) => format!("did you mean {known:?}?"),
        (None, []) => "this takes no query".to_owned(),
        (None, all) => format!("there are {}", all.join(", ")),
    };
    let detail = format!("there is no query key {key:?} here; {rest}");
    let problem = Problem::new(400, "unknown-query-key", "Unknown query key", detail);
    let problem = problem.with("parameter", key);
    if let Some(known) = nearest { problem.with("nearest", known) } else { problem }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn check(method: &Method, uri: &'static str) -> Result<(), Box<Problem>> {
        check_query(method, &Uri::from_static(uri))
    }

    #[test]
    fn a_mistyped_key_is_named_with_the_nearest_that_there_is() {
        for (uri, key, nearest) in [
            ("/v1/streams/a/results?aftr=1", "aftr", "after"),
            ("/v1/results?limits=1", "limits", "limit"),
            ("/v1/results?after=1&wiat=1", "wiat", "wait"),
            ("/v1/parked?steam=1", "steam", "stream"),
            ("/v1/alerts?stat=1", "stat", "state"),
            ("/v1/alerts?St%61te=firing", "State", "state"),
        ] {
            let refusal = check(&Method::GET, uri).unwrap_err();
            assert_eq!(refusal.status, 400);
            for word in [format!("{key:?}"), format!("{nearest:?}")] {
                assert!(refusal.detail.contains(&word), "{uri}: {}", refusal.detail);
            }
        }
        let all = check(&Method::GET, "/v1/results?zzz").unwrap_err().detail;
        assert!(all.contains("after, limit, wait"), "{all}");
        assert!(check(&Method::GET, "/v1/status?verbose=1").is_err());
    }

    #[test]
    fn what_a_route_knows_is_taken_once_and_changes_have_no_query() {
        assert!(check(&Method::GET, "/v1/streams/a%20b/results?after=1&limit=2&wait=3").is_ok());
        assert!(check(&Method::HEAD, "/v1/results?after=1").is_ok());
        assert!(check(&Method::GET, "/v1/results?").is_ok());
        assert!(check(&Method::GET, "/v1/results?after=1&after=2").is_err());
        assert!(check(&Method::POST, "/v1/streams/a/messages?wait=1").is_err());
        assert!(check(&Method::POST, "/v1/streams/a/messages:batch?x").is_err());
        assert!(check(&Method::DELETE, "/v1/subscriptions/a?force=true").is_err());
        assert!(check(&Method::GET, "/nowhere?x=1").is_ok(), "that is a 404");
    }

    #[test]
    fn every_route_says_what_it_may_be_asked_with() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = 0;
        for folder in ["api", "ingress", "workers"] {
            for file in fs::read_dir(source.join(folder)).unwrap() {
                let file = file.unwrap().path();
                let Ok(text) = fs::read_to_string(&file) else { continue };
                for path in text.split(".route(\"").skip(1) {
                    let path = path.split('"').next().unwrap();
                    let known = ROUTES.iter().any(|route| route.path == path);
                    assert!(known, "{path} of {} is not in the table of keys", file.display());
                    found += 1;
                }
            }
        }
        assert!(found >= ROUTES.len(), "{found} routes were found in the sources");
    }
}
