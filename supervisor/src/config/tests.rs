use super::*;

#[test]
fn nothing_said_is_the_default() {
    let config = Config::load(None, [], Overrides::default());
    assert_eq!(config, Ok(Config::default()));
}
