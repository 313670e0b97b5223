//! What a row says of an account: the form that is imported, and exported.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::import::ImportedUser;
use crate::cli::user::MAX_REASON;
use crate::domain::clock::Time;
use crate::domain::id::UserId;
use crate::domain::user::{Exemption, Lock, MAX_METADATA_ADMIN, Role, User};
use crate::password_hash::imported::ImportedHash;

/// Longest given or family name, in characters.
const MAX_NAME: usize = 100;
/// Longest language tag or zone, in characters.
const MAX_TAG: usize = 64;
/// Numbers from here on are milliseconds: in seconds it would be the year 5138.
const MILLISECONDS: i64 = 100_000_000_000;

/// A column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Sub,
    Email,
    EmailVerified,
    Username,
    Phone,
    PhoneVerified,
    FirstName,
    LastName,
    PasswordHash,
    PasswordChangedAt,
    Roles,
    Metadata,
    MetadataAdmin,
    CreatedAt,
    MustChangePassword,
    DisabledAt,
    DisabledReason,
    MfaExemptAt,
    MfaExemptReason,
    Locale,
    Timezone,
}

/// What columns are called.
pub(super) const COLUMNS: [(&str, Column); 21] = [
    ("sub", Column::Sub),
    ("email", Column::Email),
    ("email_verified", Column::EmailVerified),
    ("username", Column::Username),
    ("phone", Column::Phone),
    ("phone_verified", Column::PhoneVerified),
    ("first_name", Column::FirstName),
    ("last_name", Column::LastName),
    ("password_hash", Column::PasswordHash),
    ("password_changed_at", Column::PasswordChangedAt),
    ("roles", Column::Roles),
    ("metadata", Column::Metadata),
    ("metadata_admin", Column::MetadataAdmin),
    ("created_at", Column::CreatedAt),
    ("must_change_password", Column::MustChangePassword),
    ("disabled_at", Column::DisabledAt),
    ("disabled_reason", Column::DisabledReason),
    ("mfa_exempt_at", Column::MfaExemptAt),
    ("mfa_exempt_reason", Column::MfaExemptReason),
    ("locale", Column::Locale),
    ("timezone", Column::Timezone),
];

/// A row as it is written. What is not known is `null`, or not there.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::cli) struct Fields {
    sub: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    username: Option<String>,
    phone: Option<String>,
    phone_verified: Option<bool>,
    first_name: Option<String>,
    last_name: Option<String>,
    password_hash: Option<String>,
    password_changed_at: Option<Value>,
    roles: Option<Vec<String>>,
    metadata: Option<Map<String, Value>>,
    metadata_admin: Option<Map<String, Value>>,
    created_at: Option<Value>,
    must_change_password: Option<bool>,
    disabled_at: Option<Value>,
    disabled_reason: Option<String>,
    mfa_exempt_at: Option<Value>,
    mfa_exempt_reason: Option<String>,
    locale: Option<String>,
    timezone: Option<String>,
}

impl Fields {
    /// A complete account as it is stored.
    ///
    /// # Errors
    /// When what is stored of it is not what nauth writes.
    pub(in crate::cli) fn of(user: &User) -> Result<Self, serde_json::Error> {
        let time = |at: Time| Value::from(at.to_string());
        Ok(Self {
            sub: Some(user.id.to_string()),
            email: Some(user.email.to_string()),
            email_verified: Some(user.email_verified),
            username: user.username.as_ref().map(ToString::to_string),
            phone: user.phone.as_ref().map(ToString::to_string),
            phone_verified: user.phone.as_ref().map(|_| user.phone_verified),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            password_hash: user.password_hash.as_ref().map(|hash| hash.expose().clone()),
            password_changed_at: user.password_changed_at.map(time),
            roles: Some(user.roles.iter().map(ToString::to_string).collect()),
            metadata: Some(serde_json::from_str(&user.metadata)?),
            metadata_admin: Some(serde_json::from_str(&user.metadata_admin)?),
            created_at: Some(time(user.created_at)),
            must_change_password: Some(user.must_change_password),
            disabled_at: user.lock.as_ref().map(|lock| time(lock.at)),
            disabled_reason: user.lock.as_ref().map(|lock| lock.reason.clone()),
            mfa_exempt_at: user.mfa_exempt.as_ref().map(|exempt| time(exempt.at)),
            mfa_exempt_reason: user.mfa_exempt.as_ref().and_then(|exempt| exempt.reason.clone()),
            locale: user.locale.clone(),
            timezone: user.timezone.clone(),
        })
    }

    pub(super) fn set(&mut self, column: Column, cell: &str) -> Result<(), String> {
        let text = || Some(cell.to_owned());
        let moment = || Some(cell.parse().map_or_else(|_| Value::from(cell), |number: i64| Value::from(number)));
        match column {
            Column::Sub => self.sub = text(),
            Column::Email => self.email = text(),
            Column::EmailVerified => self.email_verified = Some(boolean("email_verified", cell)?),
            Column::Username => self.username = text(),
            Column::Phone => self.phone = text(),
            Column::PhoneVerified => self.phone_verified = Some(boolean("phone_verified", cell)?),
            Column::FirstName => self.first_name = text(),
            Column::LastName => self.last_name = text(),
            Column::PasswordHash => self.password_hash = text(),
            Column::Roles => self.roles = Some(words(cell)),
            Column::Metadata => self.metadata = Some(object("metadata", cell)?),
            Column::MetadataAdmin => self.metadata_admin = Some(object("metadata_admin", cell)?),
            Column::PasswordChangedAt => self.password_changed_at = moment(),
            Column::CreatedAt => self.created_at = moment(),
            Column::DisabledAt => self.disabled_at = moment(),
            Column::DisabledReason => self.disabled_reason = text(),
            Column::MfaExemptAt => self.mfa_exempt_at = moment(),
            Column::MfaExemptReason => self.mfa_exempt_reason = text(),
            Column::MustChangePassword => self.must_change_password = Some(boolean("must_change_password", cell)?),
            Column::Locale => self.locale = text(),
            Column::Timezone => self.timezone = text(),
        }
        Ok(())
    }

    pub(super) fn check(self, now: Time) -> Result<ImportedUser, String> {
        let email = self.email.ok_or("`email` is missing")?;
        let disabled_at = self.disabled_at.map(|at| time("disabled_at", &at, now)).transpose()?;
        let disabled_reason = short("disabled_reason", self.disabled_reason, MAX_REASON)?;
        let exempt_at = self.mfa_exempt_at.map(|at| time("mfa_exempt_at", &at, now)).transpose()?;
        let exempt_reason = short("mfa_exempt_reason", self.mfa_exempt_reason, MAX_REASON)?;
        Ok(ImportedUser {
            id: self.sub.map(|sub| id(&sub)).transpose()?,
            email: email.parse().map_err(|_| "`email` is not an e-mail address")?,
            email_verified: self.email_verified.unwrap_or(false),
            username: self
                .username
                .map(|name| name.parse().map_err(|_| "`username` is not 3 to 255 of a-z 0-9 _ -"))
                .transpose()?,
            phone: self
                .phone
                .filter(|phone| !phone.is_empty())
                .map(|phone| phone.parse().map_err(|_| "`phone` is not a number as in +15551234567"))
                .transpose()?,
            phone_verified: self.phone_verified.unwrap_or(false),
            first_name: short("first_name", self.first_name, MAX_NAME)?,
            last_name: short("last_name", self.last_name, MAX_NAME)?,
            password: self
                .password_hash
                .filter(|hash| !hash.is_empty())
                .map(|hash| ImportedHash::parse(&hash).map_err(|error| format!("`password_hash`: {error}")))
                .transpose()?,
            password_changed_at: self
                .password_changed_at
                .map(|at| time("password_changed_at", &at, now))
                .transpose()?,
            roles: self
                .roles
                .map(|roles| roles.iter().map(|role| self::role(role)).collect::<Result<_, _>>())
                .transpose()?,
            metadata: self.metadata.unwrap_or_default(),
            metadata_admin: self.metadata_admin.map(metadata_admin).transpose()?.unwrap_or_default(),
            created_at: self.created_at.map(|at| time("created_at", &at, now)).transpose()?,
            must_change_password: self.must_change_password.unwrap_or(false),
            lock: (disabled_at.is_some() || disabled_reason.is_some()).then(|| Lock {
                at: disabled_at.unwrap_or(now),
                reason: disabled_reason.unwrap_or_else(|| "disabled before it was imported".to_owned()),
                until: None,
            }),
            mfa_exempt: (exempt_at.is_some() || exempt_reason.is_some())
                .then(|| Exemption { at: exempt_at.unwrap_or(now), reason: exempt_reason }),
            locale: short("locale", self.locale, MAX_TAG)?,
            timezone: short("timezone", self.timezone, MAX_TAG)?,
        })
    }
}

fn id(text: &str) -> Result<UserId, String> {
    let id = text.parse().ok().filter(|id: &UserId| id.uuid().get_version_num() == 4);
    id.ok_or_else(|| "`sub` is not a UUID of version 4".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error| format!("`roles`: {error}"))
}

/// Trimmed text of at most `longest` characters; empty is absent.
fn short(name: &str, text: Option<String>, longest: usize) -> Result<Option<String>, String> {
    let Some(text) = text else { return Ok(None) };
    let text = text.trim();
    if text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(format!("`{name}` must be at most {longest} characters without control characters"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// RFC 3339 in UTC, or seconds or milliseconds since 1970.
fn time(name: &str, value: &Value, now: Time) -> Result<Time, String> {
    let written = match value {
        Value::Number(number) => number.as_i64().map(|number| {
            if number >= MILLISECONDS {
                Time::from_micros(number.saturating_mul(1000))
            } else {
                Time::from_secs(number)
            }
        }),
        Value::String(text) => {
            let utc = text.strip_suffix("+00:00").unwrap_or(text);
            let parsed = humantime::parse_rfc3339_weak(utc).ok();
            let since = parsed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            since.and_then(|since| i64::try_from(since.as_micros()).ok()).map(Time::from_micros)
        }
        _ => None,
    };
    let past = written.filter(|at| (0..=now.micros()).contains(&at.micros()));
    past.ok_or_else(|| format!("`{name}` is not a past time as in 2024-05-01T12:00:00Z or seconds since 1970"))
}

fn object(name: &str, text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|_| format!("`{name}` is not a JSON object"))
}

fn metadata_admin(object: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let bytes = Value::Object(object.clone()).to_string().len();
    if bytes > MAX_METADATA_ADMIN {
        return Err(format!("`metadata_admin` is larger than {MAX_METADATA_ADMIN} bytes"));
    }
    Ok(object)
}

fn boolean(name: &str, text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" | "t" => Ok(true),
        "false" | "no" | "0" | "f" => Ok(false),
        _ => Err(format!("`{name}` is neither true nor false")),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split([',', ';', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;
    use crate::domain::user::tests_support::ada;

    #[test]
    fn what_is_exported_is_read_as_the_same_account() {
        let at = Time::from_secs(1_700_000_000);
        let bare = User { roles: Vec::new(), ..ada() };
        let full = User {
            username: Some("ada".parse().unwrap()),
            phone: Some("+41791234567".parse().unwrap()),
            phone_verified: true,
            first_name: Some("Ada".to_owned()),
            last_name: Some("\u{141}ovelace \"the\" first".to_owned()),
            password_hash: Some(Secret::new("$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va".to_owned())),
            password_changed_at: Some(at),
            must_change_password: true,
            lock: Some(Lock { at, reason: "left".to_owned(), until: None }),
            mfa_exempt: Some(Exemption { at, reason: Some("lost at sea".to_owned()) }),
            locale: Some("de-CH".to_owned()),
            timezone: Some("Europe/Zurich".to_owned()),
            metadata: "{\"plan\":{\"a\":[1,null]}}".to_owned(),
            metadata_admin: "{\"tenant\":\"acme\"}".to_owned(),
            roles: vec!["admin".parse().unwrap(), "user".parse().unwrap()],
            ..ada()
        };
        for user in [bare, full] {
            let line = serde_json::to_string(&Fields::of(&user).unwrap()).unwrap();
            let read: Fields = serde_json::from_str(&line).unwrap();

            let back = read.check(at + std::time::Duration::from_secs(1)).unwrap();

            assert_eq!((back.id, back.email), (Some(user.id), user.email.clone()));
            assert_eq!((back.email_verified, back.phone_verified), (user.email_verified, user.phone_verified));
            assert_eq!((back.username, back.phone), (user.username, user.phone));
            assert_eq!((back.first_name, back.last_name), (user.first_name, user.last_name));
            assert_eq!(back.password.is_some(), user.password_hash.is_some());
            assert_eq!(line.contains("$2b$10$"), user.password_hash.is_some());
            assert_eq!(back.password_changed_at, user.password_changed_at);
            assert_eq!((back.lock, back.mfa_exempt), (user.lock, user.mfa_exempt));
            assert_eq!(
                (back.must_change_password, back.created_at),
                (user.must_change_password, Some(user.created_at))
            );
            assert_eq!((back.locale, back.timezone), (user.locale, user.timezone));
            assert_eq!(Value::Object(back.metadata).to_string(), user.metadata);
            assert_eq!(Value::Object(back.metadata_admin).to_string(), user.metadata_admin);
            assert_eq!(back.roles, Some(user.roles), "no role is not the default ones");
        }
    }
}
