//! Texts with places for what is known of a user: `"{{user.metadata_admin.tenant}}"`.
//!
//! Taken apart once, when the settings are read. A template names what nauth vouches for and
//! nothing else: what users may write about themselves (`metadata`) is no variable.

use std::str::FromStr;

use crate::domain::claims;

/// Longest template, in bytes.
const MAX_TEXT: usize = 1024;
/// Most variables of one template.
const MAX_VARIABLES: usize = 16;
/// Deepest path into `metadata_admin`.
const MAX_DEPTH: usize = 4;

/// A text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// What this stands for.
    Value(Variable),
}

/// What can be known of a user and a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `user.id`
    UserId,
    /// `user.email`: the address, if it is proven.
    Email,
    /// `user.username`
    Username,
    /// `user.roles`
    Roles,
    /// `session.id`
    SessionId,
    /// `session.acr`
    Acr,
    /// `session.amr`
    Amr,
    /// `session.auth_time`, in seconds since 1970.
    AuthTime,
    /// What tokens hold because a template asks for it.
    Told(Told),
}

/// What tokens do not hold unless a template asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    key: String,
    source: Source,
}

/// Where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `user.first_name`
    FirstName,
    /// `user.last_name`
    LastName,
    /// `user.metadata_admin.…`, what only operators and hooks write: the keys on the way to a value.
    Metadata(Vec<String>),
    /// `claims.…`: what `jwt.claims` or a hook put into the token.
    Claim(String),
}

impl Told {
    /// The key under which tokens hold it: as it is written, without `user.`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }
}

/// Why a text is no template, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTemplate(String);

impl Template {
    /// Its parts, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// What it asks for.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(variable) => Some(variable),
            Piece::Text(_) => None,
        })
    }
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let refuse = |why: String| Err(InvalidTemplate(why));
        if text.is_empty() || text.len() > MAX_TEXT {
            return refuse(format!("a template has 1 to {MAX_TEXT} bytes"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let inner = &rest[start + 2..];
            let Some(end) = inner.find("}}") else { return refuse("`{{` is never closed by `}}`".to_owned()) };
            pieces.push(Piece::Value(inner[..end].trim().parse()?));
            rest = &inner[end + 2..];
        }
        if rest.contains("}}") {
            return refuse("`}}` closes nothing".to_owned());
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let template = Self(pieces);
        if template.variables().count() > MAX_VARIABLES {
            return refuse(format!("a template has at most {MAX_VARIABLES} variables"));
        }
        Ok(template)
    }
}

impl FromStr for Variable {
    type Err = InvalidTemplate;

    fn from_str(name: &str) -> Result<Self, InvalidTemplate> {
        let source = match name {
            "user.id" | "claims.sub" => return Ok(Self::UserId),
            "user.email" | "claims.email" => return Ok(Self::Email),
            "user.username" | "claims.username" => return Ok(Self::Username),
            "user.roles" | "claims.roles" => return Ok(Self::Roles),
            "session.id" | "claims.sessionId" => return Ok(Self::SessionId),
            "session.acr" | "claims.acr" => return Ok(Self::Acr),
            "session.amr" | "claims.amr" => return Ok(Self::Amr),
            "session.auth_time" | "claims.authTime" => return Ok(Self::AuthTime),
            "user.first_name" => Some(Source::FirstName),
            "user.last_name" => Some(Source::LastName),
            _ => match name.split_once('.') {
                Some(("user", rest)) => rest.strip_prefix("metadata_admin.").and_then(path).map(Source::Metadata),
                Some(("claims", claim)) if claims::may_be_added(claim) => Some(Source::Claim(claim.to_owned())),
                _ => None,
            },
        };
        let unknown = || {
            InvalidTemplate(format!(
                "`{name}` is no variable; known are user.id, .email, .username, .roles, .first_name, .last_name, \
                 .metadata_admin.…, session.id, .acr, .amr, .auth_time, claims.…"
            ))
        };
        let source = source.ok_or_else(unknown)?;
        Ok(Self::Told(Told { key: name.trim_start_matches("user.").to_owned(), source }))
    }
}

fn path(text: &str) -> Option<Vec<String>> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_path = text.split('.').all(|key| !key.is_empty() && key.chars().all(allowed));
    let keys: Vec<String> = text.split('.').map(str::to_owned).collect();
    (is_path && keys.len() <= MAX_DEPTH).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: &str, source: Source) -> Variable {
        Variable::Told(Told { key: key.to_owned(), source })
    }

    #[test]
    fn a_template_is_text_and_variables() {
        let template: Template = "t:{{ user.metadata_admin.org.id }}/{{user.roles}}!".parse().unwrap();

        let told = told("metadata_admin.org.id", Source::Metadata(vec!["org".to_owned(), "id".to_owned()]));
        assert_eq!(
            template.pieces(),
            [
                Piece::Text("t:".to_owned()),
                Piece::Value(told),
                Piece::Text("/".to_owned()),
                Piece::Value(Variable::Roles),
                Piece::Text("!".to_owned()),
            ]
        );
    }

    #[test]
    fn every_variable_has_a_name() {
        for (name, variable) in [
            ("user.id", Variable::UserId),
            ("claims.sub", Variable::UserId),
            ("user.email", Variable::Email),
            ("user.username", Variable::Username),
            ("user.roles", Variable::Roles),
            ("user.first_name", told("first_name", Source::FirstName)),
            ("user.last_name", told("last_name", Source::LastName)),
            ("session.id", Variable::SessionId),
            ("session.acr", Variable::Acr),
            ("session.amr", Variable::Amr),
            ("session.auth_time", Variable::AuthTime),
            ("claims.acme:plan", told("claims.acme:plan", Source::Claim("acme:plan".to_owned()))),
        ] {
            assert_eq!(name.parse(), Ok(variable), "{name}");
        }
    }

    #[test]
    fn what_users_write_and_what_nobody_knows_is_no_variable() {
        for bad in [
            "user.metadata.tenant",
            "user.metadata_admin",
            "user.metadata_admin.",
            "user.metadata_admin.a..b",
            "user.metadata_admin.a.b.c.d.e",
            "user.metadata_admin.a b",
            "user.password_hash",
            "user.phone",
            "user",
            "session.refresh_token",
            "claims.tokenFamily",
            "claims.told",
            "claims.",
            "env.HOME",
            "",
        ] {
            assert!(bad.parse::<Variable>().is_err(), "{bad}");
            assert!(format!("{{{{{bad}}}}}").parse::<Template>().is_err(), "{bad}");
        }
    }

    #[test]
    fn braces_come_in_pairs_and_templates_are_bounded() {
        let many = "{{user.id}}".repeat(MAX_VARIABLES + 1);
        for bad in ["", "{{user.id", "user.id}}", "{{user.id}} }}", "{{}}", &many, &"x".repeat(MAX_TEXT + 1)] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
        assert!("{user.id} ${HOME}".parse::<Template>().unwrap().variables().next().is_none());
    }
}
