//! Tokens, certificates and plain connections in the configuration.

use std::fs;

use rollcall_common::http::Framing;

use super::*;
use crate::access::Scope;

fn token(keys: &str) -> String {
    format!("[[tokens]]\nname = 'shop'\nsecret = 's3cret'\nscopes = ['send']\n{keys}\n")
}

fn said(text: &str) -> String {
    of_text(text).unwrap_err().to_string()
}

#[test]
fn tokens_are_read_with_their_scopes_and_streams() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "from a file\n".replace(' ', "-")).unwrap();
    let more = format!(
        "streams = ['orders', 'customer.*']\n[[tokens]]\nname = 'ops'\nsecret_file = {file:?}\n\
         scopes = ['read', 'work', 'admin']"
    );
    let config = of_text(&token(&more)).unwrap();
    let [shop, ops] = &config.tokens[..] else { panic!("{config:?}") };
    assert!(shop.scopes.has(Scope::Send) && !shop.scopes.has(Scope::Read));
    assert_eq!(shop.streams.as_ref().unwrap().len(), 2);
    assert!(ops.scopes.has(Scope::Admin) && ops.streams.is_none());
    let same = Token::new("x".into(), b"from-a-file", ops.scopes);
    assert!(ops.is_same_secret(&same) && !ops.is_same_secret(shop));
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn mistakes_in_tokens_are_named_and_no_secret_is_shown() {
    let one = token("");
    for (text, expected) in [
        (token("[[tokens]]"), "c.toml:5: tokens.name: is missing"),
        (token("stream = 'a'"), "c.toml:5: unknown key \"stream\" in [[tokens]]"),
        (token("streams = ['a/b']"), "c.toml:5: tokens.streams: bad name"),
        (token("secret_file = 'x'"), "c.toml:5: tokens.secret_file: \"x\" can't be read"),
        (one.replace("'send'", "'sing'"), "c.toml:4: tokens.scopes: \"sing\" does not fit"),
        (one.replace("['send']", "[]"), "c.toml:4: tokens.scopes: the list is empty"),
        (one.replace("scopes = ['send']", ""), "c.toml:1: tokens.scopes: are missing"),
        (one.replace("s3cret", "s3cret with blanks"), "c.toml:3: tokens.secret: holds no secret"),
        (one.replace("'s3cret'", "5"), "c.toml:3: tokens.secret: holds no secret"),
        (one.replace("shop", "a b"), "c.toml:2: tokens.name: \"a b\": bad name"),
        (format!("{one}{one}"), "c.toml:1: tokens: \"shop\" has the name of another token"),
        (
            format!("{one}{}", one.replace("shop", "other")),
            "c.toml:1: tokens: \"other\" has the secret of another token",
        ),
        ("tokens = []".to_owned(), "c.toml:1: tokens: there is none"),
        ("tokens = 's3cret'".to_owned(), "c.toml:1: tokens: a string does not fit"),
        ("tokens = ['s3cret']".to_owned(), "c.toml:1: tokens: a string does not fit"),
    ] {
        let said = said(&text);
        assert!(said.contains(expected), "{text}\n{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn who_has_tokens_may_listen_anywhere() {
    let anywhere = "server.listen = '0.0.0.0:1'\n";
    assert!(of_text(&format!("{anywhere}{}", token(""))).is_ok());
    assert!(of_text(&format!("{anywhere}server.insecure = true")).is_ok());
    assert!(said(anywhere).contains("there are no tokens"));
    let admin = said("server.admin_listen = '0.0.0.0:1'");
    assert!(
        admin.starts_with("c.toml:1: server.admin_listen: 0.0.0.0:1 is not loopback"),
        "{admin}"
    );
    let same = said("server.listen = '127.0.0.1:1'\nserver.admin_listen = '127.0.0.1:1'");
    assert!(same.starts_with("c.toml:2: server.admin_listen: is the same"), "{same}");
}

#[test]
fn plain_connections_are_for_the_machine_itself() {
    let tcp = "[[tcp]]\nlisten = '127.0.0.1:1'\nstream = 'a'\n";
    let [feed] = &of_text(tcp).unwrap().tcp[..] else { panic!("one") };
    assert_eq!((feed.framing, &*feed.content_type), (Framing::Lines, "application/octet-stream"));
    let all = format!("{tcp}framing = 'length'\ncontent_type = 'text/plain'");
    let feed = of_text(&all).unwrap().tcp[0].clone();
    assert_eq!((feed.framing, &*feed.content_type), (Framing::Length, "text/plain"));
    let untyped = of_text(&format!("{tcp}content_type = ''")).unwrap();
    assert_eq!(&*untyped.tcp[0].content_type, "");
    let anywhere = tcp.replace("127.0.0.1", "0.0.0.0");
    assert!(of_text(&format!("{anywhere}[server]\ninsecure = true")).is_ok());
    for (text, expected) in [
        (anywhere.clone(), "c.toml:2: tcp.listen: 0.0.0.0:1 is not loopback"),
        (format!("{anywhere}{}", token("")), "and a plain connection has no token"),
        (tcp.replace("'a'", "'a/b'"), "c.toml:3: tcp.stream: \"a/b\" is no stream's name"),
        (format!("{tcp}framing = 'xml'"), "c.toml:4: tcp.framing: \"xml\" does not fit"),
        (format!("{tcp}content_type = \"a\\nb\""), "c.toml:4: tcp.content_type: "),
        ("[[tcp]]".to_owned(), "c.toml:1: tcp.stream: is missing"),
    ] {
        let said = said(&text);
        assert!(said.contains(expected), "{text}\n{said}");
    }
}

#[test]
fn certificates_that_can_t_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.pem");
    fs::write(&file, "nothing").unwrap();
    for (text, expected) in [
        ("server.tls = { }".to_owned(), "c.toml:1: server.tls: needs both cert and key"),
        ("server.tls = { cert = 'x' }".to_owned(), "c.toml:1: server.tls: needs both cert and key"),
        (format!("server.tls = {{ cert = {file:?}, key = {file:?} }}"), "holds no certificate"),
        ("server.tls = { ca = 'x' }".to_owned(), "unknown key \"ca\" in [server.tls]"),
        ("pools.a.tls = { ca = '/nowhere.pem' }".to_owned(), "c.toml:1: pools.a.tls: /nowhere.pem"),
        ("pools.a.tls = { key = 'x' }".to_owned(), "pools.a.tls: needs both cert and key"),
    ] {
        let said = said(&text);
        assert!(said.contains(expected), "{text}\n{said}");
    }
}

#[test]
fn who_can_be_reached_from_elsewhere_does_not_let_the_api_reach_the_machine() {
    let reaches = |text: &str| {
        let guard = of_text(text).unwrap().server.guard();
        guard.check("x", "127.0.0.1".parse().unwrap()).is_ok()
    };
    assert!(reaches(""));
    assert!(reaches("server.admin_listen = '[::1]:1'"));
    for key in ["listen", "admin_listen"] {
        assert!(!reaches(&format!("server.{key} = '0.0.0.0:1'\n{}", token(""))), "{key}");
    }
}

#[test]
fn a_configuration_with_secrets_everywhere_shows_none() {
    // As long as a key of PagerDuty, and good base64.
    const CANARY: &str = "canary0canary0canary0canary0cana";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, CANARY).unwrap();
    let mail = "kind = 'email'\nto = 'a@example.org'\nfrom = 'b@example.org'\nusername = 'u'\n\
                smtp = 'starttls://mail'";
    let text = format!(
        "[subscriptions.a]\nurl = 'http://a'\nsecret = ['whsec_{CANARY}']\n\
         headers = {{ X-A = '{CANARY}', X-B = {{ file = {file:?} }} }}\n\
         [[tokens]]\nname = 'a'\nscopes = ['read']\nsecret = '{CANARY}-direct'\n\
         [[tokens]]\nname = 'b'\nscopes = ['read']\nsecret_file = {file:?}\n\
         [[alerts]]\nkind = 'webhook'\nurl = 'https://a/{CANARY}'\nsecret = 'whsec_{CANARY}'\n\
         [[alerts]]\nkind = 'slack'\nurl = 'https://b/{CANARY}'\n\
         [[alerts]]\nkind = 'pagerduty'\nrouting_key = '{CANARY}'\n\
         [[alerts]]\nkind = 'alertmanager'\nurls = ['https://c/{CANARY}']\n\
         [[alerts]]\n{mail}\npassword = '{CANARY}'\n\
         [[alerts]]\nname = 'other'\n{mail}\npassword_file = {file:?}\n"
    );
    let config = of_text(&text).unwrap();
    assert_eq!((config.tokens.len(), config.alerts.len()), (2, 6));
    let subscription = &config.subscriptions[0];
    assert_eq!(subscription.headers[0].value, subscription.headers[1].value);
    assert_eq!(*subscription.plan().headers, ["x-a".into(), "x-b".into()]);
    let settings = config.settings();
    let shown = format!("{config:?} {config:#?} {settings:?}").to_lowercase();
    assert!(shown.contains("pagerduty") && !shown.contains("canary"), "{shown}");
}

#[test]
fn a_reload_opens_nothing_that_is_closed() {
    let open = "server.listen = '0.0.0.0:7400'\n";
    let before = of_text(&format!("{open}{}", token(""))).unwrap();
    for (new, opens) in [
        (String::new(), true),
        ("server.admin_listen = '127.0.0.1:1'\n".to_owned(), true),
        (token(""), false),
        (format!("{open}{}", token("")), false),
    ] {
        assert_eq!(before.would_open(&of_text(&new).unwrap()), opens, "{new}");
    }
    let nobody = of_text("").unwrap();
    let inside = of_text(&token("")).unwrap();
    let insecure = of_text(&format!("{open}server.insecure = true\n{}", token(""))).unwrap();
    assert!(!inside.would_open(&nobody) && !insecure.would_open(&nobody));
}
