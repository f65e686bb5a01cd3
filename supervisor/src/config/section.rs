//! Reading one section key by key, so that whatever is left over is unknown.

use super::{
    error::{Place, Problems},
    keys,
    node::{Node, Table, Value, Wrong},
};

/// What is said of a key of the contract that is not there yet.
pub(super) const UNSUPPORTED: &str = "is not supported by this version";

/// One section while it is read.
pub(super) struct Section<'a> {
    path: String,
    /// How it stands in the file.
    header: String,
    place: Place,
    left: Table,
    asked: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Section<'a> {
    /// The section at `path`; empty if there is no `node`, or if it is no table.
    pub(super) fn open(path: String, node: Option<Node>, problems: &'a mut Problems) -> Self {
        let (mut place, mut left) = (Place::File, Table::new());
        if let Some(node) = node {
            place = node.place.clone();
            let wrong = node.unfit(&format!("a table, [{path}]"));
            if let Value::Table(table) = node.value {
                left = table;
            } else {
                problems.add(wrong.place, format!("{path}: {}", wrong.text));
            }
        }
        let header = format!("[{path}]");
        Self { path, header, place, left, asked: Vec::new(), problems }
    }

    /// What `check` makes of the key's value; nothing, when it is absent or wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&Node) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.asked.push(key);
        match check(&self.left.remove(key)?) {
            Ok(value) => Some(value),
            Err(Wrong { place, text }) => {
                let path = keys::join(&self.path, key);
                self.problems.add(place, format!("{path}: {text}"));
                None
            }
        }
    }

    /// This section, with what a flag says of one key.
    pub(super) fn with(mut self, key: &str, flag: &'static str, said: Option<String>) -> Self {
        if let Some(text) = said {
            let node = Node { place: Place::Flag(flag), value: Value::Text(text), raw: None };
            self.left.insert(key.to_owned(), node);
        }
        self
    }

    /// Takes out what is no table: its keys, and where they stand.
    pub(super) fn scalars(&mut self) -> Vec<(String, Place)> {
        let scalars = self.left.extract_if(.., |_, node| !node.is_table());
        scalars.map(|(key, node)| (key, node.place)).collect()
    }

    /// Where the key stands that was not read yet.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.left.get(key).map(|node| node.place.clone())
    }

    /// Takes a key out that was complained of.
    pub(super) fn drop_key(&mut self, key: &str) {
        self.left.remove(key);
    }

    /// Refuses keys of the contract that this version does not have.
    pub(super) fn refuse(&mut self, keys: &[&'static str]) {
        for key in keys {
            if let Some(node) = self.left.remove(*key) {
                self.problem(Some(node.place), key, UNSUPPORTED);
            }
        }
    }

    /// Takes a part that is a section itself.
    pub(super) fn part(&mut self, key: &'static str) -> Section<'_> {
        self.asked.push(key);
        let node = self.left.remove(key);
        Section::open(keys::join(&self.path, key), node, self.problems)
    }

    /// Adds a problem of a key, or of the section where it begins.
    pub(super) fn problem(&mut self, place: Option<Place>, key: &str, text: &str) {
        let place = place.unwrap_or_else(|| self.place.clone());
        let path = keys::join(&self.path, key);
        self.problems.add(place, format!("{path}: {text}"));
    }

    /// Reads all that is left as sections with names of their own.
    pub(super) fn each<T>(
        mut self,
        check: impl Fn(&str) -> Result<(), String>,
        read: impl Fn(&str, Section<'_>) -> T,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for (name, node) in std::mem::take(&mut self.left) {
            if let Err(text) = check(&name) {
                self.problem(Some(node.place), &name, &text);
                continue;
            }
            let path = keys::join(&self.path, &name);
            if !node.is_table() {
                let wrong = node.unfit(&format!("a table, [{path}]"));
                self.problem(Some(wrong.place), &name, &wrong.text);
                continue;
            }
            all.push(read(&name, Section::open(path, Some(node), self.problems)));
        }
        all
    }

    /// Reads all that is left as keys with names of their own.
    pub(super) fn all<T>(mut self, read: impl Fn(&str, &Node) -> Result<T, Wrong>) -> Vec<T> {
        let mut all = Vec::new();
        for (name, node) in std::mem::take(&mut self.left) {
            match read(&name, &node) {
                Ok(value) => all.push(value),
                Err(Wrong { place, text }) => self.problem(Some(place), &name, &text),
            }
        }
        all
    }

    /// Reads a list of sections, `[[key]]`; `None` when there is no such list.
    pub(super) fn items<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        self.asked.push(key);
        let node = self.left.remove(key)?;
        let path = keys::join(&self.path, key);
        let header = format!("[[{path}]]");
        let wrong = node.unfit_unseen(&format!("tables, each beginning with {header}"));
        let Value::List(items) = node.value else {
            self.problems.add(wrong.place, format!("{path}: {}", wrong.text));
            return Some(Vec::new());
        };
        let mut all = Vec::new();
        for item in items {
            if !item.is_table() {
                let wrong = item.unfit_unseen(&format!("a table, {header}"));
                self.problems.add(wrong.place, format!("{path}: {}", wrong.text));
                continue;
            }
            let section = Section::open(path.clone(), Some(item), self.problems);
            all.push(read(Section { header: header.clone(), ..section }));
        }
        Some(all)
    }

    /// Lets go of what is left: without a key that is wrong nobody knows what else may stand here.
    pub(super) fn forget(&mut self) {
        self.left.clear();
    }

    /// Complains of what is left.
    pub(super) fn close(self) {
        for (key, node) in self.left {
            let place = if self.path.is_empty() {
                "at the top".to_owned()
            } else {
                format!("in {}", self.header)
            };
            let advice = match self.path.split_once('.') {
                Some((section, name)) if node.is_table() => {
                    let whole = format!("{}.{key}", name.trim_matches('"'));
                    format!("a name with a dot is quoted: [{section}.{whole:?}]")
                }
                Some(_) | None => keys::advice(&key, &self.asked),
            };
            self.problems.add(node.place, format!("unknown key {key:?} {place}; {advice}"));
        }
    }
}
