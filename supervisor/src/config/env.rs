//! What the environment says: `ROLLCALL_SECTION_KEY`, `ROLLCALL_SECTION__NAME__KEY`.

use std::net::{IpAddr, SocketAddr};

use toml::de::DeValue;

use super::{
    SECTIONS,
    error::{Place, Problems},
    node::{Node, Table, Value, node},
};

/// Lays the variables over the tree.
pub(super) fn apply(
    env: impl IntoIterator<Item = (String, String)>,
    tree: &mut Table,
    problems: &mut Problems,
) {
    let mut variables: Vec<_> = env.into_iter().collect();
    variables.sort();
    for (name, text) in variables {
        if is_of_a_service(&name, &text) {
            continue;
        }
        let Some(path) = path(&name) else { continue };
        let value = value(&name, text);
        if let Err(why) = set(tree, &path, value) {
            problems.add(Place::Variable(name), why);
        }
    }
}

/// Whether an orchestrator has made a variable for a Service (Kubernetes does, for each one beside
/// a container, and Docker for linked containers): `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT[_PORT]`,
/// `NAME_PORT=tcp://ADDRESS:PORT`, `NAME_PORT_7400_TCP[_PROTO|_PORT|_ADDR]`. A Service may be
/// called `rollcall-server`. Name and value have to fit, so that a mistyped setting is none of
/// them.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let is_host = || value.parse::<IpAddr>().is_ok();
    let is_port = || value.parse::<u16>().is_ok();
    let protocols = ["tcp", "udp", "sctp"];
    let is_url = || {
        let parts = value.split_once("://");
        parts.is_some_and(|(protocol, place)| {
            protocols.contains(&protocol) && place.parse::<SocketAddr>().is_ok()
        })
    };
    if name.ends_with("_SERVICE_HOST") && is_host() {
        return true;
    }
    if (name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_")) && is_port() {
        return true;
    }
    if name.ends_with("_PORT") && is_url() {
        return true;
    }
    let Some((_, port)) = name.rsplit_once("_PORT_") else {
        return false;
    };
    let mut parts = port.splitn(3, '_');
    let number = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
    let protocol = parts.next().unwrap_or_default().to_ascii_lowercase();
    let fits = match parts.next() {
        None => is_url(),
        Some("PROTO") => value == protocol,
        Some("PORT") => is_port(),
        Some("ADDR") => is_host(),
        Some(_) => false,
    };
    number && protocols.contains(&&*protocol) && fits
}

/// The path of keys that the variable sets, if it is about a section at all; other variables are
/// flags' or somebody else's.
fn path(name: &str) -> Option<Vec<String>> {
    let name = name.strip_prefix("ROLLCALL_")?.to_ascii_lowercase();
    let (section, rest) = name.split_once('_')?;
    if !SECTIONS.contains(&section) {
        return None;
    }
    let rest = rest.strip_prefix('_').unwrap_or(rest);
    let keys = std::iter::once(section).chain(rest.split("__"));
    Some(keys.map(str::to_owned).collect())
}

/// The variable's value: what TOML reads in it, or else the text itself.
fn value(name: &str, text: String) -> Node {
    let place = Place::Variable(name.to_owned());
    let parsed = DeValue::parse(&text)
        .ok()
        .map(|parsed| node(parsed.into_inner(), place.clone(), &|_| place.clone()))
        .filter(|node| !node.is_table());
    let value = parsed.map_or_else(|| Value::Text(text.clone()), |node| node.value);
    // A quoted string is meant without its quotes.
    let raw = (!matches!(value, Value::Text(_) | Value::List(_))).then_some(text);
    Node { place, value, raw }
}

fn set(tree: &mut Table, path: &[String], value: Node) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else {
        return Ok(());
    };
    if key.is_empty() {
        return Err("names no key; expected ROLLCALL_SECTION__NAME__KEY".to_owned());
    }
    if rest.is_empty() {
        if let Some(Place::Variable(other)) = tree.get(key).map(|node| &node.place) {
            return Err(format!("sets the same key as {other}; expected one of them"));
        }
        tree.insert(key.clone(), value);
        return Ok(());
    }
    let inner = tree.entry(key.clone()).or_insert_with(|| Node {
        place: value.place.clone(),
        value: Value::Table(Table::new()),
        raw: None,
    });
    if let Value::Table(inner) = &mut inner.value {
        set(inner, rest, value)
    } else {
        Err(format!("{key} is no table"))
    }
}
