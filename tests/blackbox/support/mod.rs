//! What the suites stand on.

mod account;
mod app;
mod authenticator;
mod browser;
mod chromium;
mod config;
mod database;
mod described;
mod echo;
mod http2;
mod line;
mod load;
mod mailbox;
mod mmdb;
mod nauth;
mod receiver;
mod secure;
mod tls;
mod wire;

pub(crate) use account::{Account, PASSWORD, claims_of};
pub(crate) use app::{App, challenged};
pub(crate) use authenticator::Authenticator;
pub(crate) use browser::{Browser, Form};
pub(crate) use chromium::Chromium;
pub(crate) use config::Config;
pub(crate) use database::{Database, on_every_server};
pub(crate) use described::described_metrics;
pub(crate) use echo::{Echo, Seen};
pub(crate) use http2::{Http2, OPENING};
pub(crate) use line::{Condition, Line, postgres_behind_tls};
pub(crate) use load::Load;
pub(crate) use mailbox::Mailbox;
pub(crate) use mmdb::{Place, mmdb};
pub(crate) use nauth::{Finished, Nauth, free_port};
pub(crate) use receiver::{Posted, Receiver};
pub(crate) use secure::{Secure, Spoken};
pub(crate) use tls::{Authority, Issued, server_name};
pub(crate) use wire::{Answer, Connection, Request, send_raw};

use std::time::{Duration, Instant};

/// Asks until `probe` has an answer; `None` when `within` has passed without one.
///
/// The programs under test have their own clocks and disks, so the suites wait for what they can
/// see and never for an amount of time.
pub(crate) async fn eventually<T>(within: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = probe().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Short for [`Duration::from_secs`].
pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Short for [`Duration::from_millis`].
pub(crate) const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
