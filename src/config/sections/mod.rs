//! The keys of `nauth.toml`, section by section, each declared where it is read.

mod accounts;
mod adaptive;
mod assertion;
mod database;
mod forward_auth;
mod gateway;
mod geoip;
mod identity;
mod limits;
mod listeners;
mod messages;
mod mfa;
mod passkey;
mod passwords;
mod private_key;
mod recovery;
mod routes;
mod rule_tests;
mod server;
mod tls;
mod tokens;
mod tracing;
mod transient;
mod upstreams;
mod webhooks;

use std::sync::Arc;

use crate::config::check;
use crate::config::reader::Section;
use crate::config::settings::Settings;

/// Reads everything. Problems go to the reader; what comes back counts only when there are none.
pub(super) fn settings(mut root: Section<'_>) -> Settings {
    server::version(&mut root);
    let (server, management, tls) = server::server(&mut root);
    let mut jwt = tokens::jwt(&mut root, &server.public_url);
    let delivery = tokens::delivery(&mut root, &server.public_url, jwt.refresh_ttl);
    let api = accounts::api(&mut root);
    let (upstreams, told) = upstreams::upstreams(&mut root);
    let (gateway, default_access, identity) = gateway::gateway(&mut root);
    let allow_unverified = gateway.identity.allow_unverified;
    let (forward_auth, asked_identity) = forward_auth::forward_auth(&mut root, &identity, allow_unverified);
    let roles = accounts::known_roles(&mut root);
    let email = messages::email(&mut root, &server.public_url);
    let context = routes::RouteContext {
        server: &server,
        method: delivery.method,
        default_access,
        roles: &roles,
        identity: (&identity, allow_unverified),
        asked_identity: &asked_identity,
        upstreams: &told,
    };
    let routes = routes::routes(&mut root, &context);
    jwt.told = identity::told(routes.iter().flat_map(|route| [&route.identity, &route.asked_identity]));
    let database = database::database(&mut root, &server);
    let redis = transient::redis(&mut root);
    let transient = transient::transient(&mut root, redis.as_ref(), server.instances, &database.place);
    let signup = accounts::signup(&mut root, &roles);
    let geoip = geoip::geoip(&mut root, &server.data_dir);
    let audit = server::audit(&mut root);
    let mfa = mfa::mfa(&mut root, &server.public_url, &email.vars.app_name, &roles, &signup);
    let settings = Settings {
        files: Vec::new(),
        reload: server::reload(&mut root),
        secrets: server::secrets(&mut root),
        database,
        redis,
        transient,
        session: tokens::session(&mut root),
        security: tokens::security(&mut root, &server, &delivery),
        signup,
        login: accounts::login(&mut root, &api),
        password: passwords::password(&mut root),
        challenge: accounts::challenge(&mut root),
        mfa,
        geoip,
        notifications: messages::notifications(&mut root),
        sms: messages::sms(&mut root, &server.public_url, &email.vars.app_name),
        email,
        webhooks: webhooks::webhooks(&mut root, &server.public_url, &audit.sinks),
        hooks: webhooks::hooks(&mut root, &server.public_url),
        lockout: limits::lockout(&mut root),
        rate_limit: limits::rates(&mut root),
        audit,
        log: server::log(&mut root),
        metrics: server::metrics(&mut root),
        tracing: tracing::tracing(&mut root),
        upstreams: upstreams.into_iter().map(|upstream| (upstream.name.clone(), Arc::new(upstream))).collect(),
        routes: routes.into_iter().map(Arc::new).collect(),
        tests: rule_tests::tests(&mut root, &roles),
        server,
        management,
        tls,
        jwt,
        delivery,
        api,
        gateway,
        forward_auth,
    };
    check::across(&root, &settings);
    root.finish();
    settings
}
