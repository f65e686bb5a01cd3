//! Tables for people.

use std::io::{self, Write as _};

use serde_json::Value;

/// Prints rows under their headings, in columns.
pub(super) fn print(headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(headings.get(column).map_or(0, |heading| heading.len()))
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = io::stdout().lock();
    let headings: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A value as a cell.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// The rows of a list of objects: the named members of each, a dot leading into an object.
pub(super) fn rows(list: &Value, members: &[&str]) -> Vec<Vec<String>> {
    let member = |item: &Value, path: &str| {
        let found = path.split('.').try_fold(item, |value, name| value.get(name));
        found.map_or_else(|| "-".to_owned(), cell)
    };
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| members.iter().map(|path| member(item, path)).collect()).collect()
}
