//! Requests that a page makes in somebody's browser. Where no token is asked for, reaching an
//! address is all that it takes to use it; and a browser reaches what its user reaches, for any
//! page that it shows: by a form or a script (cross-site request forgery), or by a name that leads
//! somewhere else than it did when the page was loaded (DNS rebinding).

use std::{collections::BTreeSet, net::IpAddr};

use http::{HeaderMap, HeaderName, Method, Request, header};

use super::Target;
use crate::problem::Problem;

/// What a browser says of where a request comes from (Fetch Metadata); a page can't change it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names by which a server is called, and so which pages are its own.
#[derive(Clone, Debug, Default)]
pub struct Site {
    public: Option<Target>,
    hosts: BTreeSet<Box<str>>,
}

/// A host and a port, as a request names them.
#[derive(Debug, Eq, PartialEq)]
struct Place {
    /// In small letters, without brackets, and without a dot at its end.
    host: String,
    port: Option<u16>,
}

impl Place {
    /// What stands in `Host`, or behind `://`; `None` when it is no host.
    fn parse(authority: &str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, if port.is_empty() { "" } else { port.strip_prefix(':')? })
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
        let lower = host.to_ascii_lowercase();
        let host = lower.strip_suffix('.').unwrap_or(&lower);
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        (!host.is_empty() && host.chars().all(plain)).then(|| Self { host: host.to_owned(), port })
    }

    /// The same without a port that its scheme has anyway.
    fn without(self, usual: u16) -> Self {
        Self { port: self.port.filter(|port| *port != usual), ..self }
    }
}

impl Site {
    /// A site that is called by these names, beside IP addresses and `localhost`.
    #[must_use]
    pub fn new(public: Option<Target>, hosts: impl IntoIterator<Item = Box<str>>) -> Self {
        Self { public, hosts: hosts.into_iter().collect() }
    }

    /// Refuses what only a browser sends, for a page that is not of this site.
    ///
    /// # Errors
    /// When the request is for another host, or would change something for another site.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Box<Problem>> {
        let (headers, uri) = (request.headers(), request.uri());
        // What probes ask, by whatever name, shows nothing to anybody.
        if !matches!(uri.path(), "/livez" | "/readyz") {
            // Both count: which of them is the real one is not read alike by everybody.
            let named = uri.authority().map(http::uri::Authority::as_str).map(str::as_bytes);
            let hosts = headers.get_all(header::HOST).iter().map(http::HeaderValue::as_bytes);
            for host in named.into_iter().chain(hosts) {
                self.check_host(host, headers)?;
            }
        }
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let ours = |site: &http::HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
        if let Some(site) = headers.get_all(FETCH_SITE).iter().find(|site| !ours(site)) {
            let detail =
                format!("a browser sent it from a page that is {}", shown(site.as_bytes()));
            return Err(foreign(&detail));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        for origin in headers.get_all(header::ORIGIN) {
            let own = origin.to_str().is_ok_and(|origin| self.is_own(origin, host));
            if !own {
                let detail = format!("it comes from a page of {}", shown(origin.as_bytes()));
                return Err(foreign(&detail));
            }
        }
        Ok(())
    }

    fn check_host(&self, host: &[u8], headers: &HeaderMap) -> Result<(), Box<Problem>> {
        let place = std::str::from_utf8(host).ok().and_then(Place::parse);
        let known = place.is_some_and(|Place { host, .. }| {
            let local = host == "localhost" || host.ends_with(".localhost");
            let named =
                self.hosts.contains(&*host) || self.public_host().is_some_and(|h| h == host);
            local || named || host.parse::<IpAddr>().is_ok() || is_bare(&host, headers)
        });
        if known {
            return Ok(());
        }
        let detail = format!(
            "it is for the host {}; without tokens, names beside IP addresses and localhost have \
             to stand in server.hosts (or be that of server.public_url)",
            shown(host)
        );
        let problem = Problem::new(403, "unknown-host", "Unknown host", detail);
        Err(problem.with("key", "server.hosts").into())
    }

    fn public_host(&self) -> Option<String> {
        Place::parse(&self.public.as_ref()?.authority()).map(|place| place.host)
    }

    /// Whether pages of `origin` are those of the host that is asked, or of the public URL.
    fn is_own(&self, origin: &str, asked: Option<&str>) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let (secure, usual) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return false,
        };
        let place = |text: &str| Place::parse(text).map(|place| place.without(usual));
        let Some(origin) = place(authority) else {
            return false;
        };
        let public = self.public.as_ref().filter(|public| public.is_secure() == secure);
        let public = public.and_then(|public| place(&public.authority()));
        // The scheme of who asked is not looked at: a proxy may have taken TLS away.
        public.as_ref() == Some(&origin) || asked.and_then(place).as_ref() == Some(&origin)
    }
}

/// Whether a name without a dot is asked for by something that is no browser: those always send
/// both headers, and neither can be left out by a page. So the names of containers and of machines
/// nearby go on working for workers and probes.
fn is_bare(host: &str, headers: &HeaderMap) -> bool {
    let browses =
        headers.contains_key(header::USER_AGENT) || headers.contains_key(header::ACCEPT_ENCODING);
    !host.contains(['.', ':']) && !browses
}

/// Whether a browser has sent a request for a page, whichever page that is.
#[must_use]
pub fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE)
}

/// What a request is told that a page of another site has sent.
#[must_use]
pub fn foreign(detail: &str) -> Box<Problem> {
    let title = "Cross-site request";
    Problem::new(403, "cross-site", title, format!("{detail}, and no token is asked for here"))
        .with("key", "server.public_url")
        .into()
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let public = "https://rollcall.example/panel".parse().unwrap();
        Site::new(Some(public), ["queue.internal".into()])
    }

    fn refusal(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let checked = site().check(&request.body(()).unwrap());
        checked.err().map(|problem| {
            assert_eq!(problem.status, 403);
            problem.kind.rsplit(':').next().unwrap().to_owned()
        })
    }

    #[test]
    fn a_host_has_to_be_one_of_ours() {
        let agent = ("user-agent", "a browser");
        for (host, known) in [
            ("127.0.0.1:7400", true),
            ("10.0.0.5", true),
            ("[::1]:7400", true),
            ("[fd00::1]", true),
            ("localhost:7400", true),
            ("LOCALHOST.", true),
            ("panel.localhost:1", true),
            ("rollcall.example", true),
            ("Rollcall.Example.:443", true),
            ("queue.internal:7400", true),
            ("", false),
            ("evil.example", false),
            ("evil", false),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("localhost:x", false),
            ("localhost:1:2", false),
            ("[::1", false),
            ("[::1]x", false),
            ("evil.example@localhost", false),
            ("localhost,evil.example", false),
            ("localhost..", false),
        ] {
            let expected = (!known).then(|| "unknown-host".to_owned());
            assert_eq!(refusal("GET", "/v1/status", &[("host", host), agent]), expected, "{host}");
            assert_eq!(refusal("GET", "/readyz", &[("host", host), agent]), None, "{host}");
        }
    }

    #[test]
    fn an_absolute_target_and_several_hosts_hide_nothing() {
        let host = ("host", "localhost");
        let absolute = "http://evil.example/v1/status";
        assert_eq!(refusal("GET", absolute, &[host]).as_deref(), Some("unknown-host"));
        let several = [host, ("host", "evil.example")];
        assert_eq!(refusal("GET", "/", &several).as_deref(), Some("unknown-host"));
        assert_eq!(refusal("GET", "/", &[]), None, "HTTP/1.0 has none");
    }

    #[test]
    fn a_name_without_a_dot_is_good_for_what_is_no_browser() {
        let worker = ("host", "supervisor:7400");
        assert_eq!(refusal("PUT", "/v1/workers/w", &[worker]), None);
        for sign in ["user-agent", "accept-encoding"] {
            let refused = refusal("PUT", "/v1/workers/w", &[worker, (sign, "")]);
            assert_eq!(refused.as_deref(), Some("unknown-host"), "{sign}");
        }
    }

    #[test]
    fn what_changes_something_comes_from_pages_of_our_own() {
        let own = |origin: &str, host: &str| {
            refusal("POST", "/v1/streams/a/pause", &[("host", host), ("origin", origin)]).is_none()
        };
        for (origin, host, expected) in [
            ("http://localhost:7400", "localhost:7400", true),
            ("HTTP://localhost:7400", "localhost:7400", false),
            ("http://LOCALHOST:7400", "localhost:7400", true),
            ("http://127.0.0.1", "127.0.0.1:80", true),
            ("http://[::1]:7400", "[::1]:7400", true),
            ("https://queue.internal", "queue.internal", true),
            ("https://rollcall.example", "10.0.0.5:7400", true),
            ("https://rollcall.example:443", "10.0.0.5:7400", true),
            ("http://rollcall.example", "10.0.0.5:7400", false),
            ("https://rollcall.example:8443", "10.0.0.5:7400", false),
            ("http://localhost:3000", "localhost:7400", false),
            ("http://127.0.0.1:7400", "localhost:7400", false),
            ("https://evil.example", "localhost:7400", false),
            ("null", "localhost:7400", false),
            ("", "localhost:7400", false),
            ("file://", "localhost:7400", false),
            ("chrome-extension://localhost:7400", "localhost:7400", false),
        ] {
            assert_eq!(own(origin, host), expected, "{origin} {host}");
        }
    }

    #[test]
    fn what_the_browser_says_counts_with_every_unsafe_method() {
        let host = ("host", "localhost");
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "ANYTHING"] {
            for (site, expected) in [
                ("same-origin", None),
                ("none", None),
                ("same-site", Some("cross-site")),
                ("cross-site", Some("cross-site")),
                ("", Some("cross-site")),
            ] {
                let refused = refusal(method, "/", &[host, ("sec-fetch-site", site)]);
                assert_eq!(refused.as_deref(), expected, "{method} {site}");
            }
            let origins = [host, ("origin", "http://localhost"), ("origin", "http://evil.example")];
            assert_eq!(refusal(method, "/", &origins).as_deref(), Some("cross-site"), "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS"] {
            let headers = [host, ("sec-fetch-site", "cross-site"), ("origin", "null")];
            assert_eq!(refusal(method, "/", &headers), None, "{method}");
        }
    }
}
