//! What was said, as a tree in which every key knows where it was said.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::Place;

/// Most characters of a value that are shown in an error.
const SHOWN: usize = 60;

/// Keys and what they were given.
pub(super) type Table = BTreeMap<String, Node>;

/// One value. It can't be printed: it may be a secret.
pub(super) struct Node {
    /// Where its key stands; for an item of a list, where it stands itself.
    pub(super) place: Place,
    /// What it is.
    pub(super) value: Value,
    /// The text of a variable, which may mean a string although it looks like something else.
    pub(super) raw: Option<String>,
}

/// What a value can be.
pub(super) enum Value {
    /// True or false.
    Boolean(bool),
    /// A date or a time. No key takes one.
    Date,
    /// A number with a point, or one of the names that are no number.
    Float(f64),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
    /// A string.
    Text(String),
    /// A whole number; one too large for any key is the largest.
    Whole(i128),
}

/// A value that its key can't take.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Where.
    pub(super) place: Place,
    /// Why; the key goes before it.
    pub(super) text: String,
}

impl Node {
    /// The string that this is.
    pub(super) fn text(&self) -> Option<&str> {
        match (&self.raw, &self.value) {
            (Some(text), _) | (None, Value::Text(text)) => Some(text),
            (
                None,
                Value::Boolean(_)
                | Value::Date
                | Value::Float(_)
                | Value::List(_)
                | Value::Table(_)
                | Value::Whole(_),
            ) => None,
        }
    }

    /// The list that this is.
    pub(super) fn list(&self) -> Option<&[Self]> {
        if let Value::List(items) = &self.value { Some(items) } else { None }
    }

    /// Whether this is a table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }

    /// That this is not what is expected.
    pub(super) fn unfit(&self, expected: &str) -> Wrong {
        self.wrong(format!("{} does not fit; expected {expected}", self.shown()))
    }

    /// That this is not what is expected. Text is not shown: it may be a secret in a wrong place.
    pub(super) fn unfit_unseen(&self, expected: &str) -> Wrong {
        match self.text() {
            Some(_) => self.wrong(format!("a string does not fit; expected {expected}")),
            None => self.unfit(expected),
        }
    }

    /// That this is wrong.
    pub(super) fn wrong(&self, text: impl Into<String>) -> Wrong {
        Wrong { place: self.place.clone(), text: text.into() }
    }

    /// This value, for people.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Boolean(value) => value.to_string(),
            Value::Date => "a date".to_owned(),
            Value::Float(value) => format!("{value:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Text(text) if text.chars().count() > SHOWN => {
                let begin: String = text.chars().take(SHOWN).collect();
                format!("{begin:?}…")
            }
            Value::Text(text) => format!("{text:?}"),
            Value::Whole(value) => value.to_string(),
        }
    }
}

/// The tree of a parsed table; `place` gives the place of an offset into the text.
pub(super) fn table(parsed: DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Table {
    let entry = |(key, node): (toml::Spanned<_>, toml::Spanned<DeValue<'_>>)| {
        let at = place(key.span().start);
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        (key.into_owned(), self::node(node.into_inner(), at, place))
    };
    parsed.into_iter().map(entry).collect()
}

/// The tree of a parsed value that stands `at`.
pub(super) fn node(parsed: DeValue<'_>, at: Place, place: &dyn Fn(usize) -> Place) -> Node {
    let value = match parsed {
        DeValue::Array(items) => {
            let item = |item: toml::Spanned<DeValue<'_>>| {
                let at = place(item.span().start);
                node(item.into_inner(), at, place)
            };
            Value::List(items.into_iter().map(item).collect())
        }
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Float(value) => Value::Float(value.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Integer(value) => {
            let most = if value.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            Value::Whole(i128::from_str_radix(value.as_str(), value.radix()).unwrap_or(most))
        }
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Table(entries) => Value::Table(table(entries, place)),
    };
    Node { place: at, value, raw: None }
}
