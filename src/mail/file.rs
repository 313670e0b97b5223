//! Mail as files, for tests and for programs that pick it up themselves: one `.eml` each.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::mail::smtp::Mime;
use crate::mail::{DeliveryError, Rendered, Transport};

/// Writes messages into a directory.
#[derive(Debug)]
pub struct File {
    directory: PathBuf,
    mime: Mime,
}

impl File {
    /// A transport into this directory, which is made when it is not there.
    #[must_use]
    pub fn new(directory: PathBuf, mime: Mime) -> Self {
        Self { directory, mime }
    }
}

#[async_trait]
impl Transport for File {
    async fn deliver(&self, message: &Rendered) -> Result<(), DeliveryError> {
        let text = self.mime.of(message)?.formatted();
        let directory = self.directory.clone();
        let written = tokio::task::spawn_blocking(move || write(&directory, &text)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DeliveryError::Temporary(error.to_string())),
            Err(error) => Err(DeliveryError::Temporary(error.to_string())),
        }
    }
}

/// Under another name first: whoever watches the directory sees whole files only.
fn write(directory: &Path, text: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let name = uuid::Uuid::now_v7().to_string();
    let unfinished = directory.join(format!(".{name}"));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(unfinished, directory.join(format!("{name}.eml")))
}
