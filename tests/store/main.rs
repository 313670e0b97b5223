//! The store's contract, put to every database: the same tests on `SQLite`, `PostgreSQL` and `MariaDB`.
//!
//! `scripts/with-servers` starts the servers. Without them the tests run on `SQLite` and say what is
//! missing; under `scripts/test` a missing server is a failure. Each test has a database of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../servers/settings.rs"]
mod settings_of_servers;

mod databases;
mod people;
mod plans;

mod codes;
mod copies;
mod factors;
mod migrations;
mod races;
mod rows;
mod transactions;
mod transients;
mod users;
