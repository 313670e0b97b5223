//! `nauth run`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use crate::app::{Server, prove};
use crate::config::{Environment, Loaded, load};
use crate::logging::Logging;

pub(super) fn run(path: &Path, environment: &Environment) -> ExitCode {
    let loaded = load(path, environment).and_then(|loaded| prove(&loaded).map(|()| loaded));
    match loaded {
        Ok(loaded) => super::ended(serve(path, environment, loaded)),
        Err(report) => super::wrong(&report),
    }
}

fn serve(path: &Path, environment: &Environment, loaded: Loaded) -> anyhow::Result<()> {
    let logging = Arc::new(Logging::init(&loaded.settings.log).context("the log cannot be set up")?);
    if !loaded.warnings.is_empty() {
        tracing::warn!("{}", loaded.warnings);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(loaded.settings.server.threads)
        .thread_name("nauth")
        .enable_all()
        .build()
        .context("no worker thread can be started")?;
    let served = runtime.block_on(async {
        let server = Server::start(path.to_owned(), environment.clone(), loaded, Arc::clone(&logging)).await?;
        server.run().await
    });
    runtime.shutdown_background();
    logging.flush();
    served
}
