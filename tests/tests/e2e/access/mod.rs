//! Who may do what, and who may listen in: tokens, a second address, TLS.

mod admin;
mod canary;
mod tls;
mod tokens;

/// A token in a configuration, whose secret is `secret-` and its name.
fn token(name: &str, rest: &str) -> String {
    format!("[[tokens]]\nname = \"{name}\"\nsecret = \"secret-{name}\"\n{rest}\n")
}
