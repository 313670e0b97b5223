//! Blocking hooks: a program of the operator's is asked before something happens.
//!
//! They go to the operator's own services, so private addresses are allowed. An answer that does not
//! come in time, or cannot be read, is what `on_error` says.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::settings::{Hook, HookEvent, OnHookError};
use crate::domain::claims::OWN;
use crate::domain::user::{MAX_METADATA_ADMIN, Role};
use crate::mail::content::plain;
use crate::outgoing::{Endpoint, Outgoing};

/// Hooks asked side by side; beyond that `on_error` counts.
const AT_ONCE: usize = 256;
/// Longest message taken over, in characters.
const MAX_MESSAGE: usize = 200;
/// Most roles taken over.
const MAX_ROLES: usize = 64;
/// Largest claims taken over, in bytes of JSON. They travel in a cookie, and browsers drop cookies above 4 KiB.
const MAX_CLAIMS: usize = 1024;
/// The hooks of one configuration.
#[derive(Debug, Clone)]
pub struct Hooks {
    all: Arc<Vec<Arc<Hook>>>,
    outgoing: Outgoing,
    places: Arc<Semaphore>,
}

/// What the operator's programs make of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It may happen, with these changes.
    Allow(Changes),
    /// It may not, for this reason if one was given.
    Deny {
        /// At most 200 characters.
        message: Option<String>,
    },
}

/// What hooks want to be different.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// The user's roles, all of them.
    pub roles: Option<Vec<Role>>,
    /// Merged into what operators say of the user.
    pub metadata_admin: Option<Map<String, Value>>,
    /// Put into the tokens of the session.
    pub claims: Option<Map<String, Value>>,
}

impl Hooks {
    /// The hooks of these settings.
    #[must_use]
    pub fn new(hooks: &[Arc<Hook>], outgoing: Outgoing) -> Self {
        Self { all: Arc::new(hooks.to_vec()), outgoing, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether anybody is asked about this.
    #[must_use]
    pub fn has(&self, event: HookEvent) -> bool {
        self.all.iter().any(|hook| hook.event == event)
    }

    /// Asks every hook of this event, in the order of the file. The first that denies ends it.
    pub async fn ask(&self, event: HookEvent, body: &Value) -> Verdict {
        let mut all = Changes::default();
        for hook in self.all.iter().filter(|hook| hook.event == event) {
            let answer = match self.ask_one(hook, body).await {
                Ok(answer) => answer,
                Err(reason) => {
                    tracing::warn!(event = event.as_str(), url = %hook.url.host_str().unwrap_or(""), reason, "a hook gave no usable answer");
                    match hook.on_error {
                        OnHookError::Allow => continue,
                        OnHookError::Deny => return Verdict::Deny { message: None },
                    }
                }
            };
            match answer {
                Verdict::Deny { message } => return Verdict::Deny { message },
                Verdict::Allow(changes) => all.merge(changes),
            }
        }
        Verdict::Allow(all)
    }

    async fn ask_one(&self, hook: &Hook, body: &Value) -> Result<Verdict, String> {
        let _place = self.places.try_acquire().map_err(|_| "too many are asked at once".to_owned())?;
        let endpoint = Endpoint {
            url: hook.url.clone(),
            secret: Arc::clone(&hook.secret),
            timeout: hook.timeout,
            allow_private: true,
        };
        let id = Uuid::now_v7().to_string();
        let asked = self.outgoing.ask(&endpoint, hook.event.as_str(), &id, body.to_string().into_bytes()).await;
        let answer = asked.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("it answered {}", answer.status));
        }
        read(&answer.body)
    }
}

impl Changes {
    fn merge(&mut self, later: Self) {
        self.roles = later.roles.or(self.roles.take());
        for (mine, theirs) in [(&mut self.metadata_admin, later.metadata_admin), (&mut self.claims, later.claims)] {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().extend(theirs);
            }
        }
    }
}

/// Reads `{"decision": "allow" | "deny", "message"?, "set"?: {roles?, metadata_admin?, claims?}}`.
fn read(body: &[u8]) -> Result<Verdict, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "its answer is no JSON".to_owned())?;
    match answer["decision"].as_str() {
        Some("deny") => {
            let message = answer["message"].as_str().map(plain).filter(|message| !message.is_empty());
            Ok(Verdict::Deny { message: message.map(|message| message.chars().take(MAX_MESSAGE).collect()) })
        }
        Some("allow") => Ok(Verdict::Allow(read_changes(&answer["set"])?)),
        _ => Err("its answer holds no decision".to_owned()),
    }
}

fn read_changes(set: &Value) -> Result<Changes, String> {
    let object = |key: &str, max: usize| match &set[key] {
        Value::Null => Ok(None),
        Value::Object(object) if Value::Object(object.clone()).to_string().len() <= max => Ok(Some(object.clone())),
        _ => Err(format!("its `set.{key}` is no object of at most {max} bytes")),
    };
    let roles = match &set["roles"] {
        Value::Null => None,
        Value::Array(roles) if roles.len() <= MAX_ROLES => {
            let role = |role: &Value| role.as_str().and_then(|role| role.parse().ok());
            Some(roles.iter().map(role).collect::<Option<Vec<Role>>>().ok_or("its `set.roles` holds what is no role")?)
        }
        _ => return Err(format!("its `set.roles` is no list of at most {MAX_ROLES}")),
    };
    let claims = object("claims", MAX_CLAIMS)?;
    if let Some(own) = claims.iter().flat_map(Map::keys).find(|name| OWN.contains(&name.as_str())) {
        return Err(format!("its `set.claims` holds `{own}`, which is nauth's own"));
    }
    Ok(Changes { roles, metadata_admin: object("metadata_admin", MAX_METADATA_ADMIN)?, claims })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let deny = |message: Option<&str>| Ok(Verdict::Deny { message: message.map(str::to_owned) });
        let long = "x".repeat(300);
        let cases = [
            (json!({"decision": "allow"}), Ok(Verdict::Allow(Changes::default()))),
            (json!({"decision": "allow", "other": 1}), Ok(Verdict::Allow(Changes::default()))),
            (json!({"decision": "deny"}), deny(None)),
            (json!({"decision": "deny", "message": "no\r\nway"}), deny(Some("no way"))),
            (json!({"decision": "deny", "message": long}), deny(Some(&long[..200]))),
            (json!({"decision": "maybe"}), Err(())),
            (json!({}), Err(())),
            (json!([]), Err(())),
            (json!({"decision": "allow", "set": {"roles": ["a,b"]}}), Err(())),
            (json!({"decision": "allow", "set": {"claims": {"roles": ["admin"]}}}), Err(())),
            (json!({"decision": "allow", "set": {"claims": {"x": "y".repeat(3000)}}}), Err(())),
        ];
        for (body, expected) in cases {
            assert_eq!(read(body.to_string().as_bytes()).map_err(drop), expected, "{body}");
        }
        assert!(read(b"<html>").is_err());
    }

    #[test]
    fn later_hooks_add_to_earlier_ones() {
        let Ok(Verdict::Allow(mut first)) =
            read(br#"{"decision":"allow","set":{"claims":{"a":1,"b":1},"roles":["user"]}}"#)
        else {
            panic!("it allows");
        };
        let Ok(Verdict::Allow(second)) = read(br#"{"decision":"allow","set":{"claims":{"b":2}}}"#) else {
            panic!("it allows");
        };

        first.merge(second);

        assert_eq!(Value::Object(first.claims.unwrap()), json!({"a": 1, "b": 2}));
        assert_eq!(first.roles.unwrap().len(), 1);
    }
}
