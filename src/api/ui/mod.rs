//! The built-in pages: log in, sign up, enter a code. They work without JavaScript; only passkeys need it, and
//! the pages that take one load the one script there is.
//!
//! A form is only taken from a page of our own: the browser says where it stands, and without a
//! word of it the form is refused. What the pages hand out are cookies, never anything a script or
//! another site could read.

mod asset;
mod factor;
mod form;
mod page;
mod passkey;
mod raise;
mod refused;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::api::answer::append_cookies;
use crate::api::context::Asked;
use crate::api::cookies::cookie_values;
use crate::api::delivery;
use crate::api::evidence::{self, Verdict};
use crate::api::nauth::error as wire;
use crate::api::ui::form::Fields;
use crate::api::ui::page::{Page, View};
use crate::api::ui::passkey::Question;
use crate::api::{Api, return_to};
use crate::auth::{Answer, Challenged, Client, Login, Outcome, Respond, Signup};
use crate::config::settings::Settings;
use crate::domain::challenge::Step;
use crate::domain::contact::{Identifier, Phone};
use crate::domain::error::{Error, FieldError};
use crate::domain::hex::hex;
use crate::domain::id::ChallengeId;
use crate::domain::secret::Secret;
use crate::domain::session::Delivery;

/// Where the pages live, below the prefix of the API.
pub const PATH: &str = "/ui";
/// What every page loads, and what may be done with it; who may show it in a frame comes after.
const POLICY: &str = "style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors ";

/// Random bytes in a nonce.
const NONCE_BYTES: usize = 16;

/// What logs in here is a browser.
const CLIENT: Client = Client::new("nauth", Delivery::Cookies);

/// The pages' routes.
pub fn routes() -> Router<Api> {
    Router::new()
        .route("/login", get(show_login).post(login))
        .route("/confirm", post(confirm))
        .route("/confirm/passkey", post(passkey::confirm))
        .route("/confirm/send", post(raise::confirm_send))
        .route("/confirm/code", post(raise::confirm_code))
        .route("/step-up/passkey", post(passkey::step_up))
        .route("/step-up/send", post(raise::step_up_send))
        .route("/step-up/code", post(raise::step_up_code))
        .route("/passkey", post(passkey::login))
        .route("/signup", get(show_signup).post(signup))
        .route("/code", get(show_code).post(code))
        .route("/resend", post(resend))
        .route("/send", post(factor::send))
        .route("/setup", post(factor::set_up))
        .route("/logout", post(logout))
        .route("/style.css", get(style))
        .route("/passkey.js", get(script))
}

/// What pages need that stand alone.
pub fn style_alone() -> Router<Api> {
    Router::new().route("/style.css", get(style))
}

/// The page of a request that came to nothing, wherever it was sent to.
#[must_use]
pub fn refusal_page(settings: &Settings, status: StatusCode, error: &Error, request_id: &str) -> String {
    page::refused(settings, &format!("{}{PATH}", settings.api.prefix), status, error, request_id)
}

/// What such a page may load and who may show it in a frame: its style, and nobody.
#[must_use]
pub fn page_headers() -> [(HeaderName, HeaderValue); 2] {
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ]
}

async fn show_login(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    match desk.visitor().await {
        Some(visitor) => desk.receive(&visitor).await,
        None => desk.show(StatusCode::OK, Page::Login, &Fields::default(), None),
    }
}

async fn show_signup(State(api): State<Api>, asked: Asked) -> Response {
    Desk::new(api, asked).show(StatusCode::OK, Page::Signup, &Fields::default(), None)
}

async fn show_code(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    let (challenge, step) = match desk.challenged().await {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let fields = factor::asked_for(&Fields::default(), &step);
    let question = passkey::at_first(&desk, challenge, &step).await;
    desk.show_asking(StatusCode::OK, page_of(&step), &fields, None, question.as_ref())
}

/// The page that asks for what a step wants.
fn page_of(step: &Step) -> Page {
    match step {
        Step::VerifyEmail { .. } | Step::VerifyPhone { .. } => Page::Code,
        Step::CollectPhone => Page::Phone,
        Step::ChangePassword => Page::NewPassword,
        Step::SetUpFactor { .. } => Page::SetUpFactor,
        Step::ProveFactor(_) => Page::Factor,
    }
}

async fn login(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let input = Login {
        identifier: Identifier::read(fields.get("identifier")),
        password: Secret::new(fields.get("password").to_owned()),
        renews: desk.api.session_shown(&desk.asked),
        client: CLIENT,
    };
    let outcome = desk.api.auth.login(input, &desk.asked.ctx).await;
    desk.settle(Page::Login, &fields, outcome)
}

/// Makes the login of the session there is fresh again, and lets its visit go on.
async fn confirm(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    // The page may have been open until the session ended.
    let Some(caller) = desk.caller().await else { return desk.go_to("login", Some(&fields)) };
    let fields = desk.fields_for(&caller, &fields).await;
    let password = Secret::new(fields.get("password").to_owned());
    let outcome = desk.api.auth.reauthenticate(&caller, password, &desk.asked.ctx).await;
    desk.settle(Page::Confirm, &fields, outcome.map(|grant| Outcome::Authenticated(Box::new(grant))))
}

async fn signup(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let outcome = match read_signup(&fields) {
        Ok(input) => desk.api.auth.signup(input, &desk.asked.ctx).await,
        Err(error) => Err(error),
    };
    desk.settle(Page::Signup, &fields, outcome)
}

fn read_signup(fields: &Fields) -> Result<Signup, Error> {
    let wrong = |field: &str, message: &str| Error::Validation(vec![FieldError::new(field, message)]);
    let email = fields.get("email").parse().map_err(|_| wrong("email", "this is not an e-mail address"))?;
    let username = Some(fields.get("username")).filter(|name| !name.is_empty());
    let username = username
        .map(|name| name.parse().map_err(|_| wrong("username", "3 or more of a-z, 0-9, _ and -")))
        .transpose()?;
    let phone = Some(fields.get("phone")).filter(|phone| !phone.is_empty()).map(read_phone).transpose()?;
    let invite_code = Some(fields.get("invite_code").trim()).filter(|code| !code.is_empty());
    Ok(Signup {
        email,
        password: Secret::new(fields.get("password").to_owned()),
        username,
        phone,
        invite_code: invite_code.map(|code| Secret::new(code.to_owned())),
        first_name: None,
        last_name: None,
        metadata: None,
        timezone: None,
        locale: None,
        client: CLIENT,
    })
}

async fn code(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let (challenge, step) = match desk.challenged().await {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    if passkey::is_meant(&fields, &step) {
        return passkey::at_challenge(&desk, challenge, &step, &fields).await;
    }
    desk.respond(&step, &fields).await
}

fn read_answer(step: &Step, fields: &Fields) -> Result<Answer, Error> {
    Ok(match step {
        Step::VerifyEmail { .. } => Answer::EmailCode { code: read_code(fields)?, password: None },
        Step::VerifyPhone { .. } => Answer::PhoneCode(read_code(fields)?),
        Step::CollectPhone => Answer::Phone(read_phone(fields.get("phone"))?),
        Step::ChangePassword => Answer::NewPassword(Secret::new(fields.get("password").to_owned())),
        Step::SetUpFactor { .. } => factor::read_setup(fields)?,
        Step::ProveFactor(_) => Answer::Factor(factor::read_proof(fields)?),
    })
}

fn read_code(fields: &Fields) -> Result<Secret<String>, Error> {
    let typed: String = fields.get("code").chars().filter(|c| !c.is_whitespace()).collect();
    let is_code = (4..=10).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_code { Ok(Secret::new(typed)) } else { Err(Error::CodeInvalid) }
}

fn read_phone(text: &str) -> Result<Phone, Error> {
    let wrong = || Error::Validation(vec![FieldError::new("phone", "a phone number such as +41 79 123 45 67")]);
    text.parse().map_err(|_| wrong())
}

async fn resend(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let Some(challenge) = desk.challenge() else { return desk.go_to("login", None) };
    match desk.api.auth.resend(challenge, &desk.asked.ctx).await {
        Ok(_) => desk.show(StatusCode::OK, Page::CodeSent, &fields, None),
        Err(error) => desk.refuse(Page::Code, &fields, &error),
    }
}

async fn logout(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    if let Err(refused) = desk.fields() {
        return *refused;
    }
    if let Ok(leaving) = desk.api.leaving(&desk.asked)
        && let Err(error) = desk.api.auth.logout(&leaving.sessions, false, &desk.asked.ctx).await
    {
        return desk.refuse(Page::SignedIn, &Fields::default(), &error);
    }
    let mut response = desk.go_to("login", None);
    append_cookies(&mut response, delivery::clear_cookies(&desk.api.settings));
    response
}

async fn style(asked: Asked) -> Response {
    asset::STYLE.answer(&asked)
}

async fn script(asked: Asked) -> Response {
    asset::SCRIPT.answer(&asked)
}

/// One visit to a page.
struct Desk {
    api: Api,
    asked: Asked,
}

impl Desk {
    fn new(api: Api, asked: Asked) -> Self {
        Self { api, asked }
    }

    /// The fields of a form that a page of ours sent.
    fn fields(&self) -> Result<Fields, Box<Response>> {
        let from = evidence::judge(&self.asked.headers, &self.asked.own_origin, &[]);
        if from != Verdict::Ours {
            let error = Error::Forbidden(crate::domain::error::Denial::CrossSite);
            return Err(Box::new(self.show(StatusCode::FORBIDDEN, Page::Login, &Fields::default(), Some(&error))));
        }
        Ok(Fields::read(self.asked.body()))
    }

    /// Answers the challenge the browser is at.
    async fn respond(&self, step: &Step, fields: &Fields) -> Response {
        let Some(challenge) = self.challenge() else { return self.go_to("login", None) };
        let is_begun = matches!(step, Step::SetUpFactor { .. }) && !fields.get("method").is_empty();
        let page = if is_begun { Page::FinishFactor } else { page_of(step) };
        let fields = factor::asked_for(fields, step);
        let answer = match read_answer(step, &fields) {
            Ok(answer) => answer,
            Err(error) => return self.show(StatusCode::BAD_REQUEST, page, &fields, Some(&error)),
        };
        let outcome = self.api.auth.respond(Respond { challenge, answer, client: CLIENT }, &self.asked.ctx).await;
        self.settle(page, &fields, outcome)
    }

    fn settle(&self, page: Page, fields: &Fields, outcome: Result<Outcome, Error>) -> Response {
        match outcome {
            Ok(Outcome::Authenticated(grant)) => {
                let mut response = see_other(&self.return_to(fields));
                append_cookies(&mut response, self.api.cookies_for(&self.asked, &grant));
                append_cookies(&mut response, vec![self.challenge_cookie("", 0)]);
                response
            }
            Ok(Outcome::Challenged(challenged)) => self.ask(&challenged, fields),
            Err(error) => self.refuse(page, fields, &error),
        }
    }

    fn ask(&self, challenged: &Challenged, fields: &Fields) -> Response {
        let life = self.api.settings.challenge.ttl.as_secs();
        let mut response = self.go_to("code", Some(fields));
        append_cookies(&mut response, vec![self.challenge_cookie(&challenged.challenge.id.to_string(), life)]);
        response
    }

    fn refuse(&self, page: Page, fields: &Fields, error: &Error) -> Response {
        wire::report(error, &self.asked.ctx.request_id);
        self.show(self.status_of(error), page, fields, Some(error))
    }

    fn status_of(&self, error: &Error) -> StatusCode {
        wire::render(error, &self.asked.path, self.api.auth.clock().now()).status
    }

    fn show(&self, status: StatusCode, page: Page, fields: &Fields, error: Option<&Error>) -> Response {
        self.show_asking(status, page, fields, error, None)
    }

    /// Shows a page, with what a passkey is asked there.
    fn show_asking(
        &self,
        status: StatusCode,
        page: Page,
        fields: &Fields,
        error: Option<&Error>,
        question: Option<&Question>,
    ) -> Response {
        let nonce = nonce();
        let view = View {
            page,
            nonce: &nonce,
            base: &format!("{}{PATH}", self.api.settings.api.prefix),
            settings: &self.api.settings,
            return_to: &self.return_to(fields),
            fields,
            error,
            question,
        };
        let mut response = (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], view.html()).into_response();
        let headers = response.headers_mut();
        let scripts = if view.runs() { format!("script-src 'nonce-{nonce}'; ") } else { String::new() };
        let ancestors = self.api.settings.security.headers.frame_options.ancestors();
        let policy = format!("default-src 'none'; {scripts}{POLICY}{ancestors}");
        let policy = HeaderValue::from_str(&policy).expect("a policy is printable");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }

    /// Where the visit leads in the end: what the form or the address says, if that is safe.
    fn return_to(&self, fields: &Fields) -> String {
        let query = Fields::read(self.asked.query().as_bytes());
        let wanted = [fields.get("return_to"), query.get("return_to")].into_iter().find(|text| !text.is_empty());
        let listed = &self.api.settings.security.return_to_origins;
        wanted.and_then(|text| return_to::safe(text, &self.asked.own_origin, listed)).unwrap_or_else(|| "/".to_owned())
    }

    fn go_to(&self, page: &str, fields: Option<&Fields>) -> Response {
        let back = self.return_to(fields.unwrap_or(&Fields::default()));
        let url = format!("{}{PATH}/{page}", self.api.settings.api.prefix);
        see_other(&return_to::login_location(&url, &self.asked.own_origin, &back))
    }

    fn challenge(&self) -> Option<ChallengeId> {
        cookie_values(&self.asked.headers, &self.challenge_name()).iter().find_map(|value| value.parse().ok())
    }

    /// The challenge the browser is at, and what it asks; else where it goes, which is the login where there is none
    /// that could be answered.
    async fn challenged(&self) -> Result<(ChallengeId, Step), Box<Response>> {
        let Some(challenge) = self.challenge() else { return Err(Box::new(self.go_to("login", None))) };
        match self.api.auth.challenge_step(challenge, &self.asked.ctx).await {
            Ok(step) => Ok((challenge, step)),
            Err(error @ (Error::RateLimited { .. } | Error::Unavailable(_))) => {
                Err(Box::new(self.refuse(Page::Login, &Fields::default(), &error)))
            }
            Err(_) => Err(Box::new(self.go_to("login", None))),
        }
    }

    fn challenge_name(&self) -> String {
        format!("{}challenge", self.api.settings.delivery.cookie_prefix)
    }

    fn challenge_cookie(&self, value: &str, max_age: u64) -> HeaderValue {
        let flags = &self.api.settings.delivery.cookie;
        let secure = if flags.secure { "; Secure" } else { "" };
        // A `__Host-` cookie must have the path `/`.
        let path = if self.challenge_name().starts_with("__Host-") {
            "/".to_owned()
        } else {
            format!("{}{PATH}", self.api.settings.api.prefix)
        };
        let name = self.challenge_name();
        let text = format!("{name}={value}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&text).expect("a name, a UUID and a path are printable")
    }
}

/// What names the one script a page loads, and is another one with every page: `'self'` would let scripts run
/// that an upstream serves.
fn nonce() -> String {
    let mut bytes = [0; NONCE_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    hex(&bytes)
}

fn see_other(location: &str) -> Response {
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// Whether the pages are of use: they hand out cookies.
#[must_use]
pub fn is_mounted(settings: &Arc<Settings>) -> bool {
    settings.delivery.method != crate::config::settings::DeliveryMethod::Json
}
