//! Anything that takes JSON over HTTP: the alert as the contract shows it (§6), with the headers
//! of Standard Webhooks 1.0.0, signed when there is a secret.

use http::{HeaderMap, HeaderValue};
use rollcall_common::{secret::Redacted, time::Time};

use super::{
    Failure, Notice,
    http::{Http, unwritten},
};
use crate::secrets::{Secret, sign};

pub(super) async fn send(
    http: &Http,
    (url, secrets): (&Redacted, &[Secret]),
    notice: &Notice,
    now: Time,
) -> Result<(), Failure> {
    let body = notice.json().map_err(|error| unwritten(&error))?;
    let (id, timestamp) = (format!("alert_{}", notice.key()), now.as_secs());
    let mut headers = HeaderMap::new();
    let mut insert = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    insert("idempotency-key", format!("\"{id}\""));
    insert("rollcall-attempt", notice.attempt.to_string());
    insert("webhook-timestamp", timestamp.to_string());
    if !secrets.is_empty() {
        insert("webhook-signature", sign(secrets, &id, timestamp, &body));
    }
    insert("webhook-id", id);
    http.post(url.reveal(), body, headers).await.map(|_| ())
}
