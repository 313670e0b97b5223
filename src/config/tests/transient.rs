//! Where counters stand: what a reload does with it.

use super::*;

#[test]
fn another_redis_waits_for_a_restart_and_what_happens_without_it_does_not() {
    let with = |extra: &str| load_text(&format!("{SMALL}\n{extra}")).unwrap().settings;
    let old = with("[redis]\nurl = \"redis://a\"");
    let new = with("[redis]\nurl = \"redis://b\"\n[transient]\non_error_auth = \"open\"");
    let none = with("[redis]\nurl = \"redis://a\"\n[transient]\nbackend = \"memory\"");

    let found = changes(&old, &new);

    assert_eq!((found.applied.as_slice(), found.restart_required.as_slice()), (&["transient"][..], &["redis"][..]));
    assert_eq!(without_restart_keys(&old, &new).redis, old.redis);
    assert_eq!(changes(&old, &none).restart_required, ["transient.backend"]);
}
