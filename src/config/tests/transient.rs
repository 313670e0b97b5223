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

#[test]
fn counters_stand_where_those_who_count_can_see_them() {
    use crate::config::settings::TransientBackend as Backend;

    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let server = format!("[database]\nurl = \"postgres://a@b/c\"\n[secrets]\nmaster_key = \"{key}\"\n");
    let backend = |extra: &str| load_text(&format!("{SMALL}\n{extra}")).unwrap().settings.transient.backend.clone();

    assert_eq!(backend(""), Backend::Memory);
    assert_eq!(backend(&server), Backend::Memory);
    assert_eq!(backend(&format!("{server}[server]\ninstances = \"multi\"")), Backend::Database);
    assert_eq!(backend(&format!("{server}[transient]\nbackend = \"database\"")), Backend::Database);
    let redis = "[redis]\nurl = \"redis://a\"\n";
    let several = backend(&format!("{server}{redis}[server]\ninstances = \"multi\""));
    assert!(matches!(several, Backend::Redis(_)));
    let chosen = format!("{server}{redis}[server]\ninstances = \"multi\"\n[transient]\nbackend = \"database\"");
    assert_eq!(backend(&chosen), Backend::Database);
}

#[test]
fn one_of_several_nodes_is_so_from_its_start() {
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let with = |instances: &str| {
        let server = format!("[database]\nurl = \"postgres://a@b/c\"\n[secrets]\nmaster_key = \"{key}\"\n");
        load_text(&format!("{SMALL}\n{server}[server]\ninstances = \"{instances}\"")).unwrap().settings
    };
    let (old, new) = (with("single"), with("multi"));

    let found = changes(&old, &new);

    assert_eq!((found.applied.as_slice(), found.restart_required.as_slice()), (&[][..], &["server.instances"][..]));
    let in_force = without_restart_keys(&old, &new);
    assert_eq!((in_force.server, in_force.transient), (old.server.clone(), old.transient.clone()));
}

#[test]
fn a_redis_is_one_or_a_cluster_and_its_connections_wait_for_a_restart() {
    use crate::config::settings::RedisPlace;

    let with = |redis: &str| load_text(&format!("{SMALL}\n[redis]\n{redis}")).unwrap().settings;
    let one = with("url = \"redis://a\"");
    let cluster = with("cluster = [\"redis://a\"]");

    assert!(matches!(one.redis.as_ref().unwrap().place, RedisPlace::One(_)));
    assert!(matches!(cluster.redis.as_ref().unwrap().place, RedisPlace::Cluster(_)));
    assert!(with("cluster = []").redis.is_none());
    assert_eq!(one.redis.as_ref().unwrap().pool, 16);
    for other in [&cluster, &with("url = \"redis://a\"\npool = 4")] {
        assert_eq!(changes(&one, other).restart_required, ["redis"]);
    }
}
