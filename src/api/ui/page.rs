//! Pages as HTML. Everything that comes from outside is escaped by the template engine.

use std::sync::LazyLock;

use http::StatusCode;
use minijinja::{AutoEscape, Environment, context};

use crate::api::nauth::wire::request::MAX_NAME;
use crate::api::ui::form::Fields;
use crate::api::ui::passkey::{Offer, Question};
use crate::api::ui::{asset, factor, passkey, refused};
use crate::config::settings::{Settings, UsernameRule};
use crate::domain::error::{Error, Limit};

/// The pages there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// Log in, or go to sign up.
    Login,
    /// Sign up.
    Signup,
    /// Enter the code that was mailed.
    Code,
    /// The same, just after another mail went out.
    CodeSent,
    /// Name a phone number.
    Phone,
    /// Set another password.
    NewPassword,
    /// Nothing to do: log out, or go on.
    SignedIn,
    /// Log in once more: the last time is too long ago for what was asked.
    Confirm,
    /// What was asked needs a surer login than there is, and there is nothing to make it surer with.
    TooWeak,
    /// What was asked needs the second factor of somebody who is logged in.
    StepUp,
    /// Prove a second factor.
    Factor,
    /// The same, just after its code went out.
    FactorSent,
    /// Choose a second factor to set up.
    SetUpFactor,
    /// Set it up.
    FinishFactor,
    /// Set a passkey up.
    SetUpPasskey,
}

impl Page {
    fn template(self) -> &'static str {
        match self {
            Self::Login => "login.html",
            Self::Signup => "signup.html",
            Self::Code | Self::CodeSent => "code.html",
            Self::Phone => "phone.html",
            Self::NewPassword => "new_password.html",
            Self::SignedIn => "signed_in.html",
            Self::Confirm => "confirm.html",
            Self::TooWeak => "too_weak.html",
            Self::StepUp => "step_up.html",
            Self::Factor | Self::FactorSent => "factor.html",
            Self::SetUpFactor => "set_up_factor.html",
            Self::FinishFactor => "finish_factor.html",
            Self::SetUpPasskey => "set_up_passkey.html",
        }
    }
}

/// A page about to be shown.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) page: Page,
    /// What names the script it loads, if it loads one.
    pub(super) nonce: &'a str,
    /// Where the pages live.
    pub(super) base: &'a str,
    pub(super) settings: &'a Settings,
    /// Where the visit leads in the end.
    pub(super) return_to: &'a str,
    /// What was typed; passwords are never shown again.
    pub(super) fields: &'a Fields,
    pub(super) error: Option<&'a Error>,
    /// What a passkey is asked here.
    pub(super) question: Option<&'a Question>,
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_global("style_version", asset::STYLE.version());
    templates.add_global("script_version", asset::SCRIPT.version());
    for (name, text) in [
        ("base.html", include_str!("templates/base.html.j2")),
        ("login.html", include_str!("templates/login.html.j2")),
        ("signup.html", include_str!("templates/signup.html.j2")),
        ("code.html", include_str!("templates/code.html.j2")),
        ("phone.html", include_str!("templates/phone.html.j2")),
        ("new_password.html", include_str!("templates/new_password.html.j2")),
        ("signed_in.html", include_str!("templates/signed_in.html.j2")),
        ("confirm.html", include_str!("templates/confirm.html.j2")),
        ("too_weak.html", include_str!("templates/too_weak.html.j2")),
        ("step_up.html", include_str!("templates/step_up.html.j2")),
        ("factor.html", include_str!("templates/factor.html.j2")),
        ("set_up_factor.html", include_str!("templates/set_up_factor.html.j2")),
        ("finish_factor.html", include_str!("templates/finish_factor.html.j2")),
        ("set_up_passkey.html", include_str!("templates/set_up_passkey.html.j2")),
        ("passkey.html", include_str!("templates/passkey.html.j2")),
        ("raise.html", include_str!("templates/raise.html.j2")),
        ("refused.html", include_str!("templates/refused.html.j2")),
    ] {
        templates.add_template(name, text).expect("built-in templates are well-formed");
    }
    templates
});

impl View<'_> {
    /// The page.
    pub(super) fn html(&self) -> String {
        let values = context! {
            base => self.base,
            nonce => self.nonce,
            app_name => &self.settings.email.vars.app_name,
            return_to => self.return_to,
            identifier => self.fields.get("identifier"),
            email => self.fields.get("email"),
            username => self.fields.get("username"),
            asks_username => self.settings.signup.username == UsernameRule::Required,
            phone => self.fields.get("phone"),
            asks_phone => self.settings.signup.verification_method.asks_phone(),
            asks_invitation => self.settings.signup.invite_only,
            invite_code => self.fields.get("invite_code"),
            can_sign_up => self.settings.signup.enabled,
            min_length => self.settings.password.policy.min_length,
            sent => self.is_sent(),
            errors => self.error.map(|error| self.sentences(error)).unwrap_or_default(),
            passkey => self.passkey().map(|offer| offer.values(self.question)),
            name => self.fields.get("name"),
            name_max => MAX_NAME,
            ..factor::values(self.fields)
        };
        let template = TEMPLATES.get_template(self.page.template()).expect("every page has a template");
        template.render(values).expect("built-in templates render with their values")
    }

    /// Whether the page runs the script.
    pub(super) fn runs(&self) -> bool {
        self.passkey().is_some()
    }

    /// Whether a code has just gone out.
    fn is_sent(&self) -> bool {
        match self.page {
            Page::CodeSent | Page::FactorSent => true,
            Page::Confirm | Page::StepUp => !self.fields.get("is_sent").is_empty(),
            _ => false,
        }
    }

    /// The form for passkeys, on pages that have one.
    fn passkey(&self) -> Option<Offer> {
        Offer::on(self.page, self.fields, self.settings)
    }

    fn sentences(&self, error: &Error) -> Vec<String> {
        let of_passkey = passkey::is_answered(self.fields).then(|| passkey::sentence(error)).flatten();
        of_passkey.map_or_else(|| sentences(error), |sentence| vec![sentence.to_owned()])
    }
}

/// The page of a request that came to nothing.
pub(super) fn refused(settings: &Settings, base: &str, status: StatusCode, error: &Error, request_id: &str) -> String {
    let (title, sentence) = refused::words(status, error);
    let status = status.as_u16();
    let values = context! { base, app_name => &settings.email.vars.app_name, title, sentence, status, request_id };
    let template = TEMPLATES.get_template("refused.html").expect("the page has a template");
    template.render(values).expect("built-in templates render with their values")
}

/// What went wrong, in words for the person at the screen.
fn sentences(error: &Error) -> Vec<String> {
    let sentence = match error {
        Error::WeakPassword(missed) => return missed.clone(),
        Error::Validation(fields) => return fields.iter().map(|field| field.message.clone()).collect(),
        Error::InvalidCredentials => "That address or password is not right.".to_owned(),
        Error::AccountLocked { reason, .. } => format!("This account is disabled: {reason}"),
        Error::EmailTaken => "There is an account with this address already. Log in instead.".to_owned(),
        Error::UsernameTaken => "This name is taken.".to_owned(),
        Error::PhoneTaken => "There is an account with this phone number already.".to_owned(),
        Error::PhoneRequired { .. } => "A phone number is needed, such as +41 79 123 45 67.".to_owned(),
        Error::PhoneInvalid(reason) | Error::SignupNotAllowed(reason) => (*reason).to_owned(),
        Error::SignupDenied { message } | Error::LoginDenied { message } | Error::SignInBlocked { message, .. } => {
            message.clone()
        }
        Error::PasswordReused => "This password was used before. Choose another one.".to_owned(),
        Error::SignupDisabled => "Signing up is not possible here.".to_owned(),
        Error::CodeInvalid | Error::WrongFactor => "That code is not right.".to_owned(),
        Error::CodeExpired | Error::CodeExhausted => "That code is no longer good. Ask for another one.".to_owned(),
        Error::ChallengeInvalid | Error::ChallengeExpired | Error::ChallengeExhausted | Error::ChallengeCompleted => {
            "This took too long or too many tries. Log in again to go on.".to_owned()
        }
        Error::NoFactor(_) => "This account has no such factor any more. Choose another way.".to_owned(),
        Error::RateLimited { limit: Limit::Resend { .. }, retry_after } => {
            format!("Another message can be sent in {} seconds.", retry_after.as_secs() + 1)
        }
        Error::RateLimited { limit: Limit::EmailSend { .. } | Limit::SmsSend { .. }, .. } => {
            "Too many messages were sent to this address. Try again later.".to_owned()
        }
        Error::RateLimited { .. } => "Too many tries. Wait a while, then try again.".to_owned(),
        Error::Forbidden(_) => "The form came from another site. Try again from here.".to_owned(),
        Error::Unavailable(_) => "That cannot be done right now. Try again in a moment.".to_owned(),
        _ => "Something went wrong. Try again.".to_owned(),
    };
    vec![sentence]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::tests_support::settings;

    const PAGES: [Page; 15] = [
        Page::Login,
        Page::Signup,
        Page::Code,
        Page::CodeSent,
        Page::Phone,
        Page::NewPassword,
        Page::SignedIn,
        Page::Confirm,
        Page::TooWeak,
        Page::StepUp,
        Page::Factor,
        Page::FactorSent,
        Page::SetUpFactor,
        Page::FinishFactor,
        Page::SetUpPasskey,
    ];

    fn passwordless() -> Settings {
        let mut settings = settings();
        settings.mfa.passkey.as_mut().unwrap().passwordless = true;
        settings
    }

    fn view<'a>(page: Page, settings: &'a Settings, fields: &'a Fields) -> View<'a> {
        let (nonce, base, return_to) = ("a1b2", "/auth/ui", "/a?b=\"><c>");
        View { page, nonce, base, settings, return_to, fields, error: None, question: None }
    }

    fn html(page: Page, fields: &[u8], error: Option<&Error>) -> String {
        View { error, ..view(page, &settings(), &Fields::read(fields)) }.html()
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let page = html(Page::Login, b"identifier=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&password=hunter2", None);

        assert!(!page.contains("<script") && !page.contains("<c>"), "{page}");
        assert!(!page.contains("hunter2"));
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }

    #[test]
    fn no_page_runs_or_styles_anything_inline() {
        for page in PAGES.into_iter().filter(|page| *page != Page::SetUpPasskey) {
            let html = html(page, b"", Some(&Error::CodeInvalid));
            assert!(!html.contains("<script") && !html.contains("style=") && !html.contains("onclick"), "{html}");
            assert!(html.contains("style.css"));
        }
    }

    #[test]
    fn a_page_that_takes_a_passkey_loads_the_one_script_and_no_other_page_does() {
        let (settings, fields) = (passwordless(), Fields::read(b"choices=totp+passkey&method=totp"));
        let takers: Vec<Page> = PAGES.into_iter().filter(|page| view(*page, &settings, &fields).runs()).collect();
        let expected = [Page::Login, Page::Confirm, Page::StepUp, Page::Factor, Page::FactorSent, Page::SetUpFactor];
        assert_eq!(takers, [&expected[..], &[Page::SetUpPasskey]].concat());
        for page in PAGES {
            let html = view(page, &settings, &fields).html();
            let is_taker = takers.contains(&page);
            assert_eq!(html.matches("<script").count(), usize::from(is_taker), "{html}");
            assert_eq!(html.contains(" nonce=\"a1b2\" defer></script>"), is_taker, "nothing stands inside: {html}");
            assert_eq!(html.contains("A passkey needs JavaScript"), is_taker, "{html}");
            assert_eq!(html.contains(" hidden>\n<input type=\"hidden\" name=\"return_to\""), is_taker, "{html}");
            assert!(!html.contains("value=\"passkey\">passkey<"), "it is nothing to be typed: {html}");
        }
    }

    #[test]
    fn an_address_without_passkeys_offers_none_and_says_so_to_who_has_nothing_else() {
        let mut settings = settings();
        settings.mfa.passkey = None;
        for (choices, is_told) in [(&b"choices=passkey"[..], true), (b"choices=totp+passkey", false)] {
            let page = view(Page::Factor, &settings, &Fields::read(choices)).html();
            assert!(!page.contains("<script") && !page.contains("data-passkey"), "{page}");
            assert_eq!(page.contains("browsers know none at this address"), is_told, "{page}");
        }
    }

    #[test]
    fn a_question_is_escaped_and_never_taken_from_a_form() {
        let (settings, fields) = (settings(), Fields::read(b"choices=passkey&question=%7B%7D&credential=%3Cb%3E"));
        let page = view(Page::Factor, &settings, &fields).html();
        assert!(!page.contains("data-question") && !page.contains("b>\""), "{page}");

        let question = Question::new(&json!({ "challenge": "\"><script>'&" }));
        let page = View { question: Some(&question), ..view(Page::Factor, &settings, &fields) }.html();
        let expected = r#" data-question="{&quot;challenge&quot;:&quot;\&quot;&gt;&lt;script&gt;&#x27;&amp;&quot;}""#;
        assert!(page.contains(expected), "{page}");
        assert!(page.contains(" data-starts hidden>"), "{page}");
    }

    #[test]
    fn a_refusal_is_a_page_of_the_same_frame() {
        let refused = refused(&passwordless(), "/auth/ui", StatusCode::BAD_GATEWAY, &Error::BadGateway, "<id>");
        assert!(refused.contains("out of reach") && refused.contains("502 · &lt;id&gt;"), "{refused}");
        assert!(refused.contains("style.css") && !refused.contains("<script"), "{refused}");
    }

    #[test]
    fn errors_are_told_in_words() {
        let missed = Error::WeakPassword(vec!["too short".to_owned()]);
        assert!(html(Page::Signup, b"", Some(&missed)).contains("too short"));
        for (fields, words) in
            [(&b"credential=x"[..], "This passkey was not accepted"), (b"", "That code is not right")]
        {
            assert!(html(Page::Factor, fields, Some(&Error::CodeInvalid)).contains(words));
        }
    }
}
