//! Files that are none, and texts of any kind.

use std::fs;

use proptest::prelude::*;

use super::*;

#[test]
fn files_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let load = |path: &Path| Config::load(Some(path), [], Overrides::default());
    let file = dir.path().join("c.toml");
    let said = |path: &Path| {
        let error = load(path).unwrap_err();
        let [line] = error.lines() else { panic!("{error}") };
        let path = path.display().to_string();
        line.strip_prefix(&path).unwrap().to_owned()
    };
    assert!(said(&file).starts_with(": can't be read: "));
    assert!(said(dir.path()).starts_with(": can't be read: it is a directory"));
    for (bytes, why) in [
        (b"\n\xff".to_vec(), ":2: is not UTF-8; expected UTF-8 text"),
        (
            vec![b'\n'; (1 << 20) + 1],
            ": is larger than 1048576 bytes (1 MiB), the most that is read",
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(said(&file), why);
    }
    fs::write(&file, vec![b'\n'; 1 << 20]).unwrap();
    assert_eq!(load(&file), Ok(Config::default()));
}

/// Text that is nearly a configuration.
fn text() -> impl Strategy<Value = String> {
    let words = "server|journal|streams|pools|subscriptions|listen|window|workers|url|secret\
                 |\\[|\\]|\\[\\[|\\]\\]|\\{|\\}|=|\\.|\"|'|,|\\*|\n| |#|-1|0|1e400|nan|inf|2s\
                 |whsec_";
    let near = proptest::collection::vec(words, 0..60).prop_map(|words| words.concat());
    prop_oneof![".*", near, "\\PC*"]
}

proptest! {
    #[test]
    fn no_text_panics(text in text(), value in ".*", name in "[A-Z_]{0,12}") {
        let env = [
            (format!("ROLLCALL_SERVER_{name}"), value.clone()),
            (format!("ROLLCALL_STREAMS__{name}"), value.clone()),
            ("ROLLCALL_POOLS__A__WORKERS".to_owned(), value.clone()),
            ("ROLLCALL_SUBSCRIPTIONS__A__URL".to_owned(), value),
        ];
        let problems = Problems::new("c.toml".to_owned());
        let _ = Config::read(&text, env, Overrides::default(), problems);
        checks::text(&text);
    }

    #[test]
    fn addresses_are_the_same_when_they_were_written_down(
        parts in proptest::collection::vec(
            "https?://|tcp://|//|:|@|/|\\?|#|\\[::1\\]|\\[|\\]|a\\.example|10\\.0\\.0\\.9\
             |[0-9]{1,6}|framing=(lines|length)|ack=(line|none)|&|%41|\\PC",
            0..8,
        ),
    ) {
        checks::address(&parts.concat());
    }

    #[test]
    fn numbers_of_any_kind_are_taken_or_refused(
        place in any::<u8>(),
        sign in "[-+]?",
        number in prop_oneof![any::<u64>(), prop::sample::select(vec![
            0, 1, 999, 1000, u64::MAX >> 1, 1 << 63, u64::MAX - 1, u64::MAX,
        ])],
        rest in prop::sample::select(vec![
            "", ".0", ".5", "e3", "e400", "ms", "s", "us", "h", "days", "years", "KiB", "EiB",
            "0000000000", "PiB",
        ]),
        quoted in any::<bool>(),
    ) {
        let text = format!("{sign}{number}{rest}");
        checks::number(place, &if quoted { format!("{text:?}") } else { text });
    }
}

#[test]
fn the_ends_of_every_range_are_taken() {
    for place in 0..=u8::MAX {
        for text in ["\"\"", "\"0s\"", "0", "1", "\"1ms\"", "\"1day\"", "[]"] {
            checks::number(place, text);
        }
    }
}

#[test]
fn every_number_of_a_configuration_is_asked_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let mut found = 0;
    for file in fs::read_dir(folder).unwrap() {
        let Ok(text) = fs::read_to_string(file.unwrap().path()) else { continue };
        for (key, rest) in text.split(".read(\"").skip(1).filter_map(|rest| rest.split_once('"')) {
            let read = rest.split(';').next().unwrap().split(".read(").next().unwrap();
            if ["whole(node", "size(node", "duration(node", "permille(node"]
                .iter()
                .any(|kind| read.contains(kind))
            {
                let key = format!("{key} = ");
                let known = checks::NUMBERS.iter().any(|(before, _)| before.ends_with(&key));
                assert!(known, "{key} is not in the list");
                found += 1;
            }
        }
    }
    assert!(found >= 28, "{found} numbers were found in the sources");
}
