//! What holds for any text. Asked by random tests, and by `tests/fuzz`.

use super::{Config, Overrides, error::Problems};

/// A text is a configuration, or each complaint is one line that begins with the file and, where
/// it is about a line of it, with the number of one that is there.
///
/// # Panics
/// When that is not so.
pub fn text(text: &str) {
    // Files that keys name are opened, and not everything there has an end.
    if ["/dev", "/proc", "/sys"].iter().any(|folder| text.contains(folder)) {
        return;
    }
    let problems = Problems::new("c.toml".to_owned());
    let Err(error) = Config::read(text, [], Overrides::default(), problems) else { return };
    let last = text.split('\n').count();
    assert!(!error.lines().is_empty());
    for line in error.lines() {
        assert!(!line.contains('\n'), "{line:?}");
        let Some(rest) = line.strip_prefix("c.toml:") else { unreachable!("{line:?}") };
        let number = rest.split_once(": ").and_then(|(number, _)| number.parse().ok());
        let is_there = number.is_some_and(|number| (1..=last).contains(&number));
        // What is said of the file as a whole has no line.
        assert!(rest.starts_with(' ') || is_there, "{line:?}");
    }
}
