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

/// What Kubernetes puts into every container beside a Service.
fn of_a_service(name: &str, ip: &str, port: &str, protocol: &str) -> Vec<(String, String)> {
    let address = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    let (url, upper) = (format!("{protocol}://{address}"), protocol.to_ascii_uppercase());
    [
        ("SERVICE_HOST".to_owned(), ip),
        ("SERVICE_PORT".to_owned(), port),
        ("SERVICE_PORT_HTTP".to_owned(), port),
        ("SERVICE_PORT_A_PORT_7".to_owned(), port),
        ("PORT".to_owned(), &url),
        (format!("PORT_{port}_{upper}"), &url),
        (format!("PORT_{port}_{upper}_PROTO"), protocol),
        (format!("PORT_{port}_{upper}_PORT"), port),
        (format!("PORT_{port}_{upper}_ADDR"), ip),
    ]
    .into_iter()
    .map(|(key, value)| (format!("ROLLCALL_{name}_{key}"), value.to_owned()))
    .collect()
}

#[test]
fn what_an_orchestrator_says_of_services_is_no_setting() {
    let names = ["LIMITS_MESSAGE_BYTES", "POOLS__DEFAULT", "STREAMS_A_SERVICE", "SERVER_PORT"];
    let sections = SECTIONS.map(str::to_ascii_uppercase);
    let mut count = 0;
    for name in names.into_iter().chain(sections.iter().map(String::as_str)) {
        for (ip, port, protocol) in
            [("10.96.14.2", "7400", "tcp"), ("fd00::1", "53", "udp"), ("10.0.0.1", "1", "sctp")]
        {
            let variables = of_a_service(name, ip, port, protocol);
            count += variables.len();
            let variables: Vec<_> =
                variables.iter().map(|(name, value)| (&**name, &**value)).collect();
            let read = of_env(&variables).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(read, Config::default(), "{name}");
        }
    }
    assert_eq!(count, 15 * 3 * 9);
}

#[test]
fn a_mistyped_setting_is_nothing_of_a_service() {
    for (name, value) in [
        ("ROLLCALL_SERVER_PORT", "7400"),
        ("ROLLCALL_SERVER_PORT", "http://10.0.0.1:7400"),
        ("ROLLCALL_SERVER_SERVICE_HOST", "rollcall.internal"),
        ("ROLLCALL_SERVER_SERVICE_PORT", "none"),
        ("ROLLCALL_JOURNAL_PORT_7400_TCP", "7400"),
        ("ROLLCALL_JOURNAL_PORT_7400_TCP_PROTO", "udp"),
        ("ROLLCALL_JOURNAL_PORT_X_TCP_ADDR", "10.0.0.1"),
        ("ROLLCALL_JOURNAL_PORT_7400_HTTP_ADDR", "10.0.0.1"),
        ("ROLLCALL_JOURNAL_PORT_7400_TCP_NAME", "10.0.0.1"),
        ("ROLLCALL_LIMITS_HOST", "10.0.0.1"),
    ] {
        let error = of_env(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
}
