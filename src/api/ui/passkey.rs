//! Passkeys on the pages: the one thing a form cannot do by itself.
//!
//! Every page that takes a passkey has a form for it. Sent without an answer it asks for the question; the
//! page comes back with it, the script has the browser answer, and the same form is sent again. So only who
//! wants a question gets one, and what is wrong with an answer is told with the next. Without JavaScript the
//! form stays hidden, and the page says why.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use minijinja::{Value, context};

use crate::api::Api;
use crate::api::context::Asked;
use crate::api::nauth::error as wire;
use crate::api::nauth::wire::request;
use crate::api::ui::form::Fields;
use crate::api::ui::page::Page;
use crate::api::ui::{CLIENT, Desk, factor};
use crate::auth::mfa::{ProofData, SetupData, SetupWish};
use crate::auth::{Answer, Caller, FactorAnswer, Outcome, PasskeyLogin, Respond, SetupAnswer};
use crate::config::settings::Settings;
use crate::domain::challenge::Step;
use crate::domain::error::{Error, FieldError};
use crate::domain::factor::Method;
use crate::domain::id::ChallengeId;
use crate::domain::secret::Secret;

/// What a passkey is asked.
#[derive(Debug)]
pub(super) struct Question {
    /// For `navigator.credentials`, as JSON.
    options: String,
    /// What a login has to name beside the answer.
    session: String,
    /// Whether the browser asks at once: its user has just said so.
    starts: bool,
}

impl Question {
    pub(super) fn new(options: &serde_json::Value) -> Self {
        Self { options: options.to_string(), session: String::new(), starts: true }
    }
}

/// The form for passkeys of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    /// Where it goes, below the pages.
    action: &'static str,
    /// What its button says.
    words: &'static str,
    /// Whether a passkey is made or used.
    makes: bool,
}

impl Offer {
    /// What a page offers; nothing where a passkey would be no answer.
    pub(super) fn on(page: Page, fields: &Fields, settings: &Settings) -> Option<Self> {
        let is_choice = settings.mfa.passkey.is_some()
            && fields.get("choices").split(' ').any(|name| name == Method::Passkey.as_str());
        let (action, words) = match page {
            Page::Login if settings.mfa.is_passwordless() => ("passkey", "Log in with a passkey"),
            Page::Factor | Page::FactorSent if is_choice => ("code", "Use a passkey"),
            Page::Confirm if is_choice => ("confirm/passkey", "Use a passkey"),
            Page::StepUp if is_choice => ("step-up/passkey", "Use a passkey"),
            Page::SetUpFactor if is_choice => ("code", "Passkey"),
            Page::SetUpPasskey => ("code", "Set up the passkey"),
            _ => return None,
        };
        Some(Self { action, words, makes: page == Page::SetUpPasskey })
    }

    /// What its template shows.
    pub(super) fn values(self, question: Option<&Question>) -> Value {
        let options = question.map_or("", |question| &question.options);
        let session = question.map_or("", |question| &question.session);
        let starts = question.is_some_and(|question| question.starts);
        let verb = if self.makes { "create" } else { "get" };
        context! { action => self.action, words => self.words, verb, options, session, starts }
    }
}

/// Where somebody stands who is asked for a passkey.
enum Place<'a> {
    /// At the door: nobody knows who they are.
    Login,
    /// In a session.
    Session(&'a Caller),
    /// On the way in.
    Challenge(ChallengeId, &'a Step),
}

impl Place<'_> {
    async fn question(&self, desk: &Desk) -> Result<Question, Error> {
        let (auth, ctx) = (&desk.api.auth, &desk.asked.ctx);
        let proof = match self {
            Place::Login => {
                let asked = auth.ask_for_passkey(ctx).await?;
                return Ok(Question { session: asked.session.to_string(), ..Question::new(&asked.options) });
            }
            Place::Challenge(challenge, Step::SetUpFactor { .. }) => {
                let wish = SetupWish { method: Method::Passkey, phone: None, name: None };
                return match auth.begin_demanded_factor(*challenge, &wish, ctx).await? {
                    SetupData::Passkey(options) => Ok(Question::new(&options)),
                    _ => Err(no_question()),
                };
            }
            Place::Challenge(challenge, _) => auth.begin_proof(*challenge, Method::Passkey, ctx).await?,
            Place::Session(caller) => auth.begin_own_proof(caller, Method::Passkey, ctx).await?,
        };
        match proof {
            ProofData::Passkey(options) => Ok(Question::new(&options)),
            ProofData::CodeSent { .. } => Err(no_question()),
        }
    }
}

fn no_question() -> Error {
    Error::Internal("a passkey was asked for, and something else came".into())
}

/// Logs in with nothing but a passkey.
pub(super) async fn login(State(api): State<Api>, asked: Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    if !is_answered(&fields) {
        return desk.question(Page::Login, &fields, &Place::Login, None).await;
    }
    let outcome = match fields.get("session").parse() {
        Ok(session) => {
            let input = PasskeyLogin {
                session,
                credential: credential(&fields),
                renews: desk.api.session_shown(&desk.asked),
                client: CLIENT,
            };
            desk.api.auth.login_with_passkey(input, &desk.asked.ctx).await
        }
        Err(_) => Err(Error::NoCeremony),
    };
    desk.take(Page::Login, &fields, &Place::Login, outcome).await
}

/// Makes the login of the session there is fresh again.
pub(super) async fn confirm(State(api): State<Api>, asked: Asked) -> Response {
    raise(&Desk::new(api, asked), Page::Confirm).await
}

/// Shows the second factor of the session there is.
pub(super) async fn step_up(State(api): State<Api>, asked: Asked) -> Response {
    raise(&Desk::new(api, asked), Page::StepUp).await
}

async fn raise(desk: &Desk, page: Page) -> Response {
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    // The page may have been open until the session ended.
    let Some(caller) = desk.caller().await else { return desk.go_to("login", Some(&fields)) };
    let (fields, place) = (desk.fields_for(&caller, &fields).await, Place::Session(&caller));
    if !is_answered(&fields) {
        return desk.question(page, &fields, &place, None).await;
    }
    let outcome = desk.api.auth.reauthenticate_with_factor(&caller, &proof(&fields), &desk.asked.ctx).await;
    desk.take(page, &fields, &place, outcome.map(|grant| Outcome::Authenticated(Box::new(grant)))).await
}

/// Whether a form at a challenge is the one for passkeys.
pub(super) fn is_meant(fields: &Fields, step: &Step) -> bool {
    let takes_factor = matches!(step, Step::SetUpFactor { .. } | Step::ProveFactor(_));
    takes_factor && fields.get("method") == Method::Passkey.as_str()
}

/// Sets a passkey up or proves one, on the way in.
pub(super) async fn at_challenge(desk: &Desk, challenge: ChallengeId, step: &Step, fields: &Fields) -> Response {
    let (fields, place) = (factor::asked_for(fields, step), Place::Challenge(challenge, step));
    let is_setup = matches!(step, Step::SetUpFactor { .. });
    let page = if is_setup { Page::SetUpPasskey } else { Page::Factor };
    if !is_answered(&fields) {
        return desk.question(page, &fields, &place, None).await;
    }
    let answer = if is_setup { setup(&fields).map(Answer::SetUp) } else { Ok(Answer::Factor(proof(&fields))) };
    let outcome = match answer {
        Ok(answer) => desk.api.auth.respond(Respond { challenge, answer, client: CLIENT }, &desk.asked.ctx).await,
        Err(error) => Err(error),
    };
    desk.take(page, &fields, &place, outcome).await
}

/// The page of somebody at a challenge who comes to it: asked at once if a passkey is what they want first.
pub(super) async fn at_first(desk: &Desk, challenge: ChallengeId, step: &Step) -> Option<Question> {
    let Step::ProveFactor(asked) = step else { return None };
    if asked.preferred != Method::Passkey {
        return None;
    }
    // What stands in its way is told when they ask themselves.
    Place::Challenge(challenge, step).question(desk).await.ok()
}

impl Desk {
    /// Goes on with what an answer brought; after a wrong one with the next question.
    async fn take(&self, page: Page, fields: &Fields, place: &Place<'_>, outcome: Result<Outcome, Error>) -> Response {
        match outcome {
            Err(error) => self.question(page, fields, place, Some(error)).await,
            entered => self.settle(page, fields, entered),
        }
    }

    /// A page with a question; `wrong` is what came of the one before.
    async fn question(&self, page: Page, fields: &Fields, place: &Place<'_>, wrong: Option<Error>) -> Response {
        let question = place.question(self).await;
        match (question, wrong) {
            (Ok(question), None) => {
                // Who makes a passkey may want to name it first.
                let starts = page != Page::SetUpPasskey || fields.get("pressed") == "true";
                self.show_asking(StatusCode::OK, page, fields, None, Some(&Question { starts, ..question }))
            }
            (Ok(question), Some(error)) => {
                wire::report(&error, &self.asked.ctx.request_id);
                let status = self.status_of(&error);
                self.show_asking(status, page, fields, Some(&error), Some(&Question { starts: false, ..question }))
            }
            (Err(error), wrong) => {
                let page = if page == Page::SetUpPasskey { Page::SetUpFactor } else { page };
                self.refuse(page, fields, &wrong.unwrap_or(error))
            }
        }
    }

    /// What the pages of somebody who is logged in show of them.
    pub(super) async fn fields_for(&self, caller: &Caller, fields: &Fields) -> Fields {
        let status = self.api.auth.factor_status(caller).await;
        let choices = status.map(|status| {
            let has = |method: &&Method| status.factors.iter().any(|factor| factor.method == **method);
            let offered = status.allowed.iter().filter(has).map(|method| method.as_str());
            offered.collect::<Vec<_>>().join(" ")
        });
        fields.with([("identifier", caller.user.email.to_string()), ("choices", choices.unwrap_or_default())])
    }
}

/// Whether a form has an answer, right or wrong.
pub(super) fn is_answered(fields: &Fields) -> bool {
    !fields.get("credential").is_empty()
}

fn credential(fields: &Fields) -> Secret<String> {
    Secret::new(fields.get("credential").to_owned())
}

fn proof(fields: &Fields) -> FactorAnswer {
    FactorAnswer { method: Method::Passkey, code: credential(fields), factor: None }
}

fn setup(fields: &Fields) -> Result<SetupAnswer, Error> {
    let named = Some(fields.get("name")).filter(|name| !name.trim().is_empty()).map(request::name).transpose();
    let wrong = |problems: Vec<String>| {
        let told = problems.iter().map(|problem| FieldError::new("name", format!("The name {problem}.")));
        Error::Validation(told.collect())
    };
    let name = named.map_err(wrong)?;
    Ok(SetupAnswer { method: Method::Passkey, code: credential(fields), secret: None, phone: None, name })
}

/// What went wrong with a passkey, in words; `None` for what says the same of everything.
pub(super) fn sentence(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::CodeInvalid | Error::WrongFactor | Error::InvalidCredentials => {
            "This passkey was not accepted. Try again, or choose another way."
        }
        Error::CodeExhausted => "Too many tries. Log in again to go on.",
        Error::NoCeremony => "That took too long. Try again.",
        _ => return None,
    })
}
