//! Slack's incoming webhooks: a text for notifications, and blocks for the channel. It answers
//! 200 and `ok`; anything else with 200 is not Slack.

use http::StatusCode;
use rollcall_common::{limits::SLACK_TEXT_CHARS, secret::Redacted};
use serde_json::{Value, json};

use super::{
    Failure, Notice,
    http::{Http, answered, post_json},
    text::one_line,
};

pub(super) async fn send(http: &Http, url: &Redacted, body: &Value) -> Result<(), Failure> {
    let taken = post_json(http, url, body).await?;
    if taken.status == StatusCode::OK && taken.body == "ok" {
        return Ok(());
    }
    Err(Failure::unavailable(format!("not \"ok\": {}", answered(taken.status, &taken.body))))
}

pub(super) fn body(notice: &Notice) -> Value {
    let alert = &notice.alert;
    let head = format!("[{}] {}", notice.what.as_str().to_uppercase(), one_line(&alert.title));
    let text = format!("{head}\n{}", alert.detail);
    let facts: Vec<_> =
        alert.facts().into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    json!({
        "text": escaped(&head, SLACK_TEXT_CHARS),
        "blocks": [
            {
                "type": "section",
                "text": { "type": "mrkdwn", "text": escaped(&text, SLACK_TEXT_CHARS) },
            },
            {
                "type": "context",
                "elements": [{
                    "type": "mrkdwn",
                    "text": escaped(&facts.join(" · "), SLACK_TEXT_CHARS),
                }],
            },
        ],
    })
}

/// With Slack's three control characters escaped, and at most `most` characters long, none of the
/// escapes cut.
fn escaped(text: &str, most: usize) -> String {
    let mut all = String::new();
    let mut length = 0;
    for c in text.chars() {
        let mut one = [0; 4];
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            c => c.encode_utf8(&mut one),
        };
        length += piece.chars().count();
        // The last place is for the sign that something is missing.
        if length >= most {
            all.push('…');
            break;
        }
        all.push_str(piece);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_never_cut() {
        assert_eq!(escaped("a<b>&c", 100), "a&lt;b&gt;&amp;c");
        for most in 2..30 {
            let cut = escaped("<&>aäb<<>>", most);
            assert!(cut.chars().count() <= most, "{cut}");
            let rest = ["&lt;", "&gt;", "&amp;"].iter().fold(cut, |cut, one| cut.replace(one, ""));
            assert!(!rest.contains(['&', ';', '<', '>']), "{rest}");
        }
    }
}
