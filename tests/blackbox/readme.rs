//! The README is run as it is written: every block marked with `<!-- run -->`, in order, in one shell.
//!
//! Only what differs from machine to machine is replaced: ports, the code in the mail, and the first
//! command, which starts the binary under test instead of building another one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::{Echo, Request, eventually, free_port, secs};

/// The command the README starts with.
const START: &str = "cargo run --release";
/// The code of its examples.
const CODE: &str = "123456";
/// Where its examples find nauth, and where they find an app.
const NAUTH: &str = "localhost:8080";
const APP: &str = "127.0.0.1:3000";

// The shell blocks its thread; the app it talks to needs another.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_does_what_it_says() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = runnable_blocks(&readme);
    assert_eq!(blocks.first().map(|block| block.command.trim()), Some(START), "the README begins with the start");
    let echo = Echo::start().await;
    let directory = Place::new();
    let nauth = directory.start().await;
    let mut shell = Shell::start(directory.path());

    for block in &blocks[1..] {
        let code = if block.command.contains(CODE) { nauth.code().await } else { String::new() };
        let command = block
            .command
            .replace(CODE, &code)
            .replace(NAUTH, &directory.listen)
            .replace(APP, &echo.address().to_string());
        let (status, output) = shell.run(&command);
        assert_eq!(status, 0, "{command}\nprinted:\n{output}\nnauth wrote:\n{}", nauth.written());
        for wanted in &block.expected {
            let shown = eventually(secs(5), async || {
                (output.contains(wanted.as_str()) || shell.run(&command).1.contains(wanted.as_str())).then_some(())
            });
            assert!(shown.await.is_some(), "`{wanted}` is not in what this printed:\n{command}\n{output}");
        }
    }
    assert!(!echo.seen().is_empty(), "the README ends in front of an app");
}

/// A block of the README.
struct Block {
    command: String,
    /// What its output must contain: the words of its `<!-- run: … -->`, separated by `|`.
    expected: Vec<String>,
}

fn runnable_blocks(readme: &str) -> Vec<Block> {
    let marked = regex::Regex::new(r"(?s)<!-- run(?:: ([^>]*?))? -->\n```sh\n(.*?)```").unwrap();
    let block = |found: regex::Captures<'_>| Block {
        command: found[2].to_owned(),
        expected: found
            .get(1)
            .map_or_else(Vec::new, |words| words.as_str().split('|').map(|word| word.trim().to_owned()).collect()),
    };
    marked.captures_iter(readme).map(block).collect()
}

#[test]
fn blocks_are_found_with_what_they_must_print() {
    let readme =
        "text\n<!-- run -->\n```sh\na\n```\n```sh\nnot run\n```\n<!-- run: x | y z -->\n```sh\nb \\\n  c\n```\n";

    let blocks = runnable_blocks(readme);

    let commands: Vec<&str> = blocks.iter().map(|block| block.command.as_str()).collect();
    assert_eq!(commands, ["a\n", "b \\\n  c\n"]);
    assert_eq!(blocks[1].expected, ["x", "y z"]);
}

/// Where the README's reader stands: a directory with the shipped `nauth.toml`.
struct Place {
    directory: tempfile::TempDir,
    listen: String,
    management: String,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("nauth.toml");
        std::fs::copy(&shipped, directory.path().join("nauth.toml")).unwrap();
        let address = || format!("127.0.0.1:{}", free_port());
        Self { directory, listen: address(), management: address() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn start(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nauth"));
        command.current_dir(self.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("NAUTH__SERVER__LISTEN", &self.listen).env("NAUTH__SERVER__MANAGEMENT__ADDR", &self.management);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let written = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), written.clone());
        collect(child.stderr.take().unwrap(), written.clone());
        let running = Running { child, written };
        let ready = eventually(secs(30), async || {
            tokio::net::TcpStream::connect(&self.management).await.ok()?;
            let answer = Request::get("/readyz").send_to(self.management.parse().unwrap()).await;
            (answer.status == 200).then_some(())
        });
        assert!(ready.await.is_some(), "the shipped nauth.toml does not start:\n{}", running.written());
        running
    }
}

fn collect(from: impl std::io::Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.lock().unwrap().push_str(&(line + "\n"));
        }
    });
}

struct Running {
    child: Child,
    written: Arc<Mutex<String>>,
}

impl Running {
    fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }

    /// The last code that stands alone on its line.
    async fn code(&self) -> String {
        let code = eventually(secs(10), async || {
            let bare = |line: &str| line.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
            let is_code = |word: &String| word.len() == CODE.len() && word.chars().all(|c| c.is_ascii_digit());
            self.written().lines().map(bare).rfind(is_code)
        });
        code.await.unwrap_or_else(|| panic!("no code in:\n{}", self.written()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One `sh` that keeps its variables from block to block.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new("sh");
        command.current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Runs a block; returns its status and what it printed.
    fn run(&mut self, block: &str) -> (i32, String) {
        const END: &str = "--- end of block ";
        writeln!(self.input, "{{\n{block}\n}} 2>&1\nprintf '\\n{END}%s\\n' $?").unwrap();
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell ended:\n{printed}");
            if let Some(status) = line.strip_prefix(END) {
                return (status.trim().parse().unwrap(), printed);
            }
            printed.push_str(&line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_shell_keeps_its_variables() {
    let directory = tempfile::tempdir().unwrap();
    let mut shell = Shell::start(directory.path());

    assert_eq!(shell.run("A=1").0, 0);
    assert_eq!(shell.run("echo \"a is $A\""), (0, "a is 1\n\n".to_owned()));
    assert_eq!(shell.run("false").0, 1);
}
