//! `[email]`

use crate::config::reader::Section;
use crate::config::settings::{Email, EmailProvider, EmailVars, PublicUrl};
use crate::domain::secret::Secret;

pub(super) fn email(root: &mut Section<'_>, public_url: &PublicUrl) -> Email {
    #[derive(Clone, Copy, PartialEq)]
    enum Provider {
        Console,
        Smtp,
    }
    let mut s = root.section("email");
    let provider = s.choice(
        "provider",
        "console",
        &[("console", Provider::Console), ("smtp", Provider::Smtp)],
        "How mail leaves: printed on the terminal (while `server.public_url` is loopback), or by a mail server.",
    );
    if provider == Provider::Console && !public_url.is_loopback() {
        s.error(
            "provider",
            format!("console mail would print codes on a server that is reached as {}", public_url.host),
            "set `email.provider = \"smtp\"` and `email.smtp.url`",
        );
    }
    let default = format!("nauth <no-reply@{}>", if public_url.is_loopback() { "localhost" } else { &public_url.host });
    let from =
        s.optional("from", "`From`. Empty means no-reply at the host of `server.public_url`.").unwrap_or(default);
    let reply_to = s.optional("reply_to", "`Reply-To`.");
    for (key, address) in [("from", Some(&from)), ("reply_to", reply_to.as_ref())] {
        if address.is_some_and(|address| address.parse::<lettre::message::Mailbox>().is_err()) {
            s.error(key, format!("`email.{key}` is not an address"), "write My App <no-reply@example.com>");
        }
    }
    let mut smtp = s.section("smtp");
    let doc = "The mail server: `smtp://user:password@host:port`; `?tls=required` demands STARTTLS, `smtps://` is TLS \
               from the start.";
    let url = smtp.text("url", "smtp://localhost:25", doc);
    if lettre::AsyncSmtpTransport::<lettre::Tokio1Executor>::from_url(&url).is_err() {
        smtp.error("url", "`email.smtp.url` is not a mail server", "write smtp://mail.example.com:587");
    }
    let timeout = smtp.lasting("timeout", "10s", "Longest wait for the mail server.");
    smtp.finish();
    let vars = email_vars(&mut s);
    s.finish();
    let provider = match provider {
        Provider::Console => EmailProvider::Console,
        Provider::Smtp => EmailProvider::Smtp { url: Secret::new(url), timeout },
    };
    Email { provider, from, reply_to, vars }
}

fn email_vars(parent: &mut Section<'_>) -> EmailVars {
    let mut s = parent.section("vars");
    let vars = EmailVars {
        app_name: s.text("app_name", "nauth", "What mails and the login page call the application."),
        support_email: s.text("support_email", "", "Where users get help."),
        brand_color: s.parsed("brand_color", "#4f46e5", "The colour of mails and of the login page.", |text| {
            let digits = text.strip_prefix('#').unwrap_or("");
            let is_color = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_color { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a colour such as #4f46e5")) }
        }),
    };
    s.finish();
    vars
}
