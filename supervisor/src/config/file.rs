//! Reading the file: its bytes, its text, its tree.

use std::{fs::File, io::Read, path::Path};

use toml::de::DeTable;

use super::{
    error::{Place, Problems},
    node::{Table, table},
};

/// Largest file that is read.
const FILE_BYTES: u64 = 1 << 20;

/// The file's text; empty, and a problem added, when there is none to be had.
pub(super) fn read(path: &Path, problems: &mut Problems) -> String {
    match bytes(path).and_then(text) {
        Ok(text) => text,
        Err((place, text)) => {
            problems.add(place, text);
            String::new()
        }
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, (Place, String)> {
    let fail = |error: std::io::Error| (Place::File, format!("can't be read: {error}"));
    let file = File::open(path).map_err(fail)?;
    if file.metadata().map_err(fail)?.is_dir() {
        let text = "can't be read: it is a directory; expected a file";
        return Err((Place::File, text.to_owned()));
    }
    let mut bytes = Vec::new();
    // One byte more shows that there is more; the length that a file claims may be wrong.
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, (Place, String)> {
    if bytes.len() as u64 > FILE_BYTES {
        let text = format!("is larger than {FILE_BYTES} bytes (1 MiB), the most that is read");
        return Err((Place::File, text));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let lines = error.as_bytes().iter().take(good).filter(|b| **b == b'\n');
        (Place::Line(lines.count() + 1), "is not UTF-8; expected UTF-8 text".to_owned())
    })
}

/// The tree of the text; empty, and problems added, when it is not TOML.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Table {
    if text.starts_with('\u{feff}') {
        let why = "begins with a byte order mark; expected UTF-8 text without one";
        problems.add(Place::Line(1), why);
        return Table::new();
    }
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let place = |offset| Place::Line(starts.partition_point(|start| *start <= offset).max(1));
    let (parsed, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return table(parsed.into_inner(), &place);
    }
    for error in errors {
        let span = error.span().unwrap_or_default();
        let message = error.message().replace('\n', ", ");
        // Other messages stay without the text: it may be a secret.
        let key = Some(span.clone())
            .filter(|_| message.starts_with("duplicate key"))
            .and_then(|span| text.get(span));
        let why = key.map_or_else(
            || format!("not TOML: {message}"),
            |key| format!("duplicate key {key:?}; expected each key once"),
        );
        problems.add(place(span.start), why);
    }
    Table::new()
}
