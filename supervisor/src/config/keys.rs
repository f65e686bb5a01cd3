//! Keys: how their paths are written, and which known one is nearest.

/// The path of `key` inside the section at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let key =
        if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() || key.is_empty() { format!("{path}{key}") } else { format!("{path}.{key}") }
}

/// What to write instead of `key`.
pub(super) fn advice(key: &str, known: &[&'static str]) -> String {
    let key = key.to_lowercase();
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&key, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3));
    if let Some((_, near)) = near {
        return format!("did you mean {near:?}?");
    }
    let mut known = known.to_vec();
    known.sort_unstable();
    format!("known keys: {}", known.join(", "))
}
