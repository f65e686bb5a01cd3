//! `[[tokens]]`: who may do what.

use std::sync::Arc;

use rollcall_common::{
    files,
    limits::{SECRET_FILE_BYTES, TOKEN_BYTES, TOKENS},
};

use super::{
    node::Node,
    section::Section,
    values::{self, Checked, one_or_more, text, word},
};
use crate::{
    access::{Scope, Scopes, Token},
    dispatcher::settings::Pattern,
};

/// `[[tokens]]`. Secrets are read here, from their files too, and only digests of them are kept.
pub(super) fn read_all(root: &mut Section<'_>) -> Vec<Arc<Token>> {
    let place = root.place_of("tokens");
    let all = root.items("tokens", read).unwrap_or_default();
    if let Some(place) = place.clone().filter(|_| all.is_empty()) {
        // Else a list from which the last one was taken would let everybody in.
        root.problem(Some(place), "tokens", "there is none; expected [[tokens]] or no such key");
    }
    if all.len() > TOKENS {
        root.problem(place, "tokens", &format!("are {}; expected at most {TOKENS}", all.len()));
        return Vec::new();
    }
    let mut tokens: Vec<Arc<Token>> = Vec::new();
    for token in all.into_iter().flatten() {
        let twice = match tokens.iter().find(|one| one.name == token.name) {
            Some(_) => Some("name"),
            None => tokens.iter().any(|one| one.is_same_secret(&token)).then_some("secret"),
        };
        if let Some(what) = twice {
            let text = format!("{:?} has the {what} of another token", token.name);
            root.problem(place.clone(), "tokens", &text);
        }
        tokens.push(Arc::new(token));
    }
    tokens
}

fn read(mut section: Section<'_>) -> Option<Token> {
    if section.place_of("name").is_none() {
        section.problem(None, "name", "is missing; expected a name, which the audit shows");
    }
    let name = section.read("name", |node| {
        let name = text(node)?;
        values::name(name).map_err(|text| node.wrong(format!("{}: {text}", node.shown())))?;
        Ok(Box::<str>::from(name))
    });
    let said = ["secret", "secret_file"].map(|key| section.place_of(key));
    let direct = section
        .read("secret", |node| checked(node, node.text().unwrap_or_default()).map(str::to_owned));
    let from_file = section.read("secret_file", secret_file);
    match said {
        [None, None] => section.problem(None, "secret", "is missing; expected it or secret_file"),
        [Some(place), Some(_)] => {
            section.problem(
                Some(place),
                "secret",
                "stands beside secret_file; expected one of them",
            );
        }
        [Some(_), None] | [None, Some(_)] => {}
    }
    let scopes = scopes(&mut section);
    let streams = section.read("streams", |node| {
        one_or_more(node, |node| {
            let pattern = text(node)?;
            values::pattern(pattern).map_err(|text| node.wrong(text))?;
            Ok(Pattern::new(pattern))
        })
    });
    section.close();
    let secret = direct.or(from_file)?;
    let token = Token::new(name?, secret.as_bytes(), scopes?);
    Some(match streams {
        None => token,
        Some(patterns) => token.for_streams(patterns),
    })
}

fn scopes(section: &mut Section<'_>) -> Option<Scopes> {
    if section.place_of("scopes").is_none() {
        let text = "are missing; expected some of \"send\", \"read\", \"work\", \"admin\"";
        section.problem(None, "scopes", text);
    }
    let words = Scope::ALL.map(|scope| (scope.as_str(), scope));
    let scopes = section.read("scopes", |node| one_or_more(node, |node| word(node, &words)));
    scopes.map(|scopes| scopes.into_iter().collect())
}

fn secret_file(node: &Node) -> Checked<String> {
    let path = text(node)?;
    let said = files::read_text(path.as_ref(), SECRET_FILE_BYTES)
        .map_err(|error| node.wrong(format!("{} can't be read: {error}", node.shown())))?;
    checked(node, said.trim_end_matches(['\r', '\n'])).map(str::to_owned)
}

/// What can travel in a header. It is never shown.
fn checked<'a>(node: &Node, secret: &'a str) -> Checked<&'a str> {
    let fits = (1..=TOKEN_BYTES).contains(&secret.len())
        && secret.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(secret).ok_or_else(|| {
        node.wrong(format!(
            "holds no secret (not shown); expected 1 to {TOKEN_BYTES} visible ASCII characters, \
             without blanks"
        ))
    })
}
