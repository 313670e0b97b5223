//! Mail through a real mail server (aiosmtpd, as Debian ships it).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::{Config, Nauth, PASSWORD, eventually, free_port, millis, secs};

#[tokio::test]
async fn a_code_comes_by_mail_as_text_and_html() {
    let server = MailServer::start(free_port()).await;
    let nauth = Nauth::start(config(&server.url())).await;

    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    let mail = server.mail_to("ada@example.com").await;

    assert!(mail.contains("multipart/alternative"), "{mail}");
    assert!(mail.contains("text/plain") && mail.contains("text/html"), "{mail}");
    assert!(mail.contains("My App") && mail.contains("<no-reply@example.com>"), "{mail}");
    let code = code_alone_on_its_line(&mail);
    nauth.respond(challenge["session"].as_str().unwrap(), &code).await.expect(200);
    assert!(!nauth.output().contains(&code), "the code is in the log");
}

#[tokio::test]
async fn mail_waits_for_a_server_that_is_down() {
    let port = free_port();
    let nauth = Nauth::start(config(&format!("smtp://127.0.0.1:{port}"))).await;
    nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);
    let failed = eventually(secs(10), async || {
        (nauth.metric("nauth_emails_total", &[]).await > 0.0 || nauth.output().contains("WARN")).then_some(())
    });
    assert!(failed.await.is_some(), "nobody says that mail does not leave");

    let server = MailServer::start(port).await;

    let mail = server.mail_to("ada@example.com").await;
    code_alone_on_its_line(&mail);
}

#[tokio::test]
async fn mail_survives_kill_9() {
    let port = free_port();
    let mut nauth = Nauth::start(config(&format!("smtp://127.0.0.1:{port}"))).await;
    nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);
    nauth.kill();
    let server = MailServer::start(port).await;

    nauth.start_again().await;

    code_alone_on_its_line(&server.mail_to("ada@example.com").await);
}

#[tokio::test]
async fn a_code_does_not_leave_in_the_clear_where_tls_is_demanded() {
    let server = MailServer::start(free_port()).await;
    let nauth = Nauth::start(config(&format!("{}?tls=required", server.url()))).await;

    nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);

    let failed = eventually(secs(10), async || nauth.output().contains("WARN").then_some(())).await;
    assert!(failed.is_some(), "nobody says that mail does not leave:\n{}", nauth.output());
    tokio::time::sleep(millis(500)).await;
    assert_eq!(server.received(), "");
}

#[tokio::test]
async fn mail_travels_by_tls_from_the_start_or_by_starttls() {
    let certificate = Certificate::for_localhost();
    for (scheme, options) in [("smtps", ""), ("smtp", "?tls=required")] {
        let server = MailServer::with_tls(free_port(), scheme, &certificate).await;
        let url = format!("{scheme}://localhost:{}{options}", server.port);

        // Certificates are checked against the system's authorities, and this one is added to them.
        let trusting = Nauth::start(config(&url).env("SSL_CERT_FILE", &certificate.path())).await;
        trusting.try_signup("ada@example.com", PASSWORD).await.expect(201);
        code_alone_on_its_line(&server.mail_to("ada@example.com").await);

        let doubting = Nauth::start(config(&url)).await;
        doubting.try_signup("bob@example.com", PASSWORD).await.expect(201);
        doubting.writes("trying again").await;
        assert!(!server.received().contains("bob@example.com"), "{}", server.received());
    }
}

fn config(url: &str) -> Config {
    Config::whoami()
        .set("email.provider", "smtp")
        .set("email.from", "My App <no-reply@example.com>")
        .set("email.smtp.url", url)
        .set("email.smtp.timeout", "2s")
}

/// The text part is the first; a line of digits in it is the code.
fn code_alone_on_its_line(mail: &str) -> String {
    let mut lines = mail.lines().map(str::trim);
    let code = lines.find(|line| line.len() == 6 && line.chars().all(|c| c.is_ascii_digit()));
    code.unwrap_or_else(|| panic!("no code in:\n{mail}")).to_owned()
}

/// A mail server that prints what it receives.
struct MailServer {
    child: Child,
    port: u16,
    received: Arc<Mutex<String>>,
}

/// A certificate for `localhost` that signs itself, and its key.
struct Certificate {
    directory: tempfile::TempDir,
}

impl Certificate {
    fn for_localhost() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { directory }
    }

    fn path(&self) -> String {
        self.directory.path().join("cert.pem").to_str().unwrap().to_owned()
    }

    fn key_path(&self) -> String {
        self.directory.path().join("key.pem").to_str().unwrap().to_owned()
    }
}

impl MailServer {
    async fn start(port: u16) -> Self {
        Self::run(port, &[]).await
    }

    /// TLS from the start (`smtps`), else by STARTTLS.
    async fn with_tls(port: u16, scheme: &str, certificate: &Certificate) -> Self {
        let (cert, key) = if scheme == "smtps" { ("--smtpscert", "--smtpskey") } else { ("--tlscert", "--tlskey") };
        Self::run(port, &[cert, &certificate.path(), key, &certificate.key_path()]).await
    }

    async fn run(port: u16, options: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(python());
        command.args(["-u", "-m", "aiosmtpd", "-n", "-l", &listen]).args(options);
        command.args(["-c", "aiosmtpd.handlers.Debugging", "stdout"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let received = Arc::new(Mutex::new(String::new()));
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn({
            let received = received.clone();
            move || {
                for line in output.lines().map_while(Result::ok) {
                    received.lock().unwrap().push_str(&(line + "\n"));
                }
            }
        });
        let server = Self { child, port, received };
        let listening = eventually(secs(10), async || tokio::net::TcpStream::connect(&listen).await.ok()).await;
        assert!(listening.is_some(), "the mail server does not listen");
        server
    }

    fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn received(&self) -> String {
        self.received.lock().unwrap().clone()
    }

    async fn mail_to(&self, address: &str) -> String {
        // Where several nodes may share a database, whoever was killed with a message holds it for a lease of 90 s.
        let mail = eventually(secs(120), async || {
            let received = self.received();
            (received.contains(address) && received.contains("END MESSAGE")).then_some(received)
        });
        mail.await.unwrap_or_else(|| panic!("no mail to {address}; received:\n{}", self.received()))
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has the mail server.
fn python() -> &'static str {
    let has_server = |python: &&str| {
        let import = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        import.is_ok_and(|status| status.success())
    };
    ["/usr/bin/python3", "python3"].into_iter().find(has_server).expect("install python3-aiosmtpd (scripts/test does)")
}
