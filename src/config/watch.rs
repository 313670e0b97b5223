//! Watching the files: directories rather than files, because editors rename and Kubernetes swaps
//! links, and a slow look at the contents besides, because some file systems tell nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::config::load::fingerprint;

/// How often the contents are looked at without being told.
const LOOK: Duration = Duration::from_secs(2);

/// Tells when the files have changed and come to rest.
#[derive(Debug)]
pub struct Watcher {
    files: Vec<PathBuf>,
    known: String,
    events: mpsc::Receiver<()>,
    inner: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Watches these files. What they held when they were loaded is told by its fingerprint, so
    /// that a change in between is noticed too.
    #[must_use]
    pub fn new(files: Vec<PathBuf>, loaded: String) -> Self {
        let (told, events) = mpsc::channel(1);
        let inner = notify::recommended_watcher(move |_| {
            // One announcement is enough, however many events are behind it.
            let _ = told.try_send(());
        });
        let inner = match inner {
            Ok(inner) => Some(inner),
            Err(error) => {
                tracing::warn!(%error, "file changes are not announced here; looking every {}s", LOOK.as_secs());
                None
            }
        };
        let mut watcher = Self { files: Vec::new(), known: String::new(), events, inner, directories: BTreeSet::new() };
        watcher.watch(files, loaded);
        watcher
    }

    /// Watches these files instead.
    pub fn watch(&mut self, files: Vec<PathBuf>, loaded: String) {
        let wanted: BTreeSet<PathBuf> = files.iter().map(|file| directory(file)).collect();
        if let Some(inner) = &mut self.inner {
            for old in self.directories.difference(&wanted) {
                let _ = inner.unwatch(old);
            }
            for new in wanted.difference(&self.directories) {
                if let Err(error) = inner.watch(new, RecursiveMode::NonRecursive) {
                    tracing::warn!(%error, path = %new.display(), "changes of this directory are not announced");
                }
            }
        }
        self.directories = wanted;
        self.known = loaded;
        self.files = files;
    }

    /// Waits until the files differ from what was last answered, and have rested for two of `debounce`.
    pub async fn changed(&mut self, debounce: Duration) {
        loop {
            if contents(&self.files) == self.known {
                let _ = timeout(LOOK, self.events.recv()).await;
            }
            let rested = rest(&self.files, debounce).await;
            if rested != self.known {
                self.known = rested;
                return;
            }
        }
    }
}

/// The contents, once they have stayed the same for two periods.
async fn rest(files: &[PathBuf], debounce: Duration) -> String {
    let mut seen = contents(files);
    let mut since = Instant::now();
    while since.elapsed() < debounce * 2 {
        sleep(debounce).await;
        let now = contents(files);
        if now != seen {
            seen = now;
            since = Instant::now();
        }
    }
    seen
}

/// The fingerprint of what the files hold now.
fn contents(files: &[PathBuf]) -> String {
    let read: Vec<Option<Vec<u8>>> = files.iter().map(|file| std::fs::read(file).ok()).collect();
    fingerprint(read.iter().map(Option::as_deref))
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: Duration = Duration::from_millis(20);

    async fn seen(watcher: &mut Watcher) -> bool {
        timeout(Duration::from_secs(10), watcher.changed(DEBOUNCE)).await.is_ok()
    }

    #[tokio::test]
    async fn every_way_of_changing_a_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let mut watcher = Watcher::new(vec![file.clone()], contents(std::slice::from_ref(&file)));

        std::fs::write(&file, "2").unwrap();
        assert!(seen(&mut watcher).await, "written in place");

        std::fs::write(dir.path().join("new"), "3").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        assert!(seen(&mut watcher).await, "renamed over");

        std::fs::remove_file(&file).unwrap();
        assert!(seen(&mut watcher).await, "removed");

        std::fs::create_dir(dir.path().join("v1")).unwrap();
        std::fs::write(dir.path().join("v1/nauth.toml"), "4").unwrap();
        std::os::unix::fs::symlink("v1/nauth.toml", &file).unwrap();
        assert!(seen(&mut watcher).await, "linked");
    }

    #[tokio::test]
    async fn a_change_between_loading_and_watching_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let loaded = contents(std::slice::from_ref(&file));
        std::fs::write(&file, "2").unwrap();

        let mut watcher = Watcher::new(vec![file], loaded);

        assert!(seen(&mut watcher).await);
    }

    #[tokio::test]
    async fn the_same_contents_again_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let mut watcher = Watcher::new(vec![file.clone()], contents(std::slice::from_ref(&file)));

        std::fs::write(&file, "1").unwrap();
        let noticed = timeout(Duration::from_millis(300), watcher.changed(DEBOUNCE)).await;

        assert!(noticed.is_err());
    }
}
