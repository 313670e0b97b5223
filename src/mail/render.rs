//! Templates. What users wrote is only ever a value: it is never a template, and in HTML it is escaped.

use minijinja::{AutoEscape, Environment, context};

use crate::config::settings::EmailVars;
use crate::mail::{Content, Message, Rendered};

const TEMPLATES: &[(&str, &str)] = &[
    ("verification.subject.j2", include_str!("templates/verification.subject.j2")),
    ("verification.txt.j2", include_str!("templates/verification.txt.j2")),
    ("verification.html.j2", include_str!("templates/verification.html.j2")),
];

/// Renders messages with the operator's words about the application.
#[derive(Debug)]
pub struct Renderer {
    templates: Environment<'static>,
    vars: EmailVars,
}

/// A template does not work out.
#[derive(Debug, thiserror::Error)]
#[error("a mail template fails")]
pub struct RenderError(#[from] minijinja::Error);

impl Renderer {
    /// A renderer with the built-in templates.
    #[must_use]
    pub fn new(vars: EmailVars) -> Self {
        let mut templates = Environment::new();
        templates.set_auto_escape_callback(|name| {
            if name.ends_with(".html.j2") { AutoEscape::Html } else { AutoEscape::None }
        });
        for (name, text) in TEMPLATES {
            templates.add_template(name, text).expect("built-in templates are well-formed");
        }
        Self { templates, vars }
    }

    /// Turns a message into text.
    pub fn render(&self, message: &Message) -> Result<Rendered, RenderError> {
        let Content::Verification { code, ttl } = &message.content;
        let values = context! {
            app_name => &self.vars.app_name,
            support_email => &self.vars.support_email,
            brand_color => &self.vars.brand_color,
            user_email => message.to.as_str(),
            code => code.expose(),
            expiry_minutes => ttl.as_secs().div_ceil(60),
        };
        let kind = message.kind().as_str();
        let part = |name: &str| self.templates.get_template(&format!("{kind}.{name}.j2"))?.render(&values);
        Ok(Rendered {
            to: message.to.to_string(),
            // A subject is one line, whatever a name in it holds.
            subject: part("subject")?.split_whitespace().collect::<Vec<_>>().join(" "),
            text: part("txt")?,
            html: part("html")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::secret::Secret;

    fn rendered(app_name: &str) -> Rendered {
        let vars = EmailVars {
            app_name: app_name.to_owned(),
            support_email: "help@example.com".to_owned(),
            brand_color: "#4f46e5".to_owned(),
        };
        let message = Message {
            to: "ada@example.com".parse().unwrap(),
            content: Content::Verification { code: Secret::new("123456".to_owned()), ttl: Duration::from_mins(10) },
        };
        Renderer::new(vars).render(&message).unwrap()
    }

    #[test]
    fn the_code_stands_alone_on_its_line_of_the_text_part() {
        let mail = rendered("My App");

        assert!(mail.text.lines().any(|line| line == "123456"), "{}", mail.text);
        assert!(mail.html.contains("123456"));
        assert!(mail.text.contains("10 minutes"));
    }

    #[test]
    fn names_cannot_break_out_of_the_subject_or_the_html() {
        let mail = rendered("<script>\r\nBcc: eve@example.com");

        assert!(!mail.subject.contains(['\r', '\n']));
        assert!(!mail.html.contains("<script>"));
    }
}
