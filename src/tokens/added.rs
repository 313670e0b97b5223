//! What access tokens say beyond the usual: the claims of `jwt.claims` and of hooks, and what the
//! headers of some route ask for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::config::settings::Jwt;
use crate::domain::claims::Words;
use crate::domain::session::Session;
use crate::domain::template::{Piece, Source, Template, Told, Variable};
use crate::domain::user::{Role, User};

/// Most bytes of JSON that settings add to a token. It travels in a cookie, and browsers drop cookies
/// above 4 KiB.
const MAX_ADDED: usize = 1024;

/// What settings add to every token.
#[derive(Debug, Clone)]
pub(super) struct Additions {
    claims: Vec<(String, Template)>,
    told: Vec<Told>,
}

/// What is added to one token.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Further claims.
    pub(super) claims: Map<String, Value>,
    /// What headers ask for.
    pub(super) told: BTreeMap<String, Words>,
}

impl Additions {
    pub(super) fn new(jwt: &Jwt) -> Self {
        Self { claims: jwt.claims.clone(), told: jwt.told.clone() }
    }

    /// What a token of this session says further. What is not known is left out, and so is what does
    /// not fit any more. A hook knows better than the settings.
    pub(super) fn of(&self, user: &User, session: Option<&Session>) -> Added {
        let hooks = session.and_then(|session| session.claims.as_deref());
        let hooks = hooks.and_then(|claims| serde_json::from_str(claims).ok()).unwrap_or_default();
        let mut added = Added { claims: hooks, told: BTreeMap::new() };
        if self.claims.is_empty() && self.told.is_empty() {
            return added;
        }
        let known = Known { user, session, metadata: serde_json::from_str(&user.metadata_admin).unwrap_or_default() };
        let mut room = MAX_ADDED;
        for (name, template) in &self.claims {
            let Some(value) = known.said(template).filter(|_| !added.claims.contains_key(name)) else { continue };
            if takes(&mut room, name, &value, user) {
                added.claims.insert(name.clone(), value);
            }
        }
        for told in &self.told {
            let words = match told.source() {
                Source::Claim(name) => added.claims.get(name).and_then(Words::of),
                source => known.told(source).as_ref().and_then(Words::of),
            };
            let Some(words) = words else { continue };
            if takes(&mut room, told.key(), &json!(words), user) {
                added.told.insert(told.key().to_owned(), words);
            }
        }
        added
    }
}

/// What headers would be told of a user of whom no session is looked at.
#[must_use]
pub fn told(jwt: &Jwt, user: &User) -> BTreeMap<String, Words> {
    Additions::new(jwt).of(user, None).told
}

/// Whether there is room for one more, which is then taken.
fn takes(room: &mut usize, name: &str, value: &Value, user: &User) -> bool {
    // Quotes, colon, comma.
    let left = room.checked_sub(name.len() + value.to_string().len() + 4);
    if left.is_none() {
        tracing::warn!(user.id = %user.id, claim.name = name, "an access token has no room for it; it is left out");
    }
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// What is known when a token is made.
struct Known<'a> {
    user: &'a User,
    session: Option<&'a Session>,
    metadata: Map<String, Value>,
}

impl Known<'_> {
    /// What a template says: a single variable keeps its type, anything else is a text.
    fn said(&self, template: &Template) -> Option<Value> {
        if let [Piece::Value(variable)] = template.pieces() {
            return self.value(variable);
        }
        let mut text = String::new();
        for piece in template.pieces() {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Value(variable) => match Words::of(&self.value(variable)?)? {
                    Words::One(word) => text.push_str(&word),
                    Words::Many(words) => text.push_str(&words.join(",")),
                },
            }
        }
        Some(Value::String(text))
    }

    fn value(&self, variable: &Variable) -> Option<Value> {
        let (user, session) = (self.user, self.session);
        Some(match variable {
            Variable::UserId => json!(user.id.to_string()),
            Variable::Email => json!(user.email_verified.then(|| user.email.as_str())?),
            Variable::Username => json!(user.username.as_ref()?.as_str()),
            Variable::Roles => json!(user.roles.iter().map(Role::as_str).collect::<Vec<_>>()),
            Variable::SessionId => json!(session?.id.to_string()),
            Variable::Acr => json!(session?.acr),
            Variable::Amr => json!(session?.amr),
            Variable::AuthTime => json!(session?.auth_time.secs()),
            Variable::Told(told) => return self.told(told.source()),
        })
    }

    fn told(&self, source: &Source) -> Option<Value> {
        match source {
            Source::FirstName => self.user.first_name.as_deref().map(Value::from),
            Source::LastName => self.user.last_name.as_deref().map(Value::from),
            Source::Metadata(keys) => {
                let mut keys = keys.iter();
                let first = self.metadata.get(keys.next()?)?;
                keys.try_fold(first, |value, key| value.get(key)).filter(|value| !value.is_null()).cloned()
            }
            // `jwt.claims` may not ask for claims, so nothing goes round in circles.
            Source::Claim(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Time;
    use crate::domain::user::tests_support::ada;
    use crate::tokens::tests::session;

    const AT: Time = Time::from_secs(1);

    fn user() -> User {
        User {
            username: Some("ada".parse().unwrap()),
            first_name: Some("Ada".to_owned()),
            metadata: r#"{"tenant":"evil"}"#.to_owned(),
            metadata_admin: r#"{"tenant":"acme","org":{"id":7},"tags":["a","b"],"deep":{"er":{}},"no":null}"#
                .to_owned(),
            ..ada()
        }
    }

    fn additions(claims: &[(&str, &str)], told: &[&str]) -> Additions {
        let told = told.iter().map(|name| match name.parse().unwrap() {
            Variable::Told(told) => told,
            other => panic!("{other:?} is in every token"),
        });
        let claims = claims.iter().map(|(name, template)| ((*name).to_owned(), template.parse().unwrap()));
        Additions { claims: claims.collect(), told: told.collect() }
    }

    #[test]
    fn tokens_hold_what_headers_ask_for_and_nothing_else_of_the_metadata() {
        let asked = [
            "user.metadata_admin.tenant",
            "user.metadata_admin.org.id",
            "user.metadata_admin.tags",
            "user.metadata_admin.deep.er",
            "user.metadata_admin.no",
            "user.metadata_admin.gone.far",
            "user.first_name",
            "user.last_name",
        ];

        let told = additions(&[], &asked).of(&user(), Some(&session("k", AT))).told;

        let expected = json!({
            "metadata_admin.tenant": "acme",
            "metadata_admin.org.id": "7",
            "metadata_admin.tags": ["a", "b"],
            "first_name": "Ada",
        });
        assert_eq!(json!(told), expected);
    }

    #[test]
    fn claims_keep_the_type_of_a_single_variable() {
        let claims = [
            ("tenant", "{{user.metadata_admin.tenant}}"),
            ("org", "{{user.metadata_admin.org}}"),
            ("acme:roles", "{{user.roles}}"),
            ("since", "{{session.auth_time}}"),
            ("label", "{{user.username}}@{{user.metadata_admin.org.id}} ({{session.amr}})"),
            ("fixed", "yes"),
            ("unknown", "{{user.last_name}}"),
            ("half", "{{user.first_name}} {{user.last_name}}"),
        ];

        let made = additions(&claims, &["claims.tenant", "claims.org", "claims.fixed"]);
        let made = made.of(&user(), Some(&session("k", Time::from_secs(9))));

        let expected = json!({
            "tenant": "acme",
            "org": { "id": 7 },
            "acme:roles": ["user"],
            "since": 9,
            "label": "ada@7 (pwd)",
            "fixed": "yes",
        });
        assert_eq!(Value::Object(made.claims), expected);
        assert_eq!(json!(made.told), json!({ "claims.tenant": "acme", "claims.fixed": "yes" }));
    }

    #[test]
    fn an_unproven_address_is_no_claim() {
        let made = additions(&[("mail", "{{user.email}}")], &[]);
        let session = session("k", AT);

        assert!(made.of(&User { email_verified: false, ..ada() }, Some(&session)).claims.is_empty());
        assert_eq!(made.of(&ada(), Some(&session)).claims["mail"], "ada@example.com");
    }

    #[test]
    fn a_hook_knows_better_than_the_settings() {
        let made = additions(&[("plan", "free"), ("kind", "user")], &["claims.plan"]);
        let session = Session { claims: Some(r#"{"plan":"pro"}"#.to_owned()), ..session("k", AT) };

        let made = made.of(&ada(), Some(&session));

        assert_eq!(Value::Object(made.claims), json!({ "plan": "pro", "kind": "user" }));
        assert_eq!(json!(made.told), json!({ "claims.plan": "pro" }));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_rest_stays() {
        let large = json!({ "large": "x".repeat(MAX_ADDED), "small": "y" }).to_string();
        let made = additions(
            &[("large", "{{user.metadata_admin.large}}")],
            &["user.metadata_admin.large", "user.metadata_admin.small"],
        );

        let user = User { metadata_admin: large, ..ada() };
        let made = made.of(&user, Some(&session("k", AT)));

        assert!(made.claims.is_empty());
        assert_eq!(json!(made.told), json!({ "metadata_admin.small": "y" }));
    }
}
