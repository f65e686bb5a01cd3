//! What is wrong in the text, and how it is said.

use super::*;

/// Texts, and what is said of them.
const WRONG: &[(&str, &str)] = &[
    // Unknown keys.
    (
        "[streams.orders]\nwindw = 3",
        "c.toml:2: unknown key \"windw\" in [streams.orders]; did you mean \"window\"?",
    ),
    ("\n[stream.orders]", "c.toml:2: unknown key \"stream\" at the top; did you mean \"streams\"?"),
    (
        "[limits]\nsomething = 3",
        "c.toml:2: unknown key \"something\" in [limits]; known keys: batch_bytes, \
         connections_per_address, intake_bytes, message_bytes",
    ),
    (
        "[streams.orders.eu]\nwindow = 3",
        "c.toml:1: unknown key \"eu\" in [streams.orders]; a name with a dot is quoted: \
             [streams.\"orders.eu\"]",
    ),
    (
        "[streams]\nwindow = 3",
        "c.toml:2: streams.window: stands outside of a stream; expected [streams.NAME], or \
             [streams.\"*\"] for all streams",
    ),
    (
        "streams.a.retention_bytes = 1",
        "c.toml:1: streams.a.retention_bytes: stands in [journal]: all streams share one journal",
    ),
    // Addresses.
    (
        "server.listen = \"x\"",
        "c.toml:1: server.listen: \"x\" does not fit; expected an IP address and a port, as \
             \"127.0.0.1:7400\" or \"[::1]:7400\"",
    ),
    (
        "[server]\nlisten = \"0.0.0.0:7400\"",
        "c.toml:2: server.listen: 0.0.0.0:7400 is not loopback and there are no tokens: \
             refuses to start unless server.insecure = true",
    ),
    // Wrong kinds of values.
    ("server = 1", "c.toml:1: server: 1 does not fit; expected a table, [server]"),
    (
        "[[streams.a]]",
        "c.toml:1: streams.a: stands outside of a stream; expected [streams.NAME], or \
             [streams.\"*\"] for all streams",
    ),
    (
        "server.insecure = \"yes\"",
        "c.toml:1: server.insecure: \"yes\" does not fit; expected true or false",
    ),
    (
        "[journal]\npath = \"\"",
        "c.toml:2: journal.path: \"\" does not fit; expected a string, not empty",
    ),
    (
        "[journal]\nkind = \"disk\"",
        "c.toml:2: journal.kind: \"disk\" does not fit; expected \"local\" or \"memory\"",
    ),
    (
        "[limits]\nmessage_bytes = -1",
        "c.toml:2: limits.message_bytes: -1 does not fit; expected a number of bytes or a size \
             as \"64 MiB\", from 1 B to 24.0 MiB",
    ),
    (
        "[limits]\nmessage_bytes = 2048\nbatch_bytes = 1024",
        "c.toml:3: limits.batch_bytes: is less than limits.message_bytes; expected at least \
             2048 bytes",
    ),
    (
        "[streams.create]",
        "c.toml:1: streams.create: a table does not fit; expected \"auto\" or \"never\"",
    ),
    (
        "[streams.\"a/b\"]",
        "c.toml:1: streams.\"a/b\": bad name; expected 1 to 128 characters of A-Z, a-z, 0-9, \
             '.', '_', '-' and '*' (any run of characters)",
    ),
    (
        "[pools.none]",
        "c.toml:1: pools.none: \"none\" is no pool's name: it stands for streams without one",
    ),
    (
        "[pools.a]\nworkers = \"http://a\"",
        "c.toml:2: pools.a.workers: \"http://a\" does not fit; expected a list",
    ),
    (
        "[pools.a]\nworkers = [\n\"http://a\",\n\"http://a\"]",
        "c.toml:4: pools.a.workers: stands twice in the list; expected each item once",
    ),
    (
        "[subscriptions.a]\nurl = \"http://a\"\nstart = -1",
        "c.toml:3: subscriptions.a.start: -1 does not fit; expected \"live\", \"beginning\" or \
             a position, a whole number from 0",
    ),
    (
        "[subscriptions]\na = 1\n[[pools.b]]",
        "c.toml:2: subscriptions.a: 1 does not fit; expected a table, [subscriptions.a]\n\
         c.toml:3: pools.b: a list does not fit; expected a table, [pools.b]",
    ),
    (
        "[server]\nlisten = \"0.0.0.0:1\"\ninsecure = 1",
        "c.toml:3: server.insecure: 1 does not fit; expected true or false",
    ),
    // What is not there yet.
    (
        "[journal]\nkind = \"nats\"",
        "c.toml:2: journal.kind: \"nats\" is not supported by this version; expected \"local\" \
             or \"memory\"",
    ),
    (
        "[pools.a]\nworkers = [\"tcp://a:7\"]",
        "c.toml:2: pools.a.workers: \"tcp://a:7\" is no http:// or https:// URL: it has to begin \
             with http:// or https://; expected an http:// or https:// URL, as \
             \"http://10.0.0.5:9000\"",
    ),
    (
        "[server]\nallow_destinations = [\"10.0.0.0/33\"]",
        "c.toml:2: server.allow_destinations: \"10.0.0.0/33\" is neither a network, nor an \
             address, nor a host's name",
    ),
    // Not TOML.
    (
        "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"",
        "c.toml:3: duplicate key \"listen\"; expected each key once",
    ),
    (
        "\u{feff}[server]",
        "c.toml:1: begins with a byte order mark; expected UTF-8 text without one",
    ),
];

#[test]
fn what_is_wrong_is_said() {
    for (text, said) in WRONG {
        assert_eq!(of_text(text).unwrap_err().to_string(), *said, "{text}");
    }
}

#[test]
fn bad_values_name_their_key() {
    let stream = |key: &str| format!("[streams.orders]\n{key} = ");
    for (key, bad, range) in [
        ("window", "0 -1 1048577 18446744073709551616 1e3 '5' nan", "from 1 to 1048576"),
        (
            "max_in_flight",
            "0 -1 65537 99999999999999999999999999999999999999999",
            "from 1 to 65536",
        ),
        ("max_attempts", "0 1001 true [] {}", "from 1 to 1000"),
        ("max_backlog", "0 -1 1979-05-27", "from 1 to 1000000000000"),
        ("multiplier", "nan inf -inf -1.0 0.99 1000.1 1001 -1 '2' 1e300", "from 1.0 to 1000.0"),
        ("timeout", "'0s' '-1s' '2' 2 '2d' '' '1e400s' 'nan' '1ns' true", "from 1ms to 1day"),
        ("jitter", "'-1s' -1 '25h' 'x' inf", "from 0s to 1day"),
        ("on_exhausted", "'stop' 1", "expected \"hold\" or \"skip\""),
        ("pool", "1 '' []", "expected a string, not empty"),
    ] {
        for bad in bad.split(' ') {
            let error = of_text(&format!("{}{bad}", stream(key))).unwrap_err();
            let [line] = error.lines() else { panic!("{error}") };
            assert!(line.starts_with(&format!("c.toml:2: streams.orders.{key}: ")), "{line}");
            assert!(line.ends_with(range), "{line}");
        }
    }
}

#[test]
fn bad_urls_and_secrets_are_refused() {
    let read = |key: &str, bad: &str| {
        let url = if key == "url" { "" } else { "url = 'http://a'\n" };
        let text = format!("[subscriptions.a]\n{url}{key} = {bad}");
        let error = of_text(&text).unwrap_err().to_string();
        assert!(error.contains(&format!(": subscriptions.a.{key}: ")), "{bad}: {error}");
        assert!(!error.contains('\n'), "{bad}: {error}");
        error
    };
    for bad in [
        "''",
        "1",
        "[]",
        "[1]",
        "'a'",
        "'http://'",
        "'tcp://a'",
        "'http://a:0'",
        "'http://a:99999'",
        "'http://a:'",
        "'http://a b'",
        "'ftp://a'",
    ] {
        read("url", bad);
    }
    assert!(!read("url", "'http://user:hunter2@a'").contains("hunter2"));
    for bad in ["''", "'whsec_'", "'whsec_hunter2*'", "'hunter2'", "['whsec_AQ', 'hunter2']", "[]"]
    {
        assert!(!read("secret", bad).contains("hunter2"));
    }
    for bad in ["[]", "['']", "['a b']", "[1]", "['a', 'a']"] {
        read("streams", bad);
    }
    for bad in ["0", "10001", "'1'"] {
        read("batch", bad);
    }
}

#[test]
fn what_is_not_there_yet_is_refused() {
    for (text, key) in [
        ("[[schedules]]", "schedules"),
        ("[cluster]\nname = 'x'", "cluster"),
        ("journal.replicas = 3", "journal.replicas"),
    ] {
        let said = format!("c.toml:1: {key}: is not supported by this version");
        assert_eq!(of_text(text).unwrap_err().to_string(), said);
    }
    let error = of_env(&[("ROLLCALL_CLUSTER_NAME", "x")]).unwrap_err();
    let said = "ROLLCALL_CLUSTER_NAME: cluster: is not supported by this version";
    assert_eq!(error.to_string(), said);
}

#[test]
fn all_problems_are_said_by_line() {
    let text = "[server]\nlisten = 5\nlistn = 1\n[streams.a]\nwindow = 0\n[limits]\nx = 1";
    let error = from(text, &[("ROLLCALL_JOURNAL_KIND", "x")], Overrides::default()).unwrap_err();
    let places: Vec<_> = error.lines().iter().map(|line| line.split(": ").next()).collect();
    let expected = ["c.toml:2", "c.toml:3", "c.toml:5", "c.toml:7", "ROLLCALL_JOURNAL_KIND"];
    assert_eq!(places, expected.map(Some));
    assert_eq!(error.to_string().lines().count(), 5);
}

#[test]
fn long_lists_and_many_problems_are_cut() {
    let text = format!("pools.a.workers = [{}]", "'http://a',".repeat(1025));
    let said = "c.toml:1: pools.a.workers: has 1025 items; expected at most 1024";
    assert_eq!(of_text(&text).unwrap_err().to_string(), said);
    let error = of_text(&"=\n".repeat(1000)).unwrap_err();
    assert_eq!(error.lines().len(), 51);
    let last = &error.lines()[50];
    assert!(last.starts_with("c.toml: and ") && last.ends_with(" more problems"), "{last}");
}
