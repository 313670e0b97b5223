//! `nauth schema`: the JSON Schema of `nauth.toml`, for editors.

use std::io::Write;

pub(super) fn run() -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(crate::config::schema().as_bytes())?;
    Ok(())
}
