//! The environment.

use super::*;

#[test]
fn the_environment_is_read() {
    let config = of_env(&[
        ("ROLLCALL_SERVER_LISTEN", "127.0.0.1:1"),
        ("ROLLCALL_LIMITS_MESSAGE_BYTES", "17"),
        ("ROLLCALL_LIMITS__BATCH_BYTES", "2 MiB"),
        ("ROLLCALL_JOURNAL_PATH", "1234"),
        ("ROLLCALL_STREAMS_CREATE", "never"),
        ("ROLLCALL_STREAMS__ORDERS__TIMEOUT", "\"5s\""),
        ("ROLLCALL_STREAMS__ORDERS__MULTIPLIER", "3"),
        ("ROLLCALL_STREAMS__ORDERS__POOL", "true"),
        ("ROLLCALL_POOLS__DEFAULT__WORKERS", "[\"http://a\"]"),
        ("ROLLCALL_LOG", "debug"),
        ("ROLLCALL_URL", "http://a"),
        ("ROLLCALL_TOKEN", "x"),
        ("ROLLCALL_CONFIG", "x"),
        ("ROLLCALL_LISTEN", "x"),
        ("ROLLCALL_DATA", "x"),
        ("ROLLCALL_SERVER", "x"),
        ("ROLLCALL_SERVICE_HOST", "x"),
        ("SERVER_LISTEN", "x"),
    ])
    .unwrap();
    assert_eq!(config.server.listen.port(), 1);
    assert_eq!((config.limits.message_bytes, config.limits.batch_bytes), (17, 2 << 20));
    assert_eq!(config.journal.path, Path::new("1234"));
    assert!(!config.streams.create);
    let orders = stream(&config, "orders");
    assert_eq!(orders.ladder.timeout, Duration::from_secs(5));
    assert_eq!(orders.ladder.multiplier_permille, 3000);
    assert_eq!(orders.pool.as_deref(), Some("true"));
    assert_eq!(config.pools[0].workers.len(), 1);
}

#[test]
fn the_environment_is_checked() {
    for (env, said) in [
        (
            [("ROLLCALL_SERVER_LISTN", "x")].as_slice(),
            "ROLLCALL_SERVER_LISTN: unknown key \"listn\" in [server]; did you mean \"listen\"?",
        ),
        (
            &[("ROLLCALL_SERVER__", "x")],
            "ROLLCALL_SERVER__: names no key; expected ROLLCALL_SECTION__NAME__KEY",
        ),
        (
            &[("ROLLCALL_STREAMS__CREATE", "never"), ("ROLLCALL_STREAMS__CREATE__WINDOW", "1")],
            "ROLLCALL_STREAMS__CREATE__WINDOW: create is no table",
        ),
        (
            &[("ROLLCALL_STREAMS__A__WINDOW", "0x0")],
            "ROLLCALL_STREAMS__A__WINDOW: streams.a.window: 0 does not fit; expected a whole \
             number from 1 to 1048576",
        ),
        (
            &[("ROLLCALL_STREAMS__A__WINDOW", "5\n[server]")],
            "ROLLCALL_STREAMS__A__WINDOW: streams.a.window: \"5\\n[server]\" does not fit",
        ),
        (
            &[("ROLLCALL_STREAMS__A__WINDOW", "5 6")],
            "ROLLCALL_STREAMS__A__WINDOW: streams.a.window: \"5 6\" does not fit",
        ),
        (
            &[("ROLLCALL_STREAMS_A_WINDOW", "1")],
            "ROLLCALL_STREAMS_A_WINDOW: streams.a_window: stands outside of a stream",
        ),
    ] {
        let error = of_env(env).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    let twice = [("ROLLCALL_SERVER_INSECURE", "true"), ("ROLLCALL_SERVER__INSECURE", "true")];
    let said = "ROLLCALL_SERVER__INSECURE: sets the same key as ROLLCALL_SERVER_INSECURE; \
                expected one of them";
    assert_eq!(of_env(&twice).unwrap_err().to_string(), said);
}
