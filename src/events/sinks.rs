//! Where entries of the audit trail go besides the database: a line of JSON each, on standard output and at the
//! end of files.
//!
//! Lines wait in a bounded queue, so neither a full disk nor a reader that has stopped holds up a login: what
//! does not fit, or cannot be written, is counted and lost here, and stands in the database all the same.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::settings::AuditSink;
use crate::domain::clock::Time;
use crate::domain::context::{RequestContext, redacted};
use crate::events::audit;
use crate::metrics::Metrics;
use crate::store::audit::AuditRow;

/// Lines that may wait.
const CAPACITY: usize = 4096;
/// Lines written at a time.
const BATCH: usize = 256;
/// A file is for its owner, and for a group that ships it elsewhere.
const FILE_MODE: u32 = 0o640;

/// The outputs of one configuration. A reload opens them anew, which is how a file is rotated.
#[derive(Debug, Default)]
pub struct Outputs {
    all: Vec<Arc<Output>>,
    /// Whether standard output gets client addresses cut.
    redacts: bool,
}

/// One of them.
#[derive(Debug)]
struct Output {
    /// `None` is standard output.
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` before the first line and after one that could not be written.
    file: Option<File>,
    /// Whether the last line may have been written in part.
    is_torn: bool,
}

/// A line on its way out.
#[derive(Debug)]
struct Line {
    to: Arc<Output>,
    text: String,
}

/// The queue's entrance and, until somebody runs it, its exit.
#[derive(Debug)]
pub struct Feed {
    entrance: mpsc::Sender<Line>,
    exit: Mutex<Option<mpsc::Receiver<Line>>>,
}

impl Default for Feed {
    fn default() -> Self {
        let (entrance, exit) = mpsc::channel(CAPACITY);
        Self { entrance, exit: Mutex::new(Some(exit)) }
    }
}

impl Outputs {
    /// Opens what these settings name; `redacts` cuts client addresses on standard output.
    ///
    /// # Errors
    /// A file that cannot be appended to.
    pub fn open(sinks: &[AuditSink], redacts: bool) -> io::Result<Self> {
        let mut all = Vec::new();
        for sink in sinks {
            let (path, file) = match sink {
                AuditSink::Stdout => (None, None),
                AuditSink::File(path) => (Some(path.clone()), Some(append_to(path)?)),
                AuditSink::Webhook(_) => continue,
            };
            all.push(Arc::new(Output { path, state: Mutex::new(State { file, is_torn: false }) }));
        }
        Ok(Self { all, redacts })
    }
}

impl Output {
    /// Writes lines, each with its end; the next ones begin on a line of their own whatever became of these.
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.try_write(&mut state, lines);
        state.is_torn = result.is_err();
        if result.is_err() {
            state.file = None;
        }
        result
    }

    fn try_write(&self, state: &mut State, lines: &[u8]) -> io::Result<()> {
        let Some(path) = &self.path else {
            let mut out = io::stdout().lock();
            out.write_all(lines)?;
            return out.flush();
        };
        let mut file = match state.file.take() {
            Some(file) => file,
            None => append_to(path)?,
        };
        if state.is_torn {
            file.write_all(b"\n")?;
        }
        file.write_all(lines)?;
        state.file = Some(file);
        Ok(())
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

impl Feed {
    /// Puts an entry that is durable into the queue for each output; counts as lost what does not fit.
    pub(super) fn push(&self, outputs: &Outputs, row: &AuditRow, ctx: &RequestContext, now: Time, metrics: &Metrics) {
        for to in &outputs.all {
            let is_cut = to.path.is_none() && outputs.redacts;
            let text = line(row, ctx, if is_cut { redacted(ctx.ip) } else { ctx.ip.to_string() }, now);
            if self.entrance.try_send(Line { to: Arc::clone(to), text }).is_err() {
                metrics.audit_dropped(1);
            }
        }
    }

    /// Writes lines until cancelled, then what is left. The first caller gets the work.
    pub(super) async fn run(&self, metrics: Metrics, stop: CancellationToken) {
        let taken = self.exit.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut exit) = taken else { return };
        let mut is_well = true;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            let stopping = tokio::select! {
                received = exit.recv_many(&mut batch, BATCH) => received == 0,
                () = stop.cancelled() => {
                    exit.close();
                    exit.recv_many(&mut batch, BATCH).await == 0
                }
            };
            let failed = tokio::task::spawn_blocking(move || write(&batch)).await.unwrap_or_default();
            for (name, error, lost) in &failed {
                metrics.audit_dropped(*lost);
                // Once, and again after it went well for a while: a full disk is full for every line.
                if is_well {
                    tracing::error!(sink = name, %error, "audit entries do not get there; they stand in the database");
                }
            }
            is_well = failed.is_empty();
            if stopping {
                return;
            }
        }
    }
}

/// An entry as a line says it.
fn line(row: &AuditRow, ctx: &RequestContext, ip: String, now: Time) -> String {
    let mut entry = audit::json(row, ctx, now);
    entry.insert("type".to_owned(), "audit".into());
    entry.insert("ipAddress".to_owned(), ip.into());
    entry.insert("userAgent".to_owned(), ctx.user_agent.as_deref().into());
    entry.insert("requestId".to_owned(), (&*ctx.request_id).into());
    Value::Object(entry).to_string()
}

/// Writes a batch, the lines of each output at once; answers which outputs took none, why, and how many lines.
fn write(batch: &[Line]) -> Vec<(String, io::Error, u64)> {
    let mut failed = Vec::new();
    let mut left: Vec<&Line> = batch.iter().collect();
    while let Some(first) = left.first().map(|line| Arc::clone(&line.to)) {
        let (own, others): (Vec<&Line>, Vec<&Line>) = left.into_iter().partition(|line| Arc::ptr_eq(&line.to, &first));
        let text: String = own.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
        if let Err(error) = first.write(text.as_bytes()) {
            failed.push((first.name(), error, own.len() as u64));
        }
        left = others;
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Event;

    fn outputs(path: &str) -> Outputs {
        Outputs::open(&[AuditSink::File(path.into())], true).unwrap()
    }

    fn push(feed: &Feed, outputs: &Outputs, metrics: &Metrics) {
        let row = audit::row(&Event::LoginBlocked { user: None }).unwrap();
        feed.push(outputs, &row, &RequestContext::local(), Time::from_secs(0), metrics);
    }

    #[tokio::test]
    async fn lines_are_appended_in_order_and_a_torn_one_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        std::fs::write(&path, "{\"torn").unwrap();
        let (feed, outputs, metrics) = (Feed::default(), outputs(path.to_str().unwrap()), Metrics::new());
        outputs.all[0].state.lock().unwrap().is_torn = true;

        push(&feed, &outputs, &metrics);
        push(&feed, &outputs, &metrics);
        let stop = CancellationToken::new();
        stop.cancel();
        feed.run(metrics, stop).await;

        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines.len(), text.ends_with('\n')), ("{\"torn", 3, true));
        let entry: Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!((&entry["eventType"], &entry["ipAddress"]), (&"LOGIN_BLOCKED".into(), &"127.0.0.1".into()));
    }

    #[tokio::test]
    async fn a_full_disk_and_a_full_queue_are_counted_and_hold_nobody_up() {
        let (feed, outputs, metrics) = (Feed::default(), outputs("/dev/full"), Metrics::new());

        for _ in 0..CAPACITY + 10 {
            push(&feed, &outputs, &metrics);
        }
        assert!(metrics.render().contains("nauth_audit_dropped_total 10"), "what does not fit");
        let stop = CancellationToken::new();
        stop.cancel();
        feed.run(metrics.clone(), stop).await;

        let all = CAPACITY + 10;
        assert!(metrics.render().contains(&format!("nauth_audit_dropped_total {all}")), "what cannot be written");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_at_once() {
        assert!(Outputs::open(&[AuditSink::File("/dev/null/audit".into())], true).is_err());
    }
}
