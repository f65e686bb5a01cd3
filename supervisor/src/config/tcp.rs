//! `[[tcp]]`: messages in over plain connections.

use std::net::SocketAddr;

use rollcall_common::{http::Framing, ids::StreamName, message::OCTET_STREAM};

use super::{
    section::Section,
    server::{is_loopback, socket_address},
    values::{text, word},
};

/// One of `[[tcp]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tcp {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Which stream its messages are for.
    pub stream: StreamName,
    /// How messages are told apart.
    pub framing: Framing,
    /// Their type; empty when they have none.
    pub content_type: Box<str>,
}

/// Whether there may be listeners that anybody can reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Yes: `server.insecure`.
    Anybody,
    /// No: there are no tokens on a plain connection.
    Loopback,
}

/// `[[tcp]]`.
pub(super) fn read_all(root: &mut Section<'_>, reach: Reach) -> Vec<Tcp> {
    let all = root.items("tcp", |section| read(section, reach));
    all.unwrap_or_default().into_iter().flatten().collect()
}

fn read(mut section: Section<'_>, reach: Reach) -> Option<Tcp> {
    let said = ["listen", "stream"].map(|key| section.place_of(key));
    let listen = section.read("listen", socket_address);
    let stream = section.read("stream", |node| {
        text(node)?
            .parse::<StreamName>()
            .map_err(|error| node.wrong(format!("{} is no stream's name: {error}", node.shown())))
    });
    let framing = section.read("framing", |node| {
        word(node, &[("lines", Framing::Lines), ("length", Framing::Length)])
    });
    let content_type = section.read("content_type", |node| {
        let plain = |said: &&str| said.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let said = node.text().filter(plain).map(Box::<str>::from);
        said.ok_or_else(|| node.unfit("a type in visible ASCII, as \"application/json\", or none"))
    });
    for (key, place) in ["listen", "stream"].into_iter().zip(&said) {
        if place.is_none() {
            section.problem(None, key, "is missing");
        }
    }
    let [place, _] = said;
    if let Some(listen) = listen
        && reach == Reach::Loopback
        && !is_loopback(listen)
    {
        let text = format!(
            "{listen} is not loopback, and a plain connection has no token: refuses to start \
             unless server.insecure = true"
        );
        section.problem(place, "listen", &text);
    }
    section.close();
    Some(Tcp {
        listen: listen?,
        stream: stream?,
        framing: framing.unwrap_or(Framing::Lines),
        content_type: content_type.unwrap_or_else(|| OCTET_STREAM.into()),
    })
}
