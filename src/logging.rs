//! Floor 2, the log: one line for each thing worth saying, never in the way of a request.
//!
//! Lines go through a bounded queue to a thread of their own. When nobody reads standard output the
//! queue fills and lines are dropped and counted; requests go on.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::settings::{Log, LogFormat};

/// Lines that may wait.
const CAPACITY: usize = 8192;
/// Longest wait for standard output to be read.
const SYNC: Duration = Duration::from_secs(1);
/// These report what clients do as errors of their own; the gateway and the use cases say it better.
const QUIET: &str =
    "pingora=off,pingora_core=off,pingora_proxy=off,webauthn_rs_core=off,sqlx=warn,lettre=warn,hyper=warn";

/// The log of this process.
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: Lines,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logging")
    }
}

impl Logging {
    /// Sets up the log. Once for each process.
    pub fn init(settings: &Log) -> anyhow::Result<Self> {
        let (send, receive) = sync_channel(CAPACITY);
        let lines = Lines { queue: send, dropped: Arc::default() };
        let dropped = Arc::clone(&lines.dropped);
        let writer = std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&receive, &dropped))?;
        let (filter, handle) = reload::Layer::new(filter(settings));
        let output = tracing_subscriber::fmt::layer().with_writer(lines.clone());
        let output = match settings.format {
            LogFormat::Json => output
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_filter(filter)
                .boxed(),
            LogFormat::Text => output.with_ansi(false).with_filter(filter).boxed(),
        };
        tracing_subscriber::registry().with(output).try_init()?;
        Ok(Self { filter: handle, lines, writer: Mutex::new(Some(writer)) })
    }

    /// Takes over another level.
    pub fn reload(&self, settings: &Log) {
        // Fails only when the subscriber is gone, and then nobody is listening.
        let _ = self.filter.reload(filter(settings));
    }

    /// Waits until everything said so far is written.
    pub fn sync(&self) {
        let (written, wait) = sync_channel(1);
        if self.lines.queue.send(Line::Sync(written)).is_ok() {
            let _ = wait.recv_timeout(SYNC);
        }
    }

    /// Writes everything said so far and ends.
    pub fn flush(&self) {
        let _ = self.lines.queue.send(Line::End);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

fn filter(settings: &Log) -> EnvFilter {
    EnvFilter::try_new(format!("{QUIET},{}", settings.level))
        .unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},info")))
}

enum Line {
    Text(Vec<u8>),
    Sync(SyncSender<()>),
    End,
}

/// The entrance of the queue.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Entry<'a>;

    fn make_writer(&'a self) -> Entry<'a> {
        Entry { lines: self, text: Vec::with_capacity(256) }
    }
}

/// One line being written; it enters the queue when it is whole.
struct Entry<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl Write for Entry<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if let Err(TrySendError::Full(_)) = self.lines.queue.try_send(Line::Text(text)) {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(lines: &Receiver<Line>, dropped: &AtomicU64) {
    let mut out = io::stdout();
    while let Ok(line) = lines.recv() {
        match line {
            // Nobody to tell when standard output is gone.
            Line::Text(text) => drop(out.write_all(&text)),
            Line::Sync(written) => drop(written.try_send(())),
            Line::End => break,
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} log lines were dropped: standard output was not read");
        }
    }
    let _ = out.flush();
}

/// An error and its causes, in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_nobody_empties_drops_and_counts() {
        let (queue, _held) = sync_channel(1);
        let lines = Lines { queue, dropped: Arc::default() };

        for _ in 0..3 {
            lines.make_writer().write_all(b"x").unwrap();
        }

        assert_eq!(lines.dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let inner = io::Error::other("disk on fire");
        let error = crate::transient::TransientError(Box::new(inner));

        assert_eq!(chain(&error), "transient state cannot serve: disk on fire");
    }
}
