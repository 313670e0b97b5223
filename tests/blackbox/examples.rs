//! Every shipped configuration passes `nauth check` and boots.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Request, eventually, free_port, secs};

#[tokio::test]
async fn every_shipped_configuration_is_sound_and_boots() {
    for file in shipped() {
        let directory = tempfile::tempdir().unwrap();
        let check = command(&file, directory.path(), "check").output().unwrap();
        let report = [check.stdout, check.stderr].concat();
        assert_eq!(check.status.code(), Some(0), "{}:\n{}", file.display(), String::from_utf8_lossy(&report));

        let (listen, management) = (address(), address());
        let mut run = command(&file, directory.path(), "run");
        run.env("NAUTH__SERVER__LISTEN", listen.to_string());
        run.env("NAUTH__SERVER__MANAGEMENT__ADDR", management.to_string());
        run.env("NAUTH__SERVER__DATA_DIR", directory.path().join("data"));
        let mut running = Running(run.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap());

        let ready = eventually(secs(30), async || {
            assert!(running.0.try_wait().unwrap().is_none(), "{} ended instead of booting", file.display());
            tokio::net::TcpStream::connect(management).await.ok()?;
            (Request::get("/readyz").send_to(management).await.status == 200).then_some(())
        });
        assert!(ready.await.is_some(), "{} is not ready", file.display());
        assert!(tokio::net::TcpStream::connect(listen).await.is_ok());
    }
}

/// `nauth.toml` and what lies in `examples/`.
fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = std::fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let examples = examples.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut files: Vec<PathBuf> = examples.collect();
    assert!(!files.is_empty(), "examples/ holds at least one configuration");
    files.push(root.join("nauth.toml"));
    files
}

fn command(config: &Path, directory: &Path, command: &str) -> Command {
    let mut nauth = Command::new(env!("CARGO_BIN_EXE_nauth"));
    nauth.args([command, "--config"]).arg(config).current_dir(directory).env_clear().env("PATH", "/usr/bin:/bin");
    nauth
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
