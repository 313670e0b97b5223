//! The server: started, run until it is told to stop, drained, ended.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::api::ops::{Operations, Ops, Readiness};
use crate::app::bell;
use crate::app::data_dir::{DataDir, Lock};
use crate::app::keys;
use crate::app::reload::{InForce, Reloader};
use crate::app::sockets::Sockets;
use crate::app::world::{Schema, World, master_keys, open_store};
use crate::auth::{Auth, COUNT_EVERY, PURGE_EVERY};
use crate::config::settings::{Listener, Serves, Settings};
use crate::config::{Environment, Loaded, Watcher};
use crate::domain::clock::Clock;
#[cfg(feature = "otel")]
use crate::gateway::spans::{Export, Spans};
use crate::gateway::tls::ServerTls;
use crate::gateway::upstream::look_after;
use crate::gateway::{ManagementEdge, PublicEdge, Runtime};
use crate::logging::Logging;
use crate::metrics::Metrics;
use crate::revocation::{Freshness, READY_WITHIN, Revocations, unready_clock};
use crate::store::Db;
use crate::store::outbox::Channel;
use crate::transient::Bell;

/// How often open streams are looked at, whatever happens.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Longest wait for background work at the end; it only writes down what happened.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The sockets of the public listeners, and the operators'.
type Listeners = (Vec<(TcpListener, Listener)>, TcpListener);

/// A running server.
pub struct Server {
    settings: Arc<Settings>,
    public: Arc<PublicEdge>,
    management: Arc<ManagementEdge>,
    reloader: Arc<Reloader>,
    world: World,
    draining: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: TaskTracker,
    listeners: Option<Listeners>,
    /// How nodes hear of revocations at once, where they have a Redis.
    bell: Option<Arc<Bell>>,
    #[cfg(feature = "otel")]
    export: Option<Export>,
    _lock: Lock,
}

/// Why a server does not start; one sentence, with its causes.
pub type ServerError = anyhow::Error;

impl Server {
    /// Builds everything and binds the listeners. Nothing is served yet.
    pub async fn start(
        path: PathBuf,
        environment: Environment,
        loaded: Loaded,
        logging: Arc<Logging>,
    ) -> Result<Self, ServerError> {
        let settings = Arc::clone(&loaded.settings);
        let data = DataDir::open(&settings.server.data_dir)?;
        let (listeners, lock) = claim(&settings, &data).await?;
        let clock = Clock::system();
        let metrics = Metrics::new();
        let schema = if settings.database.migrate { Schema::Migrate } else { Schema::Expect };
        let store = open_store(&settings, &data, schema, &clock).await?.counted(&metrics);
        let masters = master_keys(&settings, &data, &store).await?;
        let world = World::build(&settings, store, &masters, clock.clone(), metrics.clone()).await?;

        let bell = settings.redis.as_ref().map(|redis| Bell::new(redis, bell::REVOKED).map(Arc::new)).transpose()?;

        let runtime = Runtime::build(world.auth.clone(), &metrics, None);
        #[cfg(feature = "otel")]
        let (runtime, export) = {
            let (spans, export) = Spans::new(world.parts.outgoing.clone(), clock.clone());
            spans.send_to(settings.tracing.collector.clone());
            (runtime.with_spans(spans), export)
        };
        let tls = ServerTls::build(&settings.tls)?;
        metrics.certificates_expire(settings.tls.expiries());
        let public = PublicEdge::new(runtime, &settings.server, tls, &metrics, clock.clone());
        let draining = Arc::new(AtomicBool::new(false));
        let current = InForce { settings: Arc::clone(&settings), fingerprint: loaded.fingerprint.clone() };
        let reloader = Arc::new(Reloader {
            path,
            environment,
            current: Mutex::new(current),
            parts: Arc::clone(&world.parts),
            edge: Arc::clone(&public),
            ways_out: Arc::clone(&world.dispatcher.ways),
            logging,
            metrics: metrics.clone(),
        });
        let operations = operations(&reloader, &world, &draining, &metrics);
        let ops = Ops::new(&settings.management, &settings.metrics, operations, clock.clone());
        let management = ManagementEdge::new(ops, &settings.server, &metrics, clock.clone());
        metrics.config_applied(&loaded.fingerprint, clock.now(), None);
        Ok(Self {
            settings,
            public,
            management,
            reloader,
            world,
            draining,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            listeners: Some(listeners),
            bell,
            #[cfg(feature = "otel")]
            export: Some(export),
            _lock: lock,
        })
    }

    /// Serves until told to stop, then drains. Answers once everything has ended.
    pub async fn run(mut self) -> Result<(), ServerError> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be awaited")?;
        let hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be awaited")?;
        // The first poll decides who is known; without it every identified request would be a 503.
        if let Err(error) = self.world.parts.revocations.poll(&self.world.store).await {
            warn!(error = %crate::logging::chain(&error), "revocations cannot be read yet");
        }
        self.spawn_work(hang_up);
        #[cfg(feature = "otel")]
        self.tasks.spawn(self.export.take().expect("a server runs once").run(self.stop.clone()));
        let (public, management) = self.listeners.take().expect("a server runs once");
        self.greet(&public, &management);
        self.reloader.logging.sync();
        for (socket, listener) in public {
            self.tasks.spawn(Arc::clone(&self.public).listen(socket, listener));
        }
        let listener = Listener::plain(self.settings.management.addr);
        self.tasks.spawn(Arc::clone(&self.management).listen(management, listener));

        let kind = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = kind, "stopping; requests in flight may finish");
        self.draining.store(true, Ordering::SeqCst);
        let grace = self.settings.server.shutdown_grace;
        tokio::select! {
            () = self.public.drain(grace) => {}
            _ = terminate.recv() => self.public.end_all(),
            _ = interrupt.recv() => self.public.end_all(),
        }
        self.management.drain(Duration::from_millis(200)).await;
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(LAST_WORDS, self.tasks.wait()).await.is_err() {
            warn!("background work did not end in time");
        }
        for store in std::iter::once(&self.world.store).chain(&self.world.counters) {
            store.db().close().await;
        }
        info!("stopped");
        Ok(())
    }

    fn spawn_work(&self, hang_up: Signal) {
        let (store, stop) = (&self.world.store, &self.stop);
        let parts = Arc::clone(&self.world.parts);
        let revocations = Arc::clone(&parts.revocations);
        let poll = self.settings.session.revocation_poll;
        self.tasks.spawn(Arc::clone(&revocations).run(store.clone(), poll, stop.clone()));
        if let Some(bell) = &self.bell {
            self.tasks.spawn(bell::ring_and_listen(Arc::clone(bell), Arc::clone(&revocations), stop.clone()));
        }
        for channel in Channel::ALL {
            self.tasks.spawn(self.world.dispatcher.clone().run(channel, stop.clone()));
        }
        self.tasks.spawn({
            let (events, stop) = (parts.events.clone(), stop.clone());
            // One after the other, also at the end: what the first writes the second may have to print.
            async move {
                let printed = CancellationToken::new();
                let record = async {
                    events.run_recorder(stop).await;
                    printed.cancel();
                };
                tokio::join!(record, events.run_feed(printed.clone()));
            }
        });
        self.tasks.spawn({
            let (parts, store, stop) = (Arc::clone(&parts), store.clone(), stop.clone());
            async move { parts.sightings.run(store, stop).await }
        });
        self.tasks.spawn(learn_hash_kinds(self.world.auth.clone(), stop.clone()));
        self.tasks.spawn(cut_revoked(Arc::clone(&self.public), revocations, stop.clone()));
        self.tasks.spawn(purge(Arc::clone(&self.public), stop.clone()));
        self.tasks.spawn(count(Arc::clone(&self.public), stop.clone()));
        self.tasks.spawn(keys::follow_keys(Arc::clone(&self.reloader), stop.clone()));
        self.tasks.spawn(keys::tend_keys(Arc::clone(&self.public), stop.clone()));
        let gateway = self.public.gateway().clone();
        self.tasks.spawn(look_after(move || gateway.runtime(), stop.clone()));
        self.tasks.spawn(follow_files(Arc::clone(&self.reloader), hang_up, self.settings.reload.watch, stop.clone()));
    }

    fn greet(&self, public: &[(TcpListener, Listener)], management: &TcpListener) {
        let shown = |listener: &TcpListener| listener.local_addr().map(|addr| addr.to_string()).unwrap_or_default();
        let listen: Vec<String> = public.iter().map(|(socket, kind)| described(&shown(socket), *kind)).collect();
        let settings = &self.settings;
        let database = settings.database.place.to_string();
        info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = listen.join(", "),
            management = shown(management),
            database,
            "nauth is running"
        );
        if std::io::stdout().is_terminal() || settings.log.format == crate::config::settings::LogFormat::Text {
            let shows = settings.upstreams.values().any(|upstream| upstream.is_whoami());
            let next = if shows { "put your own app into `targets` when you have seen enough" } else { "log in" };
            let url = &settings.server.public_url.origin;
            info!("open {url}/ to sign up; {next}");
        }
    }
}

/// A listener as the operator meets it: `0.0.0.0:443 (TLS)`.
fn described(addr: &str, listener: Listener) -> String {
    let traits = [
        (listener.proxy_protocol, "PROXY protocol"),
        (listener.tls, "TLS"),
        (listener.http2, "HTTP/2"),
        (listener.serves == Serves::HttpsElsewhere, "redirects to https"),
    ];
    let traits: Vec<&str> = traits.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    if traits.is_empty() { addr.to_owned() } else { format!("{addr} ({})", traits.join(", ")) }
}

/// Claims addresses and data. Whoever hands sockets over may have told the nauth before to end, and
/// what comes for them waits; then so does this one, for as long as that one may take.
async fn claim(settings: &Settings, data: &DataDir) -> Result<(Listeners, Lock), ServerError> {
    let mut sockets = Sockets::handed_over()?;
    let lock = if sockets.is_empty() {
        None
    } else {
        let patience = settings.server.shutdown_grace + 2 * LAST_WORDS;
        Some(data.lock_after_another(patience).await?)
    };
    let management = sockets.listen(settings.management.addr, "server.management.addr").await?;
    let public = sockets.listen_on(&settings.server.listeners).await?;
    sockets.finish()?;
    let lock = lock.map_or_else(|| data.lock(), Ok)?;
    Ok(((public, management), lock))
}

fn operations(reloader: &Arc<Reloader>, world: &World, draining: &Arc<AtomicBool>, metrics: &Metrics) -> Operations {
    let (revocations, draining) = (Arc::clone(&world.parts.revocations), Arc::clone(draining));
    let clock = world.parts.clock.clone();
    let metrics = metrics.clone();
    let databases: Vec<Db> =
        std::iter::once(&world.store).chain(&world.counters).map(|store| store.db().clone()).collect();
    let reloader = Arc::clone(reloader);
    Operations {
        readiness: Box::new(move || readiness(&revocations, &clock, draining.load(Ordering::SeqCst))),
        metrics: Box::new(move || {
            Db::tell_connections(&databases, &metrics);
            metrics.render()
        }),
        reload: Box::new(move || {
            let reloader = Arc::clone(&reloader);
            async move { reloader.reload().await.map(|report| report.json()) }.boxed()
        }),
    }
}

fn readiness(revocations: &Revocations, clock: &Clock, draining: bool) -> Readiness {
    let database = match revocations.freshness() {
        Freshness::Loading => Err("never read".to_owned()),
        Freshness::Polled(ago) if ago > READY_WITHIN => Err(format!("not read for {}s", ago.as_secs())),
        Freshness::Polled(_) => Ok(()),
    };
    let serving = if draining { Err("stopping".to_owned()) } else { Ok(()) };
    let clock = unready_clock(clock).map_or(Ok(()), Err);
    Readiness(BTreeMap::from([("clock", clock), ("database", database), ("serving", serving)]))
}

/// Ends what is open on a session that has ended, as soon as that is known.
async fn cut_revoked(edge: Arc<PublicEdge>, revocations: Arc<Revocations>, stop: CancellationToken) {
    let mut changed = revocations.changed();
    let mut looked_up = std::time::Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            told = changed.changed() => if told.is_err() { return },
            () = edge.rules_change() => {}
            // Streams also end by themselves, when their token or session expires.
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        edge.recheck_streams();
        if let Err(error) = edge.recheck_claims().await {
            warn!(error = %crate::logging::chain(&error), "the users behind open streams cannot be looked up");
        }
        if looked_up.elapsed() >= edge.recheck_interval() {
            looked_up = std::time::Instant::now();
            if let Err(error) = edge.recheck_sessions().await {
                warn!(error = %crate::logging::chain(&error), "the sessions behind open streams cannot be looked up");
            }
        }
    }
}

/// Finds out how long passwords of each kind take to verify.
async fn learn_hash_kinds(auth: Auth, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        learnt = auth.learn_hash_kinds() => if let Err(error) = learnt {
            warn!(error = %crate::logging::chain(&error), "the kinds of password hashes cannot be looked up");
        }
    }
}

/// Sweeps out what has ended, on one node of several.
async fn purge(public: Arc<PublicEdge>, stop: CancellationToken) {
    let node = uuid::Uuid::new_v4().to_string();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PURGE_EVERY) => {}
        }
        match public.gateway().runtime().auth.purge(&node).await {
            Ok(Some(rows)) => info!(rows, "swept out what had ended"),
            Ok(None) => {}
            Err(error) => error!(error = %crate::logging::chain(&error), "what has ended cannot be swept out"),
        }
    }
}

/// Counts what only the database knows, for the metrics.
async fn count(public: Arc<PublicEdge>, stop: CancellationToken) {
    loop {
        let begun = std::time::Instant::now();
        if let Err(error) = public.gateway().runtime().auth.count().await {
            warn!(error = %crate::logging::chain(&error), "sessions and waiting events cannot be counted");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(next_count(begun.elapsed())) => {}
        }
    }
}

/// When to count again. Millions of sessions take seconds, and a metric is not worth more than a hundredth
/// of the database.
fn next_count(took: Duration) -> Duration {
    COUNT_EVERY.max(took.saturating_mul(100))
}

/// Reloads when the files change or SIGHUP comes.
async fn follow_files(reloader: Arc<Reloader>, mut hang_up: Signal, watch: bool, stop: CancellationToken) {
    let (mut watcher, mut debounce) = {
        let current = reloader.current.lock().await;
        let watcher = Watcher::new(current.settings.files.clone(), current.fingerprint.clone());
        (watcher, current.settings.reload.debounce)
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            told = hang_up.recv() => if told.is_none() { return },
            () = watcher.changed(debounce), if watch => {}
        }
        if reloader.reload().await.is_ok() {
            let current = reloader.current.lock().await;
            watcher.watch(current.settings.files.clone(), current.fingerprint.clone());
            debounce = current.settings.reload.debounce;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_to_count_is_counted_seldom() {
        assert_eq!(next_count(Duration::from_millis(600)), COUNT_EVERY);
        assert_eq!(next_count(Duration::from_secs(3)), Duration::from_mins(5));
    }
}
