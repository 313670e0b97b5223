//! The built binary as a process of its own: started, watched, signalled, killed, started again.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Answer, Config, Connection, Database, Request, eventually, millis, secs};

/// A debug build on a busy machine takes its time.
const START_PATIENCE: Duration = secs(30);
const MAIL_PATIENCE: Duration = secs(10);

/// A running nauth with a directory of its own; both are gone when it is dropped.
pub(crate) struct Nauth {
    directory: TempDir,
    environment: Vec<(String, String)>,
    child: Child,
    output: Arc<Output>,
    read_codes: Mutex<HashMap<String, usize>>,
    public: SocketAddr,
    management: SocketAddr,
    database: Option<Database>,
}

/// A nauth that has ended, or a command that was run.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// Everything it wrote, both streams.
    pub(crate) output: String,
}

impl Nauth {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(config: Config) -> Self {
        let prepared = Prepared::new(config);
        let nauth = prepared.spawn();
        nauth.wait_until_ready().await;
        nauth
    }

    /// Starts it and waits until it answers operators, ready or not.
    pub(crate) async fn start_unready(config: Config) -> Self {
        let nauth = Prepared::new(config).spawn();
        let alive = eventually(START_PATIENCE, async || {
            assert!(!nauth.output.ended(), "nauth ended instead of starting:\n{}", nauth.output.text());
            tokio::net::TcpStream::connect(nauth.management).await.ok()
        });
        assert!(alive.await.is_some(), "nauth does not answer:\n{}", nauth.output.text());
        nauth
    }

    /// Starts it where names are looked up in this file of hosts. `None` where the system does not let anybody
    /// have a view of their own on its files.
    pub(crate) async fn start_with_hosts(config: Config, hosts: &Path) -> Option<Self> {
        let private = ["--map-root-user", "--mount"];
        let is_possible = Command::new("unshare").args(private).arg("true").stderr(Stdio::null()).status();
        if !is_possible.is_ok_and(|status| status.success()) {
            return None;
        }
        let prepared = Prepared::new(config);
        let mut command = Command::new("unshare");
        command.args(private).args(["/bin/sh", "-c", "mount --bind \"$1\" /etc/hosts && exec \"$0\" run"]);
        command.arg(env!("CARGO_BIN_EXE_nauth")).arg(hosts).current_dir(prepared.directory.path());
        let nauth = prepared.run_as(watched(command));
        nauth.wait_until_ready().await;
        Some(nauth)
    }

    /// Starts it on a socket that it is handed, as a service manager does. The socket's address is
    /// where it listens.
    pub(crate) async fn start_handed(config: Config, socket: &TcpListener) -> Self {
        let listen = socket.local_addr().unwrap();
        let mut prepared = Prepared::new(config.set("server.listen", listen.to_string()));
        prepared.public = listen;
        let running = spawn_handed(prepared.directory.path(), &prepared.environment, socket);
        let nauth = prepared.run_as(running);
        nauth.wait_until_ready().await;
        nauth
    }

    /// Tells it to end and starts another one on the same socket beside it; returns how the first one ended.
    pub(crate) async fn replace_handed(&mut self, socket: &TcpListener) -> Finished {
        self.signal(Signal::TERM);
        let (child, output) = spawn_handed(self.directory.path(), &self.environment, socket);
        let mut first = std::mem::replace(&mut self.child, child);
        let said = std::mem::replace(&mut self.output, output);
        let ended = tokio::task::spawn_blocking(move || first.wait().unwrap()).await.unwrap();
        said.wait_for_the_end();
        self.wait_until_ready().await;
        Finished { code: ended.code(), output: said.text() }
    }

    /// Starts it where it must refuse to run, and returns how it ended.
    pub(crate) async fn start_refused(config: Config) -> Finished {
        let mut nauth = Prepared::new(config).spawn();
        nauth.finished_within(START_PATIENCE).await
    }

    /// Starts a second one on this one's data, where it must refuse to run, and returns how it ended.
    pub(crate) async fn start_beside(&self, config: Config) -> Finished {
        let data_dir = self.data_dir();
        Self::start_refused(config.set("server.data_dir", data_dir.to_str().unwrap())).await
    }

    async fn wait_until_ready(&self) {
        let ready = eventually(START_PATIENCE, async || {
            assert!(!self.output.ended(), "nauth ended instead of starting:\n{}", self.output.text());
            // The listener may not be there yet; a refused connection is an answer like any other.
            tokio::net::TcpStream::connect(self.management).await.ok()?;
            let answer = Connection::open(self.management).await.try_ask(&Request::get("/readyz")).await;
            (answer?.status == 200).then_some(())
        });
        assert!(ready.await.is_some(), "nauth is not ready:\n{}", self.output.text());
    }

    /// Where clients connect to.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    /// `localhost:PORT`, as browsers say it.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.public.port())
    }

    /// The origin of its own pages.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.host())
    }

    /// Where operators connect to.
    pub(crate) fn management(&self) -> SocketAddr {
        self.management
    }

    /// `nauth.toml`.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.path().join("nauth.toml")
    }

    /// Database, keys.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Sends a request to the public listener, over a connection of its own.
    pub(crate) async fn send(&self, request: &Request) -> Answer {
        request.send_to(self.public).await
    }

    /// Sends a request to the management listener.
    pub(crate) async fn manage(&self, request: &Request) -> Answer {
        request.send_to(self.management).await
    }

    /// Everything it has written so far.
    pub(crate) fn output(&self) -> String {
        self.output.text()
    }

    /// Waits until it has written this.
    pub(crate) async fn writes(&self, wanted: &str) {
        let written = eventually(MAIL_PATIENCE, async || self.output.text().contains(wanted).then_some(())).await;
        assert!(written.is_some(), "`{wanted}` was not written:\n{}", self.output.text());
    }

    /// Waits for the next code mailed to an address; each is returned once.
    pub(crate) async fn code_for(&self, email: &str) -> String {
        let position = *self.read_codes.lock().unwrap().get(email).unwrap_or(&0);
        let code = eventually(MAIL_PATIENCE, async || self.codes_for(email).into_iter().nth(position)).await;
        let code = code.unwrap_or_else(|| panic!("no code for {email}:\n{}", self.output.text()));
        self.read_codes.lock().unwrap().insert(email.to_owned(), position + 1);
        code
    }

    /// Every code mailed to an address so far.
    pub(crate) fn codes_for(&self, email: &str) -> Vec<String> {
        self.output.codes_for(email)
    }

    /// The sum of a metric over its labels, with only the lines that contain all of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.manage(&Request::get("/metrics")).await.expect(200).text();
        let lines = metrics.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn metric_becomes(&self, name: &str, value: f64) {
        let reached = eventually(secs(5), async || {
            let current = self.metric(name, &[]).await;
            ((current - value).abs() < f64::EPSILON).then_some(())
        });
        assert!(reached.await.is_some(), "{name} did not become {value}:\n{}", self.output());
    }

    /// Replaces `nauth.toml` in one step.
    pub(crate) fn reconfigure(&self, config: &Config) {
        self.write_config(&self.with_own_addresses(config.clone()).to_toml());
    }

    /// Puts this text into `nauth.toml` in one step.
    pub(crate) fn write_config(&self, text: &str) {
        let next = self.directory.path().join("nauth.toml.next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.config_path()).unwrap();
    }

    /// The configuration with this nauth's addresses and directories in it.
    pub(crate) fn with_own_addresses(&self, config: Config) -> Config {
        addressed(config, self.public, self.management, self.database.as_ref())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it has ended.
    pub(crate) async fn finished_within(&mut self, within: Duration) -> Finished {
        let status = self.exits_within(within).await;
        let status = status.unwrap_or_else(|| panic!("nauth did not end:\n{}", self.output.text()));
        self.output.wait_for_the_end();
        Finished { code: status.code(), output: self.output.text() }
    }

    async fn exits_within(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(millis(5)).await;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same directory and ports, after it has ended.
    pub(crate) async fn start_again(&mut self) {
        (self.child, self.output) = spawn(self.directory.path(), &["run"], &self.environment);
        self.read_codes.lock().unwrap().clear();
        self.wait_until_ready().await;
    }

    /// Starts it again where it may refuse to run, for want of a database; answers whether it is ready.
    pub(crate) async fn try_start_again(&mut self) -> bool {
        (self.child, self.output) = spawn(self.directory.path(), &["run"], &self.environment);
        let ready = eventually(START_PATIENCE, async || {
            if self.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            tokio::net::TcpStream::connect(self.management).await.ok()?;
            let answer = Connection::open(self.management).await.try_ask(&Request::get("/readyz")).await;
            (answer?.status == 200).then_some(true)
        });
        ready.await.unwrap_or_else(|| panic!("nauth neither starts nor ends:\n{}", self.output.text()))
    }

    /// Starts it again where it must refuse to run, and returns how it ended.
    pub(crate) async fn start_again_refused(&mut self) -> Finished {
        (self.child, self.output) = spawn(self.directory.path(), &["run"], &self.environment);
        self.finished_within(START_PATIENCE).await
    }

    /// Runs a command of nauth beside it, on the same configuration.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Finished {
        run_command(self.directory.path(), arguments, "").await
    }

    /// Runs a command with something to read on its standard input.
    pub(crate) async fn command_reading(&self, arguments: &[&str], input: &str) -> Finished {
        run_command(self.directory.path(), arguments, input).await
    }
}

impl Drop for Nauth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- nauth wrote ---\n{}\n---", self.output.text());
        }
    }
}

impl Finished {
    /// Runs a command of nauth in a directory.
    pub(crate) async fn of(directory: &Path, arguments: &[&str]) -> Self {
        run_command(directory, arguments, "").await
    }

    /// Demands an exit code, and shows the output when it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.output);
        self
    }

    /// Demands that the output says this.
    #[track_caller]
    pub(crate) fn says(self, wanted: &str) -> Self {
        assert!(self.output.contains(wanted), "`{wanted}` is not in:\n{}", self.output);
        self
    }
}

/// A directory with a configuration, before anything runs in it.
struct Prepared {
    directory: TempDir,
    environment: Vec<(String, String)>,
    public: SocketAddr,
    management: SocketAddr,
    database: Option<Database>,
}

impl Prepared {
    fn new(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let public = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let management = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let database = if config.sets("database.url") { None } else { Database::asked_for() };
        let config = addressed(config, public, management, database.as_ref());
        std::fs::write(directory.path().join("nauth.toml"), config.to_toml()).unwrap();
        Self { directory, environment: config.environment().to_vec(), public, management, database }
    }

    fn spawn(self) -> Nauth {
        let running = spawn(self.directory.path(), &["run"], &self.environment);
        self.run_as(running)
    }

    fn run_as(self, (child, output): (Child, Arc<Output>)) -> Nauth {
        let Self { directory, environment, public, management, database } = self;
        Nauth { directory, environment, child, output, read_codes: Mutex::default(), public, management, database }
    }
}

/// Fills in the addresses and the database, unless the test has set its own.
fn addressed(config: Config, public: SocketAddr, management: SocketAddr, database: Option<&Database>) -> Config {
    let config = config.listen(public).set_default("server.management.addr", management.to_string());
    match database {
        Some(database) => database.of(config),
        None => config,
    }
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nauth"));
    command.args(arguments).current_dir(directory).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

fn spawn(directory: &Path, arguments: &[&str], environment: &[(String, String)]) -> (Child, Arc<Output>) {
    let mut command = command(directory, arguments);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    watched(command)
}

fn watched(mut command: Command) -> (Child, Arc<Output>) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = Output::of(child.stdout.take().unwrap(), child.stderr.take().unwrap());
    (child, output)
}

/// As systemd does it: the socket is file descriptor 3, and two variables say so.
fn spawn_handed(directory: &Path, environment: &[(String, String)], socket: &TcpListener) -> (Child, Arc<Output>) {
    let handed = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", handed, env!("CARGO_BIN_EXE_nauth")]).current_dir(directory).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").envs(environment.iter().map(|(name, value)| (name, value)));
    let socket = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
    let mut child = command.stdin(Stdio::from(socket)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = Output::of(child.stdout.take().unwrap(), child.stderr.take().unwrap());
    (child, output)
}

async fn run_command(directory: &Path, arguments: &[&str], input: &str) -> Finished {
    use std::io::Write as _;

    let mut command = command(directory, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may have closed it already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let finished = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let output = [finished.stdout, finished.stderr].concat();
    Finished { code: finished.status.code(), output: String::from_utf8_lossy(&output).into_owned() }
}

/// A loopback port nobody listens on.
///
/// They come from below the range that outgoing connections use, so that no connection of a
/// neighbouring test takes one before its owner has bound it; processes start at different places.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();

    let start = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap();
    let next = NEXT.get_or_init(|| AtomicU16::new(start));
    loop {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// What a process has written so far, line by line.
#[derive(Default)]
struct Output {
    lines: Mutex<Vec<(Stream, String)>>,
    open_streams: Mutex<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl Output {
    fn of(stdout: impl Read + Send + 'static, stderr: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self { lines: Mutex::default(), open_streams: Mutex::new(2) });
        output.clone().collect(Stream::Out, stdout);
        output.clone().collect(Stream::Err, stderr);
        output
    }

    fn collect(self: Arc<Self>, stream: Stream, from: impl Read + Send + 'static) {
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                self.lines.lock().unwrap().push((stream, String::from_utf8_lossy(&line).into_owned()));
            }
            *self.open_streams.lock().unwrap() -= 1;
        });
    }

    fn ended(&self) -> bool {
        *self.open_streams.lock().unwrap() == 0
    }

    fn wait_for_the_end(&self) {
        let deadline = Instant::now() + secs(5);
        while !self.ended() && Instant::now() < deadline {
            std::thread::sleep(millis(5));
        }
    }

    fn text(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// A code is what stands alone on its line, in the mail that last named this address.
    fn codes_for(&self, email: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let of_stream =
            |wanted| lines.iter().filter(move |(stream, _)| *stream == wanted).map(|(_, line)| line.as_str());
        let mut codes = codes_in(of_stream(Stream::Out), email);
        codes.extend(codes_in(of_stream(Stream::Err), email));
        codes
    }
}

fn codes_in<'a>(lines: impl Iterator<Item = &'a str>, email: &str) -> Vec<String> {
    let mut named = String::new();
    let mut codes = Vec::new();
    for line in lines {
        if let Some(address) = address_in(line) {
            named = address;
        }
        // A frame around the mail is no part of the line.
        let bare = line.trim_matches(|c: char| !c.is_alphanumeric());
        let is_code = (4..=10).contains(&bare.len()) && bare.chars().all(|c| c.is_ascii_digit());
        if is_code && named.eq_ignore_ascii_case(email) {
            codes.push(bare.to_owned());
        }
    }
    codes
}

/// The recipient, where a line names one. Test users live at `example.com`.
fn address_in(line: &str) -> Option<String> {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || "@.+-_".contains(c)));
    let mut addresses = words.filter(|word| word.ends_with("@example.com"));
    addresses.find(|address| !address.starts_with("no-reply@")).map(str::to_owned)
}

#[test]
fn a_code_belongs_to_the_mail_that_names_its_reader() {
    let lines =
        ["To: ada@example.com", "", "Your code is", "  │  123456  │", "To: <bob@example.com>", "654321", "2026 ok"];

    assert_eq!(codes_in(lines.into_iter(), "ada@example.com"), ["123456"]);
    assert_eq!(codes_in(lines.into_iter(), "bob@example.com"), ["654321"]);
}
