//! `nauth check`: the same path a start and a reload take, without running anything.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Environment, Report, load};

pub(super) fn run(path: &Path, environment: &Environment, strict: bool) -> ExitCode {
    let loaded = match load(path, environment) {
        Ok(loaded) => loaded,
        Err(report) => return super::wrong(&report),
    };
    if let Err(report) = crate::app::prove(&loaded) {
        return super::wrong(&report);
    }
    if let Err(error) = crate::app::renderer(&loaded.settings) {
        eprintln!("error: {error:#}");
        return ExitCode::from(super::WRONG);
    }
    if !loaded.warnings.is_empty() {
        eprintln!("{}", shown(&loaded.warnings));
        if strict {
            return ExitCode::from(super::WRONG);
        }
    }
    let settings = &loaded.settings;
    let (routes, upstreams, tests) = (settings.routes.len(), settings.upstreams.len(), settings.tests.len());
    println!("{} is good: {routes} routes, {upstreams} upstreams, {tests} tests", path.display());
    ExitCode::SUCCESS
}

/// A report for standard error, with colours where somebody sees them.
pub(super) fn shown(report: &Report) -> String {
    if std::io::stderr().is_terminal() { report.coloured() } else { report.to_string() }
}
