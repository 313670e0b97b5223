//! Floor 2, configuration: `nauth.toml` as written → resolved → checked.

pub mod settings;
