//! What upstreams are told about users: where it is said, and what may not be.

use super::*;
use crate::config::settings::{IdentityPreset, IdentityUser, Settings};

const NEARER: &str = "[gateway.identity]\npreset = \"remote\"\nuser = \"username\"\n\
     [[upstreams]]\nname = \"app\"\ntargets = [\"whoami:\"]\n\
     [[upstreams]]\nname = \"wiki\"\ntargets = [\"whoami:\"]\nidentity = { preset = \"authentik\" }\n\
     [[routes]]\nname = \"app\"\npath = \"/\"\nupstream = \"app\"\n\
     [[routes]]\nname = \"wiki\"\npath = \"/wiki\"\nupstream = \"wiki\"\n\
     [[routes]]\nname = \"api\"\npath = \"/wiki/api\"\nupstream = \"wiki\"\n\
     [routes.identity]\npreset = \"none\"\nuser = \"email\"\n";

fn told(settings: &Settings, route: &str) -> (IdentityPreset, IdentityUser) {
    let route = settings.routes.iter().find(|candidate| candidate.name == route).unwrap();
    (route.identity.preset, route.identity.user)
}

#[test]
fn a_route_says_more_than_its_upstream_and_that_more_than_the_gateway() {
    let settings = load_text(NEARER).unwrap().settings;

    assert_eq!(told(&settings, "app"), (IdentityPreset::Remote, IdentityUser::Username));
    assert_eq!(told(&settings, "wiki"), (IdentityPreset::Authentik, IdentityUser::Username));
    assert_eq!(told(&settings, "api"), (IdentityPreset::None, IdentityUser::Email));
    assert!(settings.tells_usernames());
}

#[test]
fn one_route_that_tells_user_names_fixes_them() {
    let named = format!("{SMALL}identity = {{ user = \"username\" }}\n");

    assert!(!load_text(SMALL).unwrap().settings.tells_usernames());
    assert!(load_text(&named).unwrap().settings.tells_usernames());
}

#[test]
fn an_identity_header_cannot_be_kept_where_it_is_sent() {
    let keep = |name: &str| format!("keep_request_headers = [\"{name}\"]\n");
    let none = "identity = { preset = \"none\" }\n";
    let authentik = "identity = { preset = \"authentik\" }\n";
    let message = |name: &str| [format!("route `/` keeps `{name}`, which tells the upstream who the user is")];

    assert_eq!(messages(&format!("{SMALL}{}", keep("X-Forwarded-User"))), message("x-forwarded-user"));
    assert_eq!(messages(&format!("{SMALL}{}", keep("x_forwarded_groups"))), message("x_forwarded_groups"));
    assert_eq!(
        messages(&format!("{SMALL}{authentik}{}", keep("x-authentik-groups-truncated"))),
        message("x-authentik-groups-truncated")
    );
    assert_eq!(messages(&format!("{SMALL}{none}{}", keep("x-nauth-user"))), message("x-nauth-user"));
    assert!(load_text(&format!("{SMALL}{none}{}", keep("X-Forwarded-User"))).is_ok());
    assert!(load_text(&format!("{SMALL}{authentik}{}", keep("X-Forwarded-User"))).is_ok());
}

#[test]
fn a_preset_that_does_not_exist_is_blamed_on_its_line() {
    for (text, line) in [
        (format!("[gateway.identity]\npreset = \"authentic\"\n{SMALL}"), 2),
        (format!("{SMALL}identity = {{ preset = \"authentic\" }}\n"), SMALL.lines().count() + 1),
        (format!("{SMALL}[routes.identity]\nuser = \"phone\"\n"), SMALL.lines().count() + 2),
    ] {
        let report = load_text(&text).unwrap_err().to_string();
        assert!(report.contains("is not one of") && report.contains(&format!("nauth.toml:{line}:")), "{report}");
    }
}

#[test]
fn another_preset_is_taken_by_a_reload() {
    let old = load_text(SMALL).unwrap().settings;
    let new = load_text(&format!("{SMALL}identity = {{ preset = \"remote\" }}\n")).unwrap().settings;

    let found = changes(&old, &new);

    assert_eq!(found.applied, ["routes"]);
    assert!(found.restart_required.is_empty() && found.refused.is_empty(), "{found:?}");
}

#[test]
fn the_header_of_the_assertion_is_nobody_elses() {
    let with = |lines: &str| format!("[gateway.identity]\n{lines}\n{SMALL}");

    assert!(load_text(&with("assertion = \"\"")).unwrap().settings.gateway.assertion.header.is_none());
    for name in ["cookie", "authorization", "host", "x-forwarded-for", "a b"] {
        let found = messages(&with(&format!("assertion = \"{name}\"")));
        assert!(found.len() == 1 && found[0].contains(name), "{name}: {found:?}");
    }
    let found = messages(&with("assertion = \"X-Auth-Request-User\"\npreset = \"auth_request\""));
    assert_eq!(found, ["`x-auth-request-user` already says something else to the upstream of route `/`"]);
    for ttl in ["1s", "2h", "0s", "soon"] {
        assert_eq!(messages(&with(&format!("assertion_ttl = \"{ttl}\""))).len(), 1, "{ttl}");
    }
    let kept = with("assertion = \"x-who\"") + "keep_request_headers = [\"x_who\"]\n";
    assert_eq!(messages(&kept), ["route `/` keeps `x_who`, which tells the upstream who the user is"]);
}
