//! `status`: five lines that say what needs a person.

use std::process::ExitCode;

use serde_json::Value;

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, Style, number, print_json, text, word},
};

pub(super) async fn run(server: &Server) -> Result<ExitCode, Failure> {
    let client = server.client()?;
    let value = client.get("/v1/status").await?;
    if server.output == Output::Json {
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    for (name, pieces) in lines(&value) {
        let mut line = vec![Piece::styled(format!("{name:<12}"), Style::Dim)];
        line.extend(pieces);
        screen.line(&line)?;
    }
    let mut next = Vec::new();
    let stuck = value.pointer("/stuck/0").map(|one| text(one, "stream"));
    let full = value.pointer("/full/0").map(word).filter(|full| stuck.as_ref() != Some(full));
    next.extend(stuck.into_iter().chain(full).map(|stream| format!("why {stream}")));
    if number(&value, "alerts.firing") > 0 {
        next.push("alerts".to_owned());
    }
    if number(&value, "parked") > 0 {
        next.push("parked".to_owned());
    }
    if text(&value, "workers_active") != text(&value, "workers") {
        next.push("workers".to_owned());
    }
    screen.next(server, &next)?;
    Ok(ExitCode::SUCCESS)
}

fn lines(value: &Value) -> Vec<(&'static str, Vec<Piece>)> {
    let show = |name: &str| text(value, name);
    let say = |text: String| vec![Piece::new(text)];
    let all = value.get("stuck").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let stuck: Vec<String> = all
        .iter()
        .map(|one| {
            format!("{} {} {}", text(one, "stream"), text(one, "sequence"), text(one, "cause"))
        })
        .collect();
    let stuck = if stuck.is_empty() { "none".to_owned() } else { stuck.join(", ") };
    let firing = number(value, "alerts.firing");
    let alerts = match value.pointer("/alerts/worst") {
        Some(Value::Object(_)) => {
            let (title, severity) = (show("alerts.worst.title"), show("alerts.worst.severity"));
            format!("{firing} firing, the worst: {title} ({severity})")
        }
        _ => "no alert".to_owned(),
    };
    let full = match value.pointer("/full/0") {
        Some(_) => format!("full (429): {}; ", show("full")),
        None => String::new(),
    };
    let (active, workers) = (show("workers_active"), show("workers"));
    let short = if active == workers { Style::Plain } else { Style::Worrying };
    let calm = firing == 0 && all.is_empty() && full.is_empty();
    let calm = if calm { Style::Plain } else { Style::Bad };
    vec![
        (
            "supervisor",
            vec![
                Piece::new(format!("{} ", show("version"))),
                Piece::state(show("phase")),
                Piece::new(format!(", {} streams", show("streams"))),
            ],
        ),
        (
            "messages",
            say(format!(
                "{} accepted, {} released, {} delivered since the start",
                show("accepted"),
                show("released"),
                show("delivered")
            )),
        ),
        ("workers", vec![Piece::styled(format!("{active} of {workers} active"), short)]),
        (
            "journal",
            vec![
                Piece::new(format!("{} bytes, space ", show("journal_bytes"))),
                Piece::state(show("journal_space")),
            ],
        ),
        (
            "attention",
            vec![Piece::styled(
                format!("{} parked; {full}stuck: {stuck}; {alerts}", show("parked")),
                calm,
            )],
        ),
    ]
}
