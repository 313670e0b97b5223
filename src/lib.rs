//! nauth: the auth gateway in front of the backends you already have.
//!
//! One process, one file. It answers the auth API under `/auth/*` itself and proxies every other
//! request, with the user's identity in headers no client can forge.
//!
//! # Floors
//!
//! A module imports only from floors below its own, or from its right neighbours;
//! `tests/architecture.rs` enforces it.
//!
//! | floor | modules | |
//! |---|---|---|
//! | 7 | [`cli`], [`app`] | the program: commands, and the one place where the world is built |
//! | 6 | [`gateway`], [`api`] | the edges: who talks to us (the gateway may use the API) |
//! | 5 | [`auth`] | the use cases: what nauth does; no HTTP types |
//! | 4 | [`outbox`], [`events`], [`webhooks`], [`sms`], [`mail`], [`outgoing`], [`revocation`], [`password_hash`], [`sealing`], [`tokens`] | engines |
//! | 3 | [`transient`], [`store`] | state |
//! | 2 | [`logging`], [`metrics`], [`config`], [`geoip`] | what the operator sets and sees |
//! | 1 | [`domain`] | what it is all about; pure |
//!
//! # Where to start reading
//!
//! `domain/challenge.rs` → `auth/login.rs` → `api/nauth/login.rs` → `gateway/mod.rs` → `app.rs`.

pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod domain;
pub mod events;
pub mod gateway;
pub mod geoip;
pub mod logging;
pub mod mail;
pub mod metrics;
pub mod outbox;
pub mod outgoing;
pub mod password_hash;
pub mod revocation;
pub mod sealing;
pub mod sms;
pub mod store;
pub mod tokens;
pub mod transient;
pub mod webhooks;
