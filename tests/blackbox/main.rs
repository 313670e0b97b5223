//! The built binary, driven from outside: what a client, a browser, an attacker and an operator meet.
//!
//! Every test starts its own nauth in its own directory on its own ports, so they run side by side.
//! Nothing here knows how nauth is made; `support` holds the process, an upstream that tells what it
//! received, and a client that can send any bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

#[path = "../servers/database.rs"]
mod database_server;
#[path = "../servers/redis_cluster.rs"]
mod redis_cluster;
#[path = "../servers/redis.rs"]
mod redis_server;
#[path = "../servers/secured.rs"]
mod secured_server;
#[path = "../servers/mod.rs"]
mod servers;
mod support;
mod webhooks;

mod attack;
mod attempts;
mod audit;
mod balance;
mod browser;
mod chaos;
mod cli;
mod clocks;
mod compose;
mod counters;
mod databases;
mod durability;
mod examples;
mod export;
mod flow;
mod forward_auth;
mod geoip;
mod hostile;
mod http2;
mod identity;
mod import;
mod in_flight;
mod intercepted;
mod keys;
mod kubernetes;
mod listeners;
mod management;
mod messages;
mod metrics;
mod mfa;
mod mfa_operator;
mod monitoring;
mod nodes;
mod outages;
mod own_account;
mod passkey_pages;
mod passkeys;
mod paths;
mod proxies;
mod proxy_protocol;
mod readme;
mod refresh;
mod refusals;
mod reload;
mod restored;
mod risk;
mod rules;
mod secured;
mod sent;
mod smtp;
#[cfg(feature = "otel")]
mod spans;
mod spoofing;
mod step_up;
mod streams;
mod tls;
mod tracing;
mod trail;
mod transient;
mod unlock;
mod upgrade;
mod upstreams;
