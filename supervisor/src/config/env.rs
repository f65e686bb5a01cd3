//! What the environment says: `ROLLCALL_SECTION_KEY`, `ROLLCALL_SECTION__NAME__KEY`.

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
        let Some(path) = path(&name) else { continue };
        let value = value(&name, text);
        if let Err(why) = set(tree, &path, value) {
            problems.add(Place::Variable(name), why);
        }
    }
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
