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

fn extra(lines: &str) -> String {
    format!("[gateway.identity.extra]\n{lines}\n{SMALL}")
}

#[test]
fn a_header_nearer_to_the_request_stands_in_place_of_one_further_out() {
    let text = "[gateway.identity]\npreset = \"remote\"\nextra = { x-tenant = \"{{user.metadata_admin.tenant}}\", x-kind = \"user\" }\n\
         [[upstreams]]\nname = \"app\"\ntargets = [\"whoami:\"]\nidentity = { extra = { Remote-Name = \"{{user.first_name}}\" } }\n\
         [[routes]]\npath = \"/\"\nupstream = \"app\"\nidentity = { extra = { x-kind = \"\", X-Level = \"{{session.acr}}\" } }\n";

    let settings = load_text(text).unwrap().settings;

    let names: Vec<&str> = settings.routes[0].identity.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(names, ["remote-user", "remote-email", "remote-groups", "x-tenant", "remote-name", "x-level"]);
    let told: Vec<&str> = settings.jwt.told.iter().map(crate::domain::template::Told::key).collect();
    assert_eq!(told, ["first_name", "metadata_admin.tenant"]);
}

#[test]
fn a_header_of_a_template_cannot_be_kept_either() {
    let keep = "identity = { extra = { x-tenant = \"{{user.id}}\" } }\nkeep_request_headers = [\"X_Tenant\"]\n";

    let found = messages(&format!("{SMALL}{keep}"));

    assert_eq!(found, ["route `/` keeps `x_tenant`, which tells the upstream who the user is"]);
}

#[test]
fn headers_that_mean_something_else_tell_nothing_about_users() {
    for name in [
        "Authorization",
        "Cookie",
        "Content-Type",
        "content_md5",
        "X-Forwarded-For",
        "x_forwarded_proto",
        "X-Real-IP",
        "Forwarded",
        "TE",
        "Keep-Alive",
        "Proxy-Authorization",
        "X-Request-Id",
        "X-Nauth-Intercepted",
        "Sec-Fetch-Site",
        "traceparent",
        "Host",
        "Connection",
        "no name",
    ] {
        let report = load_text(&extra(&format!("\"{name}\" = \"{{{{user.id}}}}\""))).unwrap_err().to_string();
        assert!(report.contains(name) && report.contains("nauth.toml:2:"), "{name}: {report}");
    }
    for name in ["X-Tenant", "Remote-User", "X-Forwarded-User", "x-nauth-tenant"] {
        assert!(load_text(&extra(&format!("\"{name}\" = \"{{{{user.id}}}}\""))).is_ok(), "{name}");
    }
}

#[test]
fn a_template_that_cannot_be_filled_in_is_blamed_on_its_line() {
    for (line, expected) in [
        ("x-a = \"{{user.metadata.tenant}}\"", "`user.metadata.tenant` is no variable"),
        ("x-a = \"{{user.id\"", "never closed"),
        ("x-a = \"{{user.id}}\\n\"", "cannot be sent"),
        ("x-a = \"ü{{user.id}}\"", "cannot be sent"),
        ("x-a = \"{{claims.plan}}\"", "asks for the claim `plan`, which nothing sets"),
        ("x-a = 5", "must be a string"),
        ("x-ok = \"a\"\nx_ok = \"b\"", "is there twice"),
    ] {
        let report = load_text(&extra(line)).unwrap_err().to_string();
        assert!(report.contains(expected) && report.contains("nauth.toml:"), "{line}: {report}");
    }
    let many: Vec<String> = (0..33).map(|n| format!("x-{n} = \"a\"")).collect();
    assert!(messages(&extra(&many.join("\n"))).iter().any(|message| message.contains("more than 32 headers")));
    let set = "[jwt.claims]\nplan = \"pro\"\n";
    assert!(load_text(&format!("{set}{}", extra("x-a = \"{{claims.plan}}\""))).is_ok());
}

#[test]
fn claims_are_the_operators_and_none_of_nauths() {
    let claims = |line: &str| format!("[jwt.claims]\n{line}\n{SMALL}");
    for (line, expected) in [
        ("sub = \"x\"", "the claim `sub` is nauth's own"),
        ("roles = \"x\"", "the claim `roles` is nauth's own"),
        ("\"two words\" = \"x\"", "is not a claim"),
        ("plan = \"{{claims.other}}\"", "a claim cannot be made of claims"),
        ("plan = \"{{user.metadata.plan}}\"", "is no variable"),
        ("plan = \"\"", "a template has 1 to"),
    ] {
        let report = load_text(&claims(line)).unwrap_err().to_string();
        assert!(report.contains(expected) && report.contains("nauth.toml:2:"), "{line}: {report}");
    }
    let usual = load_text(&claims("roles = \"{{user.roles}}\"\nemail = \"{{user.email}}\"")).unwrap().settings;
    assert!(usual.jwt.claims.is_empty(), "every token has these");
}

#[test]
fn other_templates_are_taken_by_a_reload() {
    let old = load_text(SMALL).unwrap().settings;
    let header = load_text(&extra("x-tenant = \"{{user.metadata_admin.tenant}}\"")).unwrap().settings;
    let claim = load_text(&format!("[jwt.claims]\nplan = \"pro\"\n{SMALL}")).unwrap().settings;

    assert_eq!(changes(&old, &header).applied, ["jwt", "gateway", "routes"]);
    assert_eq!(changes(&old, &claim).applied, ["jwt"]);
}
