//! The data directory: made, locked by one server, home of the generated master key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::secret::Secret;

/// The generated master key, in base64.
const KEY_FILE: &str = "master.key";
/// Held by the one server that runs on the directory.
const LOCK_FILE: &str = "nauth.lock";
/// How long to wait before trying the lock again.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Length of a generated master key.
const KEY_BYTES: usize = 32;

/// The directory.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

/// Held as long as the server runs; the system releases it with the process, however that ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl DataDir {
    /// Opens the directory, making it when it is not there: for its owner only.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("the data directory `{}` cannot be made", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Claims the directory for this process.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        let file = private(&path, false)
            .with_context(|| format!("the data directory `{}` cannot be written", self.path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) => bail!(
                "another nauth runs on the data directory `{}`; stop it, or set another `server.data_dir`",
                self.path.display()
            ),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("`{}` cannot be locked", path.display()))
            }
        }
    }

    /// Claims the directory once the process that holds it has ended, which it is about to.
    pub async fn lock_after_another(&self, patience: Duration) -> anyhow::Result<Lock> {
        let began = Instant::now();
        let mut told = false;
        loop {
            match self.lock() {
                Err(_) if began.elapsed() < patience => {}
                locked => return locked,
            }
            if !told {
                tracing::info!("waiting for the nauth that runs on the data directory to end");
                told = true;
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// Makes sure a database file is there and readable by its owner only.
    pub fn prepare_database(&self, path: &Path) -> anyhow::Result<()> {
        private(path, false).with_context(|| format!("the database `{}` cannot be opened", path.display()))?;
        Ok(())
    }

    /// The generated master key, when there is one.
    pub fn master_key(&self) -> anyhow::Result<Option<Secret<Vec<u8>>>> {
        let path = self.path.join(KEY_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("the master key `{}` cannot be read", path.display()));
            }
        };
        let key = STANDARD.decode(text.trim()).ok().filter(|key| key.len() >= KEY_BYTES);
        let Some(key) = key else { bail!("the master key `{}` is damaged; restore it from a backup", path.display()) };
        Ok(Some(Secret::new(key)))
    }

    /// Generates a master key. It is on the disk before anything is signed with it.
    pub fn generate_master_key(&self) -> anyhow::Result<Secret<Vec<u8>>> {
        let mut key = vec![0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        let path = self.path.join(KEY_FILE);
        let context = || format!("the master key `{}` cannot be written", path.display());
        let mut file = private(&path, true).with_context(context)?;
        file.write_all(format!("{}\n", STANDARD.encode(&key)).as_bytes()).with_context(context)?;
        file.sync_all().with_context(context)?;
        File::open(&self.path).and_then(|directory| directory.sync_all()).with_context(context)?;
        Ok(Secret::new(key))
    }

    /// Where the generated master key lives.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.path.join(KEY_FILE)
    }
}

/// A file for its owner only.
fn private(path: &Path, must_be_new: bool) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .create_new(must_be_new)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_generated_key_is_found_again_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        assert!(data.master_key().unwrap().is_none());

        let made = data.generate_master_key().unwrap();

        assert_eq!(data.master_key().unwrap().unwrap().expose(), made.expose());
        assert_eq!(fs::metadata(data.key_path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("data")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(data.generate_master_key().is_err(), "a key is never overwritten");
    }

    #[test]
    fn one_process_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let held = data.lock().unwrap();

        assert!(data.lock().unwrap_err().to_string().contains("another nauth runs"));
        drop(held);
        assert!(data.lock().is_ok());
    }
}
