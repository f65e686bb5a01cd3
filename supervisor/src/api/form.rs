//! How results are written one behind the other.

use crate::web::ResultBody;

/// How results are written one behind the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Server-sent events, each with its cursor.
    Events,
    /// Each a line.
    Lines,
    /// With a comma before each.
    List,
}

impl Form {
    /// Adds a result.
    pub(super) fn write(self, text: &mut Vec<u8>, cursor: u64, body: ResultBody<'_>) {
        match self {
            Self::Events => {
                text.extend_from_slice(b"id: ");
                text.extend_from_slice(cursor.to_string().as_bytes());
                text.extend_from_slice(b"\ndata: ");
                body.write_line(text);
                text.extend_from_slice(b"\n\n");
            }
            Self::Lines => {
                body.write_line(text);
                text.push(b'\n');
            }
            Self::List => {
                text.push(b',');
                body.write_line(text);
            }
        }
    }
}
