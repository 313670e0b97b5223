//! Templates. What users wrote is only ever a value: it is never a template, and in HTML it is escaped.
//!
//! Built-in templates are overridden one by one from a directory: `<type>.subject.j2`,
//! `<type>.txt.j2`, `<type>.html.j2`, and the same below a directory named after a language
//! (`de-AT`, then `de`).

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::value::{Value, merge_maps};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::config::settings::{Email, Sms};
use crate::domain::clock::Time;
use crate::mail::content::{Content, Message, Recipient, one_line, plain};
use crate::mail::{Rendered, when};
use crate::metrics::MailTemplate;

/// The parts of a message, as they end the names of templates.
const PARTS: [&str; 3] = ["subject", "txt", "html"];
/// Largest template read, in bytes.
const MAX_TEMPLATE: u64 = 256 * 1024;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[
            ("layout.txt.j2", include_str!("templates/layout.txt.j2")),
            ("layout.html.j2", include_str!("templates/layout.html.j2")),
            $(
                (concat!($name, ".subject.j2"), include_str!(concat!("templates/", $name, ".subject.j2"))),
                (concat!($name, ".txt.j2"), include_str!(concat!("templates/", $name, ".txt.j2"))),
                (concat!($name, ".html.j2"), include_str!(concat!("templates/", $name, ".html.j2"))),
            )*
        ]
    };
}

const TEMPLATES: &[(&str, &str)] = built_in![
    "verification",
    "mfa_email_code",
    "password_reset",
    "admin_password_reset",
    "account_exists",
    "welcome",
    "password_changed",
    "new_device",
    "sessions_revoked",
    "adaptive_mfa_risk_alert",
    "account_disabled",
    "account_enabled",
    "email_changed_old",
    "email_changed_new",
    "phone_changed",
    "mfa_enabled",
    "mfa_device_removed",
    "mfa_method_added",
];

/// Renders messages with the operator's words about the application.
#[derive(Debug)]
pub struct Renderer {
    built_in: Environment<'static>,
    /// The same, with what overrides them.
    templates: Environment<'static>,
    /// Directories of languages there are templates for.
    languages: BTreeSet<String>,
    email: Email,
    sms: Sms,
}

/// A template does not work out.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It cannot be used as it is written.
    #[error("{0}")]
    Template(String),
    /// It fails with its values.
    #[error("a template fails")]
    Values(#[from] minijinja::Error),
}

impl Renderer {
    /// A renderer with the built-in templates and what overrides them.
    ///
    /// # Errors
    /// A template that cannot be read or parsed, or that leaves out what the message is about.
    pub fn new(email: &Email, sms: &Sms) -> Result<Self, RenderError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Chainable);
        templates.set_auto_escape_callback(|name| {
            if name.ends_with(".html.j2") { AutoEscape::Html } else { AutoEscape::None }
        });
        for (name, text) in TEMPLATES {
            templates.add_template(name, text).expect("built-in templates are well-formed");
        }
        for (name, text) in [
            ("sms/verification", &sms.templates.verification),
            ("sms/mfa", &sms.templates.mfa),
            ("sms/password_reset", &sms.templates.password_reset),
        ] {
            add(&mut templates, name, text.clone(), &["code", "expiry_minutes"])?;
        }
        let built_in = templates.clone();
        let mut languages = BTreeSet::new();
        if let Some(directory) = &email.templates_dir {
            override_from(&mut templates, directory, "", &mut languages)?;
        }
        Ok(Self { built_in, templates, languages, email: email.clone(), sms: sms.clone() })
    }

    /// Turns a message into text.
    pub fn render(&self, message: &Message, now: Time) -> Result<Rendered, RenderError> {
        match &message.to {
            Recipient::Email(to) => self.mail(to.as_str(), message, now),
            Recipient::Phone(to) => self.text_message(to.as_str(), message),
        }
    }

    fn mail(&self, to: &str, message: &Message, now: Time) -> Result<Rendered, RenderError> {
        let kind = message.content.template();
        let values = merge_maps([message.content.values(), self.values(message, now)]);
        let locale = message.about.locale.as_deref().unwrap_or(&self.email.default_locale);
        let subject = self.part(kind, "subject", locale, &values)?;
        let values = merge_maps([context! { subject => one_line(&subject) }, values]);
        let text = self.part(kind, "txt", locale, &values)?;
        let preview = text.lines().filter(|line| !line.trim().is_empty()).nth(1).unwrap_or("").to_owned();
        let values = merge_maps([context! { preview_text => preview }, values]);
        Ok(Rendered {
            to: to.to_owned(),
            template: kind.as_str().to_owned(),
            // A subject is one line, whatever a name in it holds.
            subject: one_line(&subject),
            text,
            html: self.part(kind, "html", locale, &values)?,
            vars: vars(&message.content),
        })
    }

    fn text_message(&self, to: &str, message: &Message) -> Result<Rendered, RenderError> {
        let name = match &message.content {
            Content::MfaCode(_) => "sms/mfa",
            Content::PasswordReset(_) | Content::AdminPasswordReset(_) => "sms/password_reset",
            _ => "sms/verification",
        };
        let own = context! {
            app_name => &self.sms.vars.app_name,
            support_phone => &self.sms.vars.support_phone,
            company_name => &self.email.vars.company_name,
            user_name => plain(&message.about.name),
            user_email => &message.about.email,
        };
        let values = merge_maps([message.content.values(), own]);
        let text = one_line(&self.templates.get_template(name)?.render(&values)?);
        Ok(Rendered {
            to: to.to_owned(),
            template: message.kind().to_owned(),
            subject: String::new(),
            text,
            html: String::new(),
            vars: vars(&message.content),
        })
    }

    /// What every template may say.
    fn values(&self, message: &Message, now: Time) -> Value {
        let vars = &self.email.vars;
        let zone = message.about.timezone.as_deref();
        let (default, style) = (self.email.default_timezone.as_str(), self.email.timezone_style);
        let at = message.content.at();
        context! {
            app_name => &vars.app_name,
            company_name => &vars.company_name,
            company_address => &vars.company_address,
            support_email => &vars.support_email,
            brand_color => &vars.brand_color,
            logo_url => &vars.logo_url,
            dashboard_url => &vars.dashboard_url,
            footer_disclaimer => &vars.footer_disclaimer,
            current_year => now.to_string().get(..4),
            user_name => plain(&message.about.name),
            user_email => &message.about.email,
            timestamp => at.map(|at| at.to_string()),
            timestamp_formatted => at.map(|at| when::told(at, zone, default, style)),
        }
    }

    fn part(&self, kind: MailTemplate, part: &str, locale: &str, values: &Value) -> Result<String, RenderError> {
        let name = format!("{}.{part}.j2", kind.as_str());
        let translated = chain(locale).filter(|language| self.languages.contains(*language));
        let mut candidates: Vec<String> = translated.map(|language| format!("{language}/{name}")).collect();
        candidates.push(name.clone());
        for candidate in candidates {
            let Ok(template) = self.templates.get_template(&candidate) else { continue };
            match template.render(values) {
                Ok(text) => return Ok(text),
                // Whoever waits for a code gets it, in other words than the operator's.
                Err(error) => {
                    tracing::error!(template = candidate, error = %crate::logging::chain(&error), "a template fails; another one is used");
                }
            }
        }
        Ok(self.built_in.get_template(&name)?.render(values)?)
    }
}

/// `de-AT`, then `de`.
fn chain(locale: &str) -> impl Iterator<Item = &str> {
    let language = locale.split('-').next().filter(|language| *language != locale);
    std::iter::once(locale).chain(language)
}

/// What the templates of each kind must mention, or the message is of no use.
fn required(kind: &str) -> &'static [&'static str] {
    match kind {
        "verification" | "mfa_email_code" | "admin_password_reset" => &["code", "expiry_minutes"],
        "password_reset" => &["expiry_minutes"],
        "new_device" => &["device_name"],
        "sessions_revoked" => &["revoked_count"],
        "adaptive_mfa_risk_alert" => &["risk_level"],
        "account_disabled" => &["reason"],
        _ => &[],
    }
}

/// Takes over the templates of a directory and, one level down, of its languages.
fn override_from(
    templates: &mut Environment<'static>,
    directory: &Path,
    prefix: &str,
    languages: &mut BTreeSet<String>,
) -> Result<(), RenderError> {
    let unreadable = |error: std::io::Error| RenderError::Template(format!("`{}`: {error}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            if prefix.is_empty() {
                languages.insert(name.to_owned());
                override_from(templates, &path, &format!("{name}/"), languages)?;
            }
            continue;
        }
        let Some((kind, part)) = name.strip_suffix(".j2").and_then(|name| name.rsplit_once('.')) else { continue };
        let is_known = TEMPLATES.iter().any(|(known, _)| *known == name) && (PARTS.contains(&part) || kind == "layout");
        if !is_known {
            return Err(RenderError::Template(format!("`{}` overrides no template", path.display())));
        }
        let size = path.metadata().map_err(unreadable)?.len();
        if size > MAX_TEMPLATE {
            return Err(RenderError::Template(format!("`{}` is larger than 256KiB", path.display())));
        }
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        let mentions: &[&str] = if part == "subject" { &[] } else { required(kind) };
        add(templates, &format!("{prefix}{name}"), text, mentions)
            .map_err(|error| RenderError::Template(format!("`{}`: {error}", path.display())))?;
    }
    Ok(())
}

fn add(templates: &mut Environment<'static>, name: &str, text: String, mentions: &[&str]) -> Result<(), RenderError> {
    let told = |error: &minijinja::Error| {
        let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
        RenderError::Template(format!("{}{line}", error.detail().unwrap_or("it is no template")))
    };
    templates.add_template_owned(name.to_owned(), text).map_err(|error| told(&error))?;
    let template = templates.get_template(name).map_err(|error| told(&error))?;
    let mentioned = template.undeclared_variables(false);
    match mentions.iter().find(|variable| !mentioned.contains(**variable)) {
        Some(variable) => Err(RenderError::Template(format!("it does not mention `{{{{{variable}}}}}`"))),
        None => Ok(()),
    }
}

/// The values of a message for whoever writes the words themselves.
fn vars(content: &Content) -> serde_json::Value {
    serde_json::to_value(content.values()).unwrap_or(serde_json::Value::Null)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::event::Actor;
    use crate::domain::secret::Secret;
    use crate::mail::content::{About, Code};

    const HOSTILE: &str = "<script>alert(1)</script>{{ 7*7 }}{% raw %}\r\nBcc: eve@example.com\u{202e}\u{1b}[2J";

    fn code() -> Code {
        let link = Some(Secret::new("https://app.example.com/verify?code=abc&session=1".to_owned()));
        Code { code: Secret::new("123456".to_owned()), link, ttl: Duration::from_mins(10) }
    }

    fn all() -> Vec<Content> {
        let (at, words) = (Time::from_secs(1_795_241_280), || HOSTILE.to_owned());
        vec![
            Content::Verification(code()),
            Content::MfaCode(code()),
            Content::PasswordReset(code()),
            Content::AdminPasswordReset(code()),
            Content::AccountExists,
            Content::Welcome,
            Content::PasswordChanged { by: Some(Actor::Owner), sessions_revoked: 2, at },
            Content::NewDevice { device: words(), ip: "192.0.2.1".to_owned(), at },
            Content::SessionsRevoked { count: 1, reason: words(), at },
            Content::RiskAlert {
                level: "high".to_owned(),
                factors: vec!["new_device".to_owned()],
                device: words(),
                ip: "192.0.2.1".to_owned(),
                place: Some(words()),
                at,
            },
            Content::AccountDisabled { reason: words(), at },
            Content::AccountEnabled { at },
            Content::EmailChangedOld { new: "c***@example.com".to_owned(), pending: true, at },
            Content::EmailChangedNew { old: "a***@example.com".to_owned(), at },
            Content::PhoneChanged { at },
            Content::MfaEnabled { method: words(), at },
            Content::MfaDeviceRemoved { device: words(), remaining: 0, at },
            Content::MfaMethodAdded { method: words(), at },
        ]
    }

    fn message(content: Content) -> Message {
        let about = About { name: HOSTILE.to_owned(), email: "ada@example.com".to_owned(), ..About::default() };
        Message { to: Recipient::Email("ada@example.com".parse().unwrap()), about, content }
    }

    fn renderer(change: impl FnOnce(&mut Email, &mut Sms)) -> Result<Renderer, RenderError> {
        let mut settings = crate::config::defaults();
        settings.email.vars.app_name = "My App".to_owned();
        settings.email.vars.support_email = "help@example.com".to_owned();
        change(&mut settings.email, &mut settings.sms);
        Renderer::new(&settings.email, &settings.sms)
    }

    #[test]
    fn every_message_has_all_its_parts_and_obeys_nobody() {
        let renderer = renderer(|_, _| {}).unwrap();
        for content in all() {
            let kind = content.template().as_str();
            let mail = renderer.render(&message(content), Time::from_secs(1_795_241_280)).unwrap();

            assert!(!mail.subject.is_empty() && !mail.subject.contains(['\r', '\n', '\u{1b}']), "{kind}");
            assert!(mail.subject.contains("My App"), "{kind}: {}", mail.subject);
            for part in [&mail.text, &mail.html] {
                assert!(
                    !part.contains('\u{1b}') && !part.contains('\u{202e}') && !part.contains("49"),
                    "{kind}: {part}"
                );
                assert!(part.contains("help@example.com"), "{kind}: {part}");
                assert!(!part.lines().any(|line| line.starts_with("Bcc:")), "{kind}: {part}");
            }
            assert!(!mail.html.contains("<script"), "{kind}: {}", mail.html);
        }
    }

    #[test]
    fn a_code_stands_alone_on_its_line_of_the_text_part() {
        let renderer = renderer(|_, _| {}).unwrap();
        for content in all().into_iter().take(4) {
            let mail = renderer.render(&message(content), Time::from_secs(0)).unwrap();

            assert!(mail.text.lines().any(|line| line == "123456"), "{}", mail.text);
            assert!(
                mail.text.lines().any(|line| line == "https://app.example.com/verify?code=abc&session=1"),
                "{}",
                mail.text
            );
            assert!(mail.html.contains("123456") && mail.text.contains("10 minutes"));
        }
    }

    #[test]
    fn text_messages_are_short_and_hold_the_code() {
        let renderer = renderer(|_, sms| sms.vars.app_name = "My App".to_owned()).unwrap();
        let to = Recipient::Phone("+41791234567".parse().unwrap());
        let text =
            renderer.render(&Message { to, ..message(Content::Verification(code())) }, Time::from_secs(0)).unwrap();

        assert_eq!(text.text, "My App: code 123456, valid 10 min.");
    }

    #[test]
    fn templates_are_overridden_one_by_one_and_by_language() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("de")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("verification.subject.j2", "Code for {{ app_name }}");
        write("de/verification.txt.j2", "Ihr Code, {{ expiry_minutes }} Minuten gültig:\n\n{{ code }}\n");
        let renderer = renderer(|email, _| email.templates_dir = Some(directory.path().to_owned())).unwrap();
        let render = |locale: &str| {
            let mut message = message(Content::Verification(code()));
            message.about.locale = Some(locale.to_owned());
            renderer.render(&message, Time::from_secs(0)).unwrap()
        };

        assert_eq!(render("de-AT").subject, "Code for My App");
        assert!(render("de-AT").text.starts_with("Ihr Code"));
        assert!(render("fr").text.contains("Enter this code"));
    }

    #[test]
    fn a_template_that_fails_gives_way_to_the_built_in_one() {
        let directory = tempfile::tempdir().unwrap();
        let failing = "{{ code }} {{ expiry_minutes.no_such_method() }}";
        std::fs::write(directory.path().join("verification.txt.j2"), failing).unwrap();
        let renderer = renderer(|email, _| email.templates_dir = Some(directory.path().to_owned())).unwrap();

        let mail = renderer.render(&message(Content::Verification(code())), Time::from_secs(0)).unwrap();

        assert!(mail.text.contains("Enter this code") && mail.text.contains("123456"), "{}", mail.text);
    }

    #[test]
    fn a_template_that_is_of_no_use_is_refused_with_its_place() {
        let cases = [
            ("verification.txt.j2", "No number here, {{ expiry_minutes }}", "does not mention `{{code}}`"),
            ("verification.txt.j2", "{{ code }} {{ expiry_minutes }}\n{% if %}", "line 2"),
            ("verificaton.txt.j2", "{{ code }}", "overrides no template"),
        ];
        for (name, text, expected) in cases {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join(name), text).unwrap();
            let refused = renderer(|email, _| email.templates_dir = Some(directory.path().to_owned())).unwrap_err();
            assert!(refused.to_string().contains(expected) && refused.to_string().contains(name), "{refused}");
        }
        let refused = renderer(|_, sms| sms.templates.mfa = "hello".to_owned()).unwrap_err();
        assert!(refused.to_string().contains("does not mention `{{code}}`"), "{refused}");
    }
}
