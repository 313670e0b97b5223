//! A mail server of a test's own that takes everything, and outlives whoever sends.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Config, eventually};

/// Recipient → the codes that were sent there, in order.
type Codes = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// A running mail server.
#[derive(Debug)]
pub(crate) struct Mailbox {
    address: SocketAddr,
    codes: Codes,
}

impl Mailbox {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, codes) = (listener.local_addr().unwrap(), Codes::default());
        let taken = Arc::clone(&codes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(take_mail(client, Arc::clone(&taken)));
            }
        });
        Self { address, codes }
    }

    /// A nauth that sends its mail here.
    pub(crate) fn of(&self, config: Config) -> Config {
        config
            .set("email.provider", "smtp")
            .set("email.from", "no-reply@example.com")
            .set("email.smtp.url", format!("smtp://{}", self.address))
    }

    /// Waits for the code number `position` of an address, from nought; `None` when it has not come `within`.
    pub(crate) async fn code_for(&self, email: &str, position: usize, within: Duration) -> Option<String> {
        let code = async || self.codes.lock().unwrap().get(email)?.get(position).cloned();
        eventually(within, code).await
    }

    /// How many codes came for an address so far.
    pub(crate) fn codes_for(&self, email: &str) -> usize {
        self.codes.lock().unwrap().get(email).map_or(0, Vec::len)
    }
}

async fn take_mail(client: TcpStream, codes: Codes) -> Option<()> {
    let mut client = BufReader::new(client);
    client.write_all(b"220 mailbox\r\n").await.ok()?;
    let (mut recipient, mut mail): (String, Option<Vec<String>>) = (String::new(), None);
    let mut line = String::new();
    while client.read_line(&mut line).await.ok()? > 0 {
        let said = line.trim_end().to_owned();
        line.clear();
        let answer = match &mut mail {
            Some(lines) if said == "." => {
                codes.lock().unwrap().entry(recipient.clone()).or_default().extend(code_in(lines));
                mail = None;
                "250 taken"
            }
            Some(lines) => {
                lines.push(said);
                continue;
            }
            None if said == "DATA" => {
                mail = Some(Vec::new());
                "354 go on"
            }
            None => {
                if let Some(to) = said.strip_prefix("RCPT TO:<").and_then(|rest| rest.split('>').next()) {
                    to.clone_into(&mut recipient);
                }
                "250 mailbox"
            }
        };
        client.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
    Some(())
}

/// The first line that is nothing but digits: the text comes before the page.
fn code_in(mail: &[String]) -> Option<String> {
    let is_code = |line: &&String| (6..=8).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_digit());
    mail.iter().find(is_code).cloned()
}
