//! `[email]`, `[notifications]`, `[sms]`

use std::sync::Arc;

use lettre::message::Mailbox;
use url::Url;

use crate::config::reader::Section;
use crate::config::sections::webhooks;
use crate::config::settings::{
    Email, EmailProvider, EmailVars, MessageHook, Notifications, PublicUrl, Sms, SmsProvider, SmsSender, SmsTemplates,
    SmsVars, TimezoneStyle,
};
use crate::domain::contact::Phone;
use crate::domain::secret::Secret;

/// Where Twilio answers.
const TWILIO: &str = "https://api.twilio.com";

pub(super) fn email(root: &mut Section<'_>, public_url: &PublicUrl) -> Email {
    let mut s = root.section("email");
    let provider = email_provider(&mut s, public_url);
    let default = format!("nauth <no-reply@{}>", if public_url.is_loopback() { "localhost" } else { &public_url.host });
    let from =
        s.optional("from", "`From`. Empty means no-reply at the host of `server.public_url`.").unwrap_or(default);
    let reply_to = s.optional("reply_to", "`Reply-To`.");
    for (key, address) in [("from", Some(&from)), ("reply_to", reply_to.as_ref())] {
        if address.is_some_and(|address| address.parse::<Mailbox>().is_err()) {
            s.error(key, format!("`email.{key}` is not an address"), "write My App <no-reply@example.com>");
        }
    }
    let doc = "A directory of templates that replace the built-in ones, beside this file: `<type>.subject.j2`, \
               `<type>.txt.j2`, `<type>.html.j2`, and the same in a directory named after a language (`de`, `de-AT`). \
               Read at the start and with every reload.";
    let templates_dir = s.path("templates_dir", doc);
    let doc = "IANA time zone that times are told in to users who have named none.";
    let default_timezone = s.parsed("default_timezone", "UTC", doc, timezone);
    let doc = "BCP 47 tag of the language users are written to who have named none.";
    let default_locale = s.text("default_locale", "en-US", doc);
    let styles = [
        ("long", TimezoneStyle::Long),
        ("short", TimezoneStyle::Short),
        ("short_offset", TimezoneStyle::ShortOffset),
        ("long_offset", TimezoneStyle::LongOffset),
        ("short_generic", TimezoneStyle::ShortGeneric),
        ("long_generic", TimezoneStyle::LongGeneric),
    ];
    let doc = "How time zones are told: long and long_generic (Europe/Zurich), short and short_generic (CET), \
               short_offset (GMT+1), long_offset (GMT+01:00).";
    let timezone_style = s.choice("timezone_style", "long", &styles, doc);
    let vars = email_vars(&mut s);
    s.finish();
    Email { provider, from, reply_to, templates_dir, default_timezone, default_locale, timezone_style, vars }
}

fn email_provider(s: &mut Section<'_>, public_url: &PublicUrl) -> EmailProvider {
    #[derive(Clone, Copy, PartialEq)]
    enum Provider {
        Console,
        File,
        Smtp,
        Webhook,
    }
    let choices = [
        ("console", Provider::Console),
        ("smtp", Provider::Smtp),
        ("webhook", Provider::Webhook),
        ("file", Provider::File),
    ];
    let doc = "How mail leaves: console (printed on the terminal) and file (one `.eml` each) while `server.public_url` \
               is loopback, smtp (a mail server), webhook (a program of yours).";
    let provider = s.choice("provider", "console", &choices, doc);
    if matches!(provider, Provider::Console | Provider::File) && !public_url.is_loopback() {
        let name = if provider == Provider::Console { "console" } else { "file" };
        s.error(
            "provider",
            format!("{name} mail would leave codes lying about, and users reach this server as {}", public_url.host),
            "set `email.provider = \"smtp\"` and `email.smtp.url`",
        );
    }
    let mut smtp = s.section("smtp");
    let doc = "The mail server: `smtp://user:password@host:port`; `?tls=required` demands STARTTLS, `smtps://` is TLS \
               from the start.";
    let written = smtp.unless_empty("url", "smtp://localhost:25", doc);
    if provider == Provider::Smtp && written.is_none() {
        // Mail for a server that was forgotten would go to whatever listens on this machine.
        smtp.error("url", "`email.smtp.url` is empty", "write smtp://mail.example.com:587");
    }
    let url = written.unwrap_or_else(|| "smtp://localhost:25".to_owned());
    if lettre::AsyncSmtpTransport::<lettre::Tokio1Executor>::from_url(&url).is_err() {
        smtp.error("url", "`email.smtp.url` is not a mail server", "write smtp://mail.example.com:587");
    }
    let timeout = smtp.lasting("timeout", "10s", "Longest wait for the mail server.");
    smtp.finish();
    let hook = message_hook(s, public_url, provider == Provider::Webhook);
    let mut file = s.section("file");
    let doc = "Where mail is written with `provider = \"file\"`, beside this file.";
    let directory = file.path("directory", doc);
    file.finish();
    if provider == Provider::File && directory.is_none() {
        s.error("provider", "file mail needs a directory", "set `email.file.directory`");
    }
    match (provider, hook, directory) {
        (Provider::Smtp, _, _) => EmailProvider::Smtp { url: Secret::new(url), timeout },
        (Provider::Webhook, Some(hook), _) => EmailProvider::Webhook(hook),
        (Provider::File, _, Some(directory)) => EmailProvider::File { directory },
        // What is missing is reported; what comes back does not count then.
        (Provider::Console | Provider::Webhook | Provider::File, _, _) => EmailProvider::Console,
    }
}

fn email_vars(parent: &mut Section<'_>) -> EmailVars {
    let mut s = parent.section("vars");
    let vars = EmailVars {
        app_name: s.text("app_name", "nauth", "What mails and the login page call the application."),
        company_name: s.text("company_name", "", "Who runs the application."),
        company_address: s.text("company_address", "", "Where they are."),
        support_email: s.text("support_email", "", "Where users get help."),
        brand_color: s.parsed("brand_color", "#4f46e5", "The colour of mails and of the login page.", |text| {
            let digits = text.strip_prefix('#').unwrap_or("");
            let is_color = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_color { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a colour such as #4f46e5")) }
        }),
        logo_url: s.parsed("logo_url", "", "A picture at the top of mails, `https://…`.", web_address),
        dashboard_url: s.parsed("dashboard_url", "", "Where users look after their account.", web_address),
        footer_disclaimer: s.text("footer_disclaimer", "", "The last words of a mail."),
    };
    s.finish();
    vars
}

pub(super) fn notifications(root: &mut Section<'_>) -> Notifications {
    let mut s = root.section("notifications");
    let doc = "Whether mails are sent that nobody waits for. Codes always are.";
    let notifications = Notifications {
        enabled: s.boolean("enabled", true, doc),
        welcome: s.boolean("welcome", false, "The account is complete."),
        password_changed: s.boolean("password_changed", true, "The password is another one."),
        sessions_revoked: s.boolean("sessions_revoked", false, "Every session of the account was ended."),
        account_disabled: s.boolean("account_disabled", true, "The account is disabled."),
        account_enabled: s.boolean("account_enabled", false, "The account is enabled again."),
        email_changed_old: s.boolean(
            "email_changed_old",
            true,
            "To the present address when another one is asked for, and when it is in force.",
        ),
        email_changed_new: s.boolean("email_changed_new", true, "To the new address when it is in force."),
        phone_changed: s.boolean("phone_changed", true, "Another phone number is in force."),
        new_device: s.boolean("new_device", false, "A login from a device the account was not used on before."),
        mfa_enabled: s.boolean("mfa_enabled", true, "The first factor beside the password."),
        mfa_method_added: s.boolean("mfa_method_added", true, "A further factor."),
        mfa_device_removed: s.boolean("mfa_device_removed", true, "A factor is gone."),
        adaptive_risk: s.boolean("adaptive_risk", true, "A login looked unusual."),
    };
    s.finish();
    notifications
}

pub(super) fn sms(root: &mut Section<'_>, public_url: &PublicUrl, app_name: &str) -> Sms {
    let mut s = root.section("sms");
    let provider = sms_provider(&mut s, public_url);
    let mut vars = s.section("vars");
    let doc = "What text messages call the application. Empty means `email.vars.app_name`.";
    let app_name = vars.optional("app_name", doc).unwrap_or_else(|| app_name.to_owned());
    let support_phone = vars.text("support_phone", "", "Where users get help.");
    vars.finish();
    let vars = SmsVars { app_name, support_phone };
    let templates = sms_templates(&mut s);
    s.finish();
    Sms { provider, vars, templates }
}

fn sms_provider(s: &mut Section<'_>, public_url: &PublicUrl) -> SmsProvider {
    #[derive(Clone, Copy, PartialEq)]
    enum Provider {
        Console,
        Twilio,
        Webhook,
    }
    let choices = [("console", Provider::Console), ("twilio", Provider::Twilio), ("webhook", Provider::Webhook)];
    let doc = "How text messages leave: console (printed on the terminal, while `server.public_url` is loopback), \
               twilio, webhook (a program of yours).";
    let provider = s.choice("provider", "console", &choices, doc);
    let from = s.optional("from", "The number messages come from, as `+15551234567`.");
    if let Some(number) = from.as_deref().filter(|number| number.parse::<Phone>().is_err()) {
        s.error("from", format!("`{number}` is not a phone number"), "write it as +15551234567");
    }
    let twilio = twilio(s, from, provider == Provider::Twilio);
    let hook = message_hook(s, public_url, provider == Provider::Webhook);
    match (provider, twilio, hook) {
        (Provider::Twilio, Some(twilio), _) => twilio,
        (Provider::Webhook, _, Some(hook)) => SmsProvider::Webhook(hook),
        (Provider::Console | Provider::Twilio | Provider::Webhook, _, _) => SmsProvider::Console,
    }
}

fn twilio(parent: &mut Section<'_>, from: Option<String>, is_used: bool) -> Option<SmsProvider> {
    let mut s = parent.section("twilio");
    let account_sid = s.text("account_sid", "", "The account, `AC…`.");
    let auth_token = s.text("auth_token", "", "Its auth token.");
    let doc = "A messaging service, `MG…`, in place of `sms.from`.";
    let service = s.optional("messaging_service_sid", doc);
    let doc = "Where Twilio answers: another region's address.";
    let api = s.parsed("api", TWILIO, doc, |text| {
        Url::parse(text).ok().filter(Url::has_host).ok_or_else(|| format!("`{text}` is not a URL"))
    });
    s.finish();
    if !is_used {
        return None;
    }
    if !account_sid.starts_with("AC") || !account_sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        parent.error("twilio", "`sms.twilio.account_sid` is not an account", "write account_sid = \"AC…\"");
    }
    if auth_token.is_empty() {
        parent.error("twilio", "`sms.twilio.auth_token` is missing", "write auth_token = \"${env:TWILIO_TOKEN}\"");
    }
    let sender = match (service, from) {
        (Some(service), _) => SmsSender::MessagingService(service),
        (None, Some(number)) => SmsSender::From(number),
        (None, None) => {
            parent.error("twilio", "Twilio needs a sender", "set `sms.from` or `sms.twilio.messaging_service_sid`");
            return None;
        }
    };
    Some(SmsProvider::Twilio { account_sid, auth_token: Secret::new(auth_token), sender, api })
}

fn sms_templates(parent: &mut Section<'_>) -> SmsTemplates {
    let mut s = parent.section("templates");
    let templates = SmsTemplates {
        verification: s.text(
            "verification",
            "{{app_name}}: code {{code}}, valid {{expiry_minutes}} min.",
            "Proves a number. A template with `{{code}}` and `{{expiry_minutes}}`, and if wanted `{{app_name}}`, \
             `{{user_name}}`, `{{company_name}}`, `{{support_phone}}`.",
        ),
        mfa: s.text("mfa", "{{app_name}}: MFA code {{code}}, valid {{expiry_minutes}} min.", "A second factor."),
        password_reset: s.text(
            "password_reset",
            "{{app_name}}: reset code {{code}}, valid {{expiry_minutes}} min.",
            "Resets a password.",
        ),
    };
    s.finish();
    templates
}

/// `webhook = { url, secret }` of a way messages leave.
fn message_hook(parent: &mut Section<'_>, public_url: &PublicUrl, is_used: bool) -> Option<MessageHook> {
    let mut s = parent.section("webhook");
    let doc = "Where messages are posted as `{to, template, subject, html, text, vars}`: `https://…`; `http://…` only \
               while `server.public_url` is loopback.";
    let url = s.optional("url", doc);
    let secret = s.text("secret", "", "Signs them; 32 characters or more.");
    if !is_used {
        s.finish();
        return None;
    }
    let url = webhooks::checked_url(&s, url.as_deref().unwrap_or(""), public_url);
    let secret = webhooks::checked_secret(&s, secret);
    s.finish();
    Some(MessageHook { url: url?, secret: Arc::new(Secret::new(secret?)) })
}

fn web_address(text: &str) -> Result<String, String> {
    let is_one =
        |text: &str| Url::parse(text).is_ok_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    if text.is_empty() || is_one(text) { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a web address")) }
}

fn timezone(text: &str) -> Result<String, String> {
    match jiff::tz::TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("`{text}` is not a time zone such as Europe/Zurich")),
    }
}
