//! Spans of requests, on their way to a collector.
//!
//! A sampled request leaves one when it is over, in a bounded queue; a task of its own sends them in
//! batches, as OTLP over HTTP. Nobody waits for a collector: what finds the queue full, or is not taken
//! after a few tries, is dropped and counted in the log.

mod otlp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::config::settings::PathRule;
use crate::domain::clock::{Clock, Time};
use crate::gateway::conn::Protocol;
use crate::gateway::context::RequestContext;
use crate::gateway::trace::{Origin, Trace};
use crate::metrics::RequestMethod;
use crate::outgoing::{DeliveryError, Outgoing};
use otlp::Resource;

/// Spans that may wait.
const CAPACITY: usize = 4096;
/// Most spans sent at a time.
const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a batch is tried, and the pause after the first time; the next one is twice as long.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the collector at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What one request was.
#[derive(Debug, Clone)]
struct Span {
    trace: Trace,
    ended: Time,
    took: Duration,
    method: &'static str,
    route: Option<String>,
    path: String,
    scheme: &'static str,
    host: String,
    client: String,
    protocol: &'static str,
    status: u16,
}

/// The entrance of the queue. Clones share it; the default one leads nowhere.
#[derive(Debug, Clone, Default)]
pub struct Spans(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<Span>,
    collector: ArcSwapOption<Url>,
    dropped: AtomicU64,
    clock: Clock,
}

impl Spans {
    /// An entrance, and what sends what comes in.
    #[must_use]
    pub fn new(outgoing: Outgoing, clock: Clock) -> (Self, Export) {
        let (queue, waiting) = mpsc::channel(CAPACITY);
        let shared = Arc::new(Shared { queue, collector: ArcSwapOption::empty(), dropped: AtomicU64::new(0), clock });
        let export = Export { shared: Arc::clone(&shared), waiting, outgoing, resource: Resource::of_this_process() };
        (Self(Some(shared)), export)
    }

    /// From here on spans go there, or nowhere.
    pub fn send_to(&self, collector: Option<Url>) {
        if let Some(shared) = &self.0 {
            shared.collector.store(collector.map(Arc::new));
        }
    }

    /// Whether spans go anywhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.collector.load().is_some())
    }
}

impl Shared {
    fn offer(&self, span: impl FnOnce() -> Span) {
        match self.queue.try_reserve() {
            Ok(place) => place.send(span()),
            Err(_) => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// Leaves the span of a request that is over, if its trace is recorded and the span ours.
pub fn record(ctx: &RequestContext, took: Duration) {
    if !ctx.trace.is_sampled || ctx.trace.origin == Origin::PassedOn {
        return;
    }
    let Some(shared) = ctx.runtime.spans.0.as_ref().filter(|shared| shared.collector.load().is_some()) else { return };
    shared.offer(|| span(ctx, shared.clock.now(), took));
}

fn span(ctx: &RequestContext, ended: Time, took: Duration) -> Span {
    let asked_about = || ctx.verify.as_ref()?.route.as_ref();
    let route = ctx.route.as_ref().map(|(route, _)| route).or_else(asked_about);
    let method = RequestMethod::from(&ctx.method);
    Span {
        trace: ctx.trace,
        ended,
        took,
        method: if method == RequestMethod::Other { "_OTHER" } else { method.as_str() },
        route: route.map(|route| pattern(&route.path)),
        path: ctx.path().to_owned(),
        scheme: ctx.client.as_ref().map_or("http", |client| client.scheme),
        host: ctx.host().map_or("", |host| host.name()).to_owned(),
        client: ctx.client_ip(),
        protocol: match ctx.request.conn().protocol() {
            Protocol::Http1 => "1.1",
            Protocol::Http2 => "2",
        },
        status: ctx.status,
    }
}

/// A route's path, the same for every request that takes it.
fn pattern(path: &PathRule) -> String {
    match path {
        PathRule::Exact(path) => path.clone(),
        PathRule::Prefix(path) => format!("{}/*", path.trim_end_matches('/')),
        PathRule::Pattern(pattern) => pattern.as_str().to_owned(),
    }
}

/// Sends what comes into the queue.
#[derive(Debug)]
pub struct Export {
    shared: Arc<Shared>,
    waiting: mpsc::Receiver<Span>,
    outgoing: Outgoing,
    resource: Resource,
}

impl Export {
    /// Sends until stopped, and then what is left, for [`LAST_WORDS`] at most.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut batch, mut failing) = (Vec::with_capacity(BATCH), false);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.fill(&mut batch) => {}
            }
            tokio::select! {
                // It is sent again below: a collector knows a span by its id.
                () = stop.cancelled() => break,
                sent = self.deliver(&batch) => self.tell(sent, batch.len(), &mut failing),
            }
            batch.clear();
        }
        let rest = async {
            while let Ok(span) = self.waiting.try_recv() {
                batch.push(span);
            }
            for batch in batch.chunks(BATCH) {
                let sent = self.send(batch).await;
                self.tell(sent, batch.len(), &mut failing);
            }
        };
        if tokio::time::timeout(LAST_WORDS, rest).await.is_err() {
            warn!("the last spans were dropped: the collector did not take them in time");
        }
    }

    /// Waits for a span, and then for a moment for others.
    async fn fill(&mut self, batch: &mut Vec<Span>) {
        while batch.is_empty() {
            self.waiting.recv_many(batch, BATCH).await;
        }
        let until = Instant::now() + PAUSE;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            if tokio::time::timeout_at(until, self.waiting.recv_many(batch, room)).await.is_err() {
                return;
            }
        }
    }

    /// Tries a few times.
    async fn deliver(&self, batch: &[Span]) -> Result<(), DeliveryError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.send(batch).await {
                Err(DeliveryError::Temporary(_)) => tokio::time::sleep(pause).await,
                sent => return sent,
            }
            pause *= 2;
        }
        self.send(batch).await
    }

    async fn send(&self, batch: &[Span]) -> Result<(), DeliveryError> {
        let Some(collector) = self.shared.collector.load_full() else { return Ok(()) };
        let answer = self.outgoing.post_protobuf(&collector, otlp::request(&self.resource, batch)).await?;
        match answer.status {
            200..300 => otlp::refusal(&answer.body).map_or(Ok(()), |refusal| Err(DeliveryError::Permanent(refusal))),
            status @ (429 | 502..=504) => Err(DeliveryError::Temporary(format!("the collector answered {status}"))),
            status => Err(DeliveryError::Permanent(format!("the collector answered {status}"))),
        }
    }

    /// Says once that spans are lost, and how many were when they are taken again.
    fn tell(&self, sent: Result<(), DeliveryError>, count: usize, failing: &mut bool) {
        let was_failing = std::mem::replace(failing, sent.is_err());
        if let Err(error) = sent {
            self.shared.dropped.fetch_add(count as u64, Ordering::Relaxed);
            if !was_failing {
                warn!(%error, "the collector does not take spans; they are dropped");
            }
            return;
        }
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        if was_failing {
            info!(spans.dropped = dropped, "the collector takes spans again");
        } else if dropped > 0 {
            warn!(spans.dropped = dropped, "spans were dropped: the collector is too slow");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::trace::Sampling;

    fn any() -> Span {
        Span {
            trace: Trace::begin(Sampling::of(1.0)),
            ended: Time::from_secs(1),
            took: Duration::ZERO,
            method: "GET",
            route: None,
            path: "/".to_owned(),
            scheme: "http",
            host: "localhost".to_owned(),
            client: "127.0.0.0".to_owned(),
            protocol: "1.1",
            status: 200,
        }
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let clock = Clock::system();
        let (spans, mut export) = Spans::new(Outgoing::new(clock.clone()), clock);
        let shared = spans.0.unwrap();

        for _ in 0..CAPACITY {
            shared.offer(any);
        }
        for _ in 0..3 {
            shared.offer(|| panic!("nothing is made of what nobody takes"));
        }
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 3);

        export.waiting.try_recv().unwrap();
        shared.offer(any);
        assert_eq!((export.waiting.len(), shared.dropped.load(Ordering::Relaxed)), (CAPACITY, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn spans_wait_for_others_for_a_moment_or_until_there_are_enough() {
        let clock = Clock::system();
        let (spans, mut export) = Spans::new(Outgoing::new(clock.clone()), clock);
        let shared = spans.0.unwrap();
        let mut batch = Vec::new();
        shared.offer(any);
        shared.offer(any);

        let begun = Instant::now();
        export.fill(&mut batch).await;
        assert_eq!((batch.len(), begun.elapsed()), (2, PAUSE));

        for _ in 0..2 * BATCH {
            shared.offer(any);
        }
        batch.clear();
        export.fill(&mut batch).await;
        assert_eq!((batch.len(), begun.elapsed()), (BATCH, PAUSE));
    }

    #[test]
    fn routes_are_shown_by_what_paths_they_take() {
        let shown =
            [PathRule::Exact("/x".to_owned()), PathRule::Prefix("/".to_owned()), PathRule::Prefix("/a".to_owned())];
        assert_eq!(shown.map(|path| pattern(&path)), ["/x", "/*", "/a/*"]);
    }
}
