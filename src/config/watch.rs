//! Watching the files: directories rather than files, because editors rename and Kubernetes swaps
//! links, and a slow look at the contents besides, because some file systems tell nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::config::load::{digest, fingerprint};

/// How often the contents are looked at without being told.
const LOOK: Duration = Duration::from_secs(2);

/// Tells when the files have changed and come to rest.
#[derive(Debug)]
pub struct Watcher {
    files: Vec<PathBuf>,
    known: Seen,
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
        let inner = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own look at the files opens them; answering that with another look would never end.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
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
        let (known, directories) = (Seen::default(), BTreeSet::new());
        let mut watcher = Self { files: Vec::new(), known, events, inner, directories };
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
        self.known = Seen { fingerprint: loaded, ..look(&files) };
        self.files = files;
    }

    /// Waits until the files differ from what was last answered, and have rested for two of `debounce`.
    pub async fn changed(&mut self, debounce: Duration) {
        loop {
            if look(&self.files) == self.known {
                self.told_or_time_to_look().await;
            }
            let rested = rest(&self.files, debounce).await;
            if rested != self.known {
                self.known = rested;
                return;
            }
        }
    }

    /// Ends at an announcement, and after [`LOOK`] in any case.
    async fn told_or_time_to_look(&mut self) {
        if timeout(LOOK, self.events.recv()).await == Ok(None) {
            // Nobody is there to announce anything.
            sleep(LOOK).await;
        }
    }
}

/// What the files hold, and which others lie beside them: a pattern of `include` may name a new one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    fingerprint: String,
    neighbours: BTreeSet<PathBuf>,
}

/// What is seen, once it has stayed the same for two periods.
async fn rest(files: &[PathBuf], debounce: Duration) -> Seen {
    let mut seen = look(files);
    let mut since = Instant::now();
    while since.elapsed() < debounce * 2 {
        sleep(debounce).await;
        let now = look(files);
        if now != seen {
            seen = now;
            since = Instant::now();
        }
    }
    seen
}

fn look(files: &[PathBuf]) -> Seen {
    let directories: BTreeSet<PathBuf> = files.iter().map(|file| directory(file)).collect();
    let neighbours = directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten();
    let neighbours = neighbours.filter_map(|entry| Some(entry.ok()?.path()));
    Seen {
        fingerprint: fingerprint(files.iter().map(|file| Some(digest(&std::fs::read(file).ok()?)))),
        neighbours: neighbours.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect(),
    }
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

    fn watching(file: &Path) -> Watcher {
        let files = vec![file.to_owned()];
        let loaded = look(&files).fingerprint;
        Watcher::new(files, loaded)
    }

    async fn seen(watcher: &mut Watcher) -> bool {
        timeout(Duration::from_secs(10), watcher.changed(DEBOUNCE)).await.is_ok()
    }

    #[tokio::test]
    async fn every_way_of_changing_a_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let mut watcher = watching(&file);

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
    async fn links_swapped_like_a_mounted_config_map_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir = |name: &str| dir.path().join(name);
        for version in ["1", "2"] {
            std::fs::create_dir(in_dir(version)).unwrap();
            std::fs::write(in_dir(version).join("nauth.toml"), version).unwrap();
        }
        std::os::unix::fs::symlink("1", in_dir("..data")).unwrap();
        std::os::unix::fs::symlink("..data/nauth.toml", in_dir("nauth.toml")).unwrap();
        let mut watcher = watching(&in_dir("nauth.toml"));

        std::os::unix::fs::symlink("2", in_dir("..data_tmp")).unwrap();
        std::fs::rename(in_dir("..data_tmp"), in_dir("..data")).unwrap();

        assert!(seen(&mut watcher).await);
    }

    #[tokio::test]
    async fn a_file_written_in_pieces_is_one_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "old").unwrap();
        let mut watcher = watching(&file);

        let pieces = tokio::spawn(async move {
            for length in 1..=10 {
                std::fs::write(&file, "n".repeat(length)).unwrap();
                sleep(DEBOUNCE / 4).await;
            }
        });
        let noticed = timeout(Duration::from_secs(10), watcher.changed(DEBOUNCE * 5)).await;
        assert!(noticed.is_ok());
        let whole = watcher.known.fingerprint.clone();
        pieces.await.unwrap();

        assert_eq!(whole, fingerprint([Some(digest(b"nnnnnnnnnn"))]));
        assert!(timeout(Duration::from_millis(300), watcher.changed(DEBOUNCE)).await.is_err());
    }

    #[tokio::test]
    async fn a_new_file_beside_the_others_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let mut watcher = watching(&file);

        std::fs::write(dir.path().join("more.toml"), "2").unwrap();

        assert!(seen(&mut watcher).await);
    }

    #[tokio::test]
    async fn looking_at_the_files_is_no_announcement() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let mut watcher = watching(&file);

        for _ in 0..3 {
            look(std::slice::from_ref(&file));
        }

        assert!(timeout(Duration::from_millis(300), watcher.events.recv()).await.is_err());
    }

    #[tokio::test]
    async fn a_change_between_loading_and_watching_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let loaded = fingerprint([Some(digest(b"1"))]);
        std::fs::write(&file, "2").unwrap();

        let mut watcher = Watcher::new(vec![file], loaded);

        assert!(seen(&mut watcher).await);
    }

    #[tokio::test]
    async fn the_same_contents_again_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nauth.toml");
        std::fs::write(&file, "1").unwrap();
        let mut watcher = watching(&file);

        std::fs::write(&file, "1").unwrap();
        let noticed = timeout(Duration::from_millis(300), watcher.changed(DEBOUNCE)).await;

        assert!(noticed.is_err());
    }
}
