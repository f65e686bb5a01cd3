//! Who may do what: tokens with scopes and streams (contract §8), and what each request needs. The
//! check stands before the routes, so that a route can't forget it.

mod requirement;
mod token;

use std::{convert::Infallible, fmt, sync::Arc};

use arc_swap::ArcSwap;
use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request};
use rollcall_common::{limits::TOKEN_BYTES, problem::Problem};
use sha2::{Digest as _, Sha256};

pub use requirement::{ListenerKind, Requirement, StreamScope};
pub use token::{Scope, Scopes, Token};

/// Who may do what. Without any token everybody may do everything.
pub struct Access {
    tokens: ArcSwap<Box<[Arc<Token>]>>,
}

/// Why a request goes no further, and what `WWW-Authenticate` says of it (RFC 6750 §3).
#[derive(Debug)]
pub struct Refusal {
    /// What the caller is told.
    pub problem: Problem,
    /// The header's value.
    pub challenge: &'static str,
}

impl Access {
    /// Those who have one of these tokens.
    #[must_use]
    pub fn new(tokens: &[Arc<Token>]) -> Self {
        Self { tokens: ArcSwap::from_pointee(tokens.into()) }
    }

    /// From now on these tokens count. Requests that are under way go on.
    pub fn replace(&self, tokens: &[Arc<Token>]) {
        self.tokens.store(Arc::new(tokens.into()));
    }

    /// Whether nobody needs a token.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.load().is_empty()
    }

    /// The token of a request that has these headers; `None` where nobody needs one.
    ///
    /// # Errors
    /// When there is no token, an unknown one, or one that is not for this.
    pub fn admit(
        &self,
        need: &Requirement<'_>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Token>>, Box<Refusal>> {
        let tokens = self.tokens.load();
        let Some(scope) = need.scope.filter(|_| !tokens.is_empty()) else {
            return Ok(None);
        };
        let token = find(&tokens, presented(headers)?).ok_or_else(|| {
            let challenge = "Bearer error=\"invalid_token\"";
            unauthorized("the token is not known", challenge)
        })?;
        if !token.scopes.has(scope) {
            let detail = format!("the token {} has no scope {:?}", token.name, scope.as_str());
            return Err(forbidden(detail, Some(scope)));
        }
        match need.about {
            StreamScope::All if token.streams.is_some() => {
                let detail =
                    format!("this is about all streams, and the token {} is for some", token.name);
                Err(forbidden(detail, None))
            }
            StreamScope::One(stream) if !token.sees(stream) => {
                let detail = format!("the token {} is not for the stream {stream:?}", token.name);
                Err(forbidden(detail, None))
            }
            StreamScope::All | StreamScope::Asked | StreamScope::One(_) => Ok(Some(token)),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("tokens", &self.tokens.load().len()).finish()
    }
}

/// The secret in `Authorization: Bearer` (RFC 6750 §2.1). One in the query is not looked for:
/// queries stand in logs.
fn presented(headers: &HeaderMap) -> Result<&[u8], Box<Refusal>> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (all.next(), all.next());
    let Some(value) = first else {
        return Err(unauthorized("this needs a token: Authorization: Bearer …", "Bearer"));
    };
    let (scheme, rest) = value.as_bytes().split_at_checked(7).unwrap_or_default();
    let secret = rest.trim_ascii();
    let fits = scheme.eq_ignore_ascii_case(b"bearer ") && (1..=TOKEN_BYTES).contains(&secret.len());
    if second.is_some() || !fits {
        let challenge = "Bearer error=\"invalid_request\"";
        return Err(unauthorized("expected one header, Authorization: Bearer …", challenge));
    }
    Ok(secret)
}

/// All digests are compared, each in the same time whatever is in it: how long it takes says
/// nothing of what a secret is.
fn find(tokens: &[Arc<Token>], secret: &[u8]) -> Option<Arc<Token>> {
    let digest: [u8; 32] = Sha256::digest(secret).into();
    let found = tokens
        .iter()
        .fold(None, |found, token| if token.has_digest(&digest) { Some(token) } else { found });
    found.cloned()
}

fn unauthorized(detail: &str, challenge: &'static str) -> Box<Refusal> {
    let problem = Problem::new(401, "unauthorized", "Unauthorized", detail);
    Box::new(Refusal { problem, challenge })
}

fn forbidden(detail: String, scope: Option<Scope>) -> Box<Refusal> {
    let mut problem = not_allowed(detail);
    if let Some(scope) = scope {
        problem = problem.with("scope", scope.as_str());
    }
    Box::new(Refusal { problem, challenge: "Bearer error=\"insufficient_scope\"" })
}

fn not_allowed(detail: impl Into<String>) -> Problem {
    Problem::new(403, "forbidden", "Forbidden", detail)
}

/// Who has made a request, for handlers whose answer depends on what the caller may see.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<Token>>);

impl Caller {
    /// Who has this token; `None`: who needs none.
    #[must_use]
    pub fn new(token: Option<Arc<Token>>) -> Self {
        Self(token)
    }

    /// Whether it may see this stream.
    #[must_use]
    pub fn sees(&self, stream: &str) -> bool {
        self.0.as_ref().is_none_or(|token| token.sees(stream))
    }

    /// Whether it may see every stream that fits this pattern: `*` is then a character like any
    /// other, which only a `*` of the token takes.
    #[must_use]
    pub fn sees_all_of(&self, pattern: &str) -> bool {
        self.sees(pattern)
    }

    /// The patterns of the streams that it may see; `None`: all.
    #[must_use]
    pub fn bounds(&self) -> Option<&[crate::dispatcher::settings::Pattern]> {
        self.0.as_ref()?.streams.as_deref()
    }

    /// Refuses a caller who may not see all streams.
    ///
    /// # Errors
    /// When there are streams that it may not see.
    pub fn sees_everything(&self, what: &str) -> Result<(), Box<Problem>> {
        if self.bounds().is_none() {
            return Ok(());
        }
        Err(not_allowed(format!("{what} speaks of all streams, and the token is for some")).into())
    }

    /// Refuses a caller who may not see every stream that fits these patterns.
    ///
    /// # Errors
    /// When there is such a stream.
    pub fn must_see(&self, patterns: &[Box<str>]) -> Result<(), Box<Problem>> {
        match patterns.iter().find(|pattern| !self.sees_all_of(pattern)) {
            None => Ok(()),
            Some(pattern) => Err(not_allowed(format!("the token is not for {pattern:?}")).into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::dispatcher::settings::Pattern;

    fn token(name: &str, scopes: &[Scope], streams: Option<&[&str]>) -> Arc<Token> {
        let secret = format!("secret of {name}");
        let token = Token::new(name.into(), secret.as_bytes(), scopes.iter().copied().collect());
        let patterns = |all: &[&str]| all.iter().map(|text| Pattern::new(text)).collect();
        Arc::new(match streams {
            None => token,
            Some(streams) => token.for_streams(patterns(streams)),
        })
    }

    fn access() -> Access {
        Access::new(&[
            token("sender", &[Scope::Send], Some(&["orders", "customer.*"])),
            token("reader", &[Scope::Read], None),
            token("boss", &[Scope::Admin], None),
            token("worker", &[Scope::Work], None),
            token("some", &Scope::ALL, Some(&["orders"])),
        ])
    }

    fn asked(access: &Access, who: &[&str], method: &Method, path: &str) -> u16 {
        let headers =
            who.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap()));
        match access.admit(&Requirement::of(method, path), &headers.collect()) {
            Ok(_) => 200,
            Err(refusal) => refusal.problem.status,
        }
    }

    #[test]
    fn a_token_is_for_its_scopes_and_its_streams() {
        let access = access();
        let (get, post) = (&Method::GET, &Method::POST);
        for (who, method, path, expected) in [
            ("sender", post, "/v1/streams/orders/messages", 200),
            ("sender", post, "/v1/streams/customer.7/messages:batch", 200),
            ("sender", post, "/v1/streams/other/messages", 403),
            ("sender", post, "/v1/streams/o%72ders/messages", 403),
            ("sender", get, "/v1/streams/orders", 403),
            ("reader", get, "/v1/streams/orders", 200),
            ("reader", get, "/metrics", 200),
            ("reader", post, "/v1/streams/orders/messages", 403),
            ("reader", post, "/v1/streams/orders/pause", 403),
            ("boss", post, "/v1/streams/orders/pause", 200),
            ("boss", post, "/v1/streams/orders/messages", 200),
            ("boss", get, "/v1/status", 200),
            ("worker", &Method::PUT, "/v1/workers/w", 200),
            ("worker", post, "/v1/streams/orders/messages", 403),
            ("some", &Method::PUT, "/v1/workers/w", 403),
            ("nobody", get, "/v1/status", 401),
            ("nobody", get, "/livez", 200),
        ] {
            let header = format!("Bearer secret of {who}");
            assert_eq!(asked(&access, &[&header], method, path), expected, "{who} {path}");
        }
    }

    #[test]
    fn only_one_bearer_token_is_one() {
        let access = access();
        let asked = |who: &[&str]| asked(&access, who, &Method::GET, "/v1/status");
        assert_eq!(asked(&["bEARER  secret of reader "]), 200);
        let twice = "Bearer secret of reader";
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES + 1));
        for who in [&[][..], &[twice, twice], &["Basic cmVhZGVy"], &["Bearer "], &["B"], &[&long]] {
            assert_eq!(asked(who), 401, "{who:?}");
        }
    }

    #[test]
    fn without_tokens_nobody_needs_one_and_new_ones_count_at_once() {
        let access = Access::new(&[]);
        assert_eq!(asked(&access, &[], &Method::POST, "/v1/streams/a/pause"), 200);
        access.replace(&[token("boss", &[Scope::Admin], None)]);
        assert_eq!(asked(&access, &[], &Method::POST, "/v1/streams/a/pause"), 401);
    }

    #[test]
    fn a_pattern_is_seen_only_if_all_that_fits_it_is() {
        let caller = Caller::new(Some(token("a", &[], Some(&["orders", "customer.*"]))));
        for (pattern, seen) in [
            ("orders", true),
            ("customer.*", true),
            ("customer.*.eu", true),
            ("customer.7", true),
            ("*", false),
            ("cust*", false),
            ("order*", false),
            ("*.customer.7", false),
        ] {
            assert_eq!(caller.sees_all_of(pattern), seen, "{pattern}");
        }
        assert!(Caller::default().sees_all_of("*"));
    }
}
