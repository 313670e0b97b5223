//! Floor 2, configuration: `nauth.toml` as written → read → checked.
//!
//! The text is parsed into a tree that remembers where everything stands; every key is read by the
//! one call that declares it; rules across keys come last. All problems are collected, and nothing
//! runs on a configuration that has one.

mod certificates;
mod check;
mod declared;
mod diff;
mod environment;
mod load;
mod pem;
mod reader;
mod reading;
mod reference;
mod report;
mod schema;
mod sections;
pub mod settings;
mod tree;
mod values;
mod watch;

pub use diff::{Changes, changes, unchanged, without_restart_keys};
pub use environment::Environment;
#[cfg(test)]
pub(crate) use load::defaults;
pub use load::{Loaded, load, load_for_reload};
pub use reference::reference;
pub use report::{Problem, Report, Severity};
pub use schema::schema;
pub use watch::Watcher;

#[cfg(test)]
mod tests;
