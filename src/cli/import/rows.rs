//! Rows of a file of accounts, from text to checked accounts, one at a time.

use std::io::{BufRead, Read};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::import::ImportedUser;
use crate::domain::clock::Time;
use crate::domain::id::UserId;
use crate::domain::user::{MAX_METADATA_ADMIN, Role};
use crate::password_hash::imported::ImportedHash;

/// Longest line of a JSONL file.
const MAX_LINE: u64 = 1024 * 1024;
/// Longest given or family name, in characters.
const MAX_NAME: usize = 100;
/// Longest language tag or zone, in characters.
const MAX_TAG: usize = 64;
/// Numbers from here on are milliseconds: in seconds it would be the year 5138.
const MILLISECONDS: i64 = 100_000_000_000;

/// A row: where it is, and the account or why it is none.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) user: Result<ImportedUser, String>,
}

/// The rows of a file.
pub(super) trait Rows {
    /// The next row; `None` at the end.
    fn next(&mut self, now: Time) -> anyhow::Result<Option<Row>>;
}

/// One JSON object on each line; empty lines do not count.
pub(super) struct JsonLines<R> {
    file: R,
    line: u64,
}

impl<R: BufRead> JsonLines<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, line: 0 }
    }

    /// The next line without its end; `Err` holds what is wrong with it.
    fn line(&mut self) -> anyhow::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut line).context("the file cannot be read")?;
        if line.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if line.ends_with(b"\n") || (line.len() as u64) < MAX_LINE {
            return Ok(Some(Ok(line)));
        }
        self.file.skip_until(b'\n').context("the file cannot be read")?;
        Ok(Some(Err("the line is longer than 1 MiB".to_owned())))
    }
}

impl<R: BufRead> Rows for JsonLines<R> {
    fn next(&mut self, now: Time) -> anyhow::Result<Option<Row>> {
        while let Some(line) = self.line()? {
            if matches!(&line, Ok(text) if text.trim_ascii().is_empty()) {
                continue;
            }
            let fields =
                line.and_then(|text| serde_json::from_slice::<Fields>(&text).map_err(|error| json_problem(&error)));
            return Ok(Some(Row { line: self.line, user: fields.and_then(|fields| fields.check(now)) }));
        }
        Ok(None)
    }
}

/// serde's words without its line number, which counts within the row.
fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// CSV with a header that names the columns.
pub(super) struct Csv<R> {
    reader: csv::Reader<R>,
    columns: Vec<Column>,
    record: csv::StringRecord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Sub,
    Email,
    EmailVerified,
    Username,
    Phone,
    PhoneVerified,
    FirstName,
    LastName,
    PasswordHash,
    Roles,
    Metadata,
    MetadataAdmin,
    CreatedAt,
    MustChangePassword,
    Locale,
    Timezone,
}

const COLUMNS: [(&str, Column); 16] = [
    ("sub", Column::Sub),
    ("email", Column::Email),
    ("email_verified", Column::EmailVerified),
    ("username", Column::Username),
    ("phone", Column::Phone),
    ("phone_verified", Column::PhoneVerified),
    ("first_name", Column::FirstName),
    ("last_name", Column::LastName),
    ("password_hash", Column::PasswordHash),
    ("roles", Column::Roles),
    ("metadata", Column::Metadata),
    ("metadata_admin", Column::MetadataAdmin),
    ("created_at", Column::CreatedAt),
    ("must_change_password", Column::MustChangePassword),
    ("locale", Column::Locale),
    ("timezone", Column::Timezone),
];

impl<R: Read> Csv<R> {
    /// Reads the header.
    pub(super) fn new(file: R) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let mut columns = Vec::new();
        for name in reader.headers().context("the header cannot be read")? {
            let name = name.trim_start_matches('\u{feff}');
            let Some((_, column)) = COLUMNS.into_iter().find(|(known, _)| *known == name) else {
                bail!("unknown column `{name}`; known are {}", COLUMNS.map(|(name, _)| name).join(", "));
            };
            if columns.contains(&column) {
                bail!("column `{name}` is there twice");
            }
            columns.push(column);
        }
        if !columns.contains(&Column::Email) {
            bail!("there is no column `email`");
        }
        Ok(Self { reader, columns, record: csv::StringRecord::new() })
    }
}

impl<R: Read> Rows for Csv<R> {
    fn next(&mut self, now: Time) -> anyhow::Result<Option<Row>> {
        let read = self.reader.read_record(&mut self.record);
        match read {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or_else(|| self.reader.position().line(), csv::Position::line);
                return match error.kind() {
                    csv::ErrorKind::Io(_) => Err(error).context("the file cannot be read"),
                    csv::ErrorKind::Utf8 { .. } => Ok(Some(Row { line, user: Err("not UTF-8".to_owned()) })),
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        let reason = format!("{len} columns where the header has {expected_len}");
                        Ok(Some(Row { line, user: Err(reason) }))
                    }
                    _ => Ok(Some(Row { line, user: Err("not CSV".to_owned()) })),
                };
            }
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let mut fields = Fields::default();
        let cells = self.columns.iter().zip(self.record.iter()).filter(|(_, cell)| !cell.is_empty());
        let wrong = cells.into_iter().find_map(|(column, cell)| fields.set(*column, cell).err());
        Ok(Some(Row { line, user: wrong.map_or_else(|| fields.check(now), Err) }))
    }
}

/// A row as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    sub: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    username: Option<String>,
    phone: Option<String>,
    phone_verified: Option<bool>,
    first_name: Option<String>,
    last_name: Option<String>,
    password_hash: Option<String>,
    roles: Option<Vec<String>>,
    metadata: Option<Map<String, Value>>,
    metadata_admin: Option<Map<String, Value>>,
    created_at: Option<Value>,
    must_change_password: Option<bool>,
    locale: Option<String>,
    timezone: Option<String>,
}

impl Fields {
    fn set(&mut self, column: Column, cell: &str) -> Result<(), String> {
        let text = || Some(cell.to_owned());
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
            Column::CreatedAt => {
                self.created_at = Some(cell.parse().map_or_else(|_| Value::from(cell), |n: i64| Value::from(n)));
            }
            Column::MustChangePassword => self.must_change_password = Some(boolean("must_change_password", cell)?),
            Column::Locale => self.locale = text(),
            Column::Timezone => self.timezone = text(),
        }
        Ok(())
    }

    fn check(self, now: Time) -> Result<ImportedUser, String> {
        let email = self.email.ok_or("`email` is missing")?;
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
            roles: self.roles.unwrap_or_default().iter().map(|role| self::role(role)).collect::<Result<_, _>>()?,
            metadata: self.metadata.unwrap_or_default(),
            metadata_admin: self.metadata_admin.map(metadata_admin).transpose()?.unwrap_or_default(),
            created_at: self.created_at.map(|at| time(&at, now)).transpose()?,
            must_change_password: self.must_change_password.unwrap_or(false),
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
fn time(value: &Value, now: Time) -> Result<Time, String> {
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
    past.ok_or_else(|| "`created_at` is not a past time as in 2024-05-01T12:00:00Z or seconds since 1970".to_owned())
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

    const NOW: Time = Time::from_secs(1_800_000_000);

    fn all(mut rows: impl Rows) -> Vec<(u64, Result<ImportedUser, String>)> {
        std::iter::from_fn(|| rows.next(NOW).unwrap()).map(|row| (row.line, row.user)).collect()
    }

    #[test]
    fn both_formats_say_the_same() {
        let json = r#"
{"sub":"7f0c2b9e-3d52-4c8a-9a55-1f6d8f1f2a11","email":"Ada@Example.com","email_verified":true,"username":"Ada","phone":"+41791234567","phone_verified":true,"first_name":" Ada ","last_name":"Lovelace","password_hash":"$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va","roles":["user","admin"],"metadata":{"plan":"pro"},"metadata_admin":{"tenant":"acme"},"created_at":"2020-02-03T04:05:06Z","must_change_password":true,"locale":"en","timezone":"Europe/London"}
"#;
        let csv = "sub,email,email_verified,username,phone,phone_verified,first_name,last_name,password_hash,roles,metadata,metadata_admin,created_at,must_change_password,locale,timezone\n7f0c2b9e-3d52-4c8a-9a55-1f6d8f1f2a11,Ada@Example.com,yes,Ada,+41791234567,t,Ada,Lovelace,$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va,user;admin,\"{\"\"plan\"\":\"\"pro\"\"}\",\"{\"\"tenant\"\":\"\"acme\"\"}\",1580702706,1,en,Europe/London\n";

        let from_json = all(JsonLines::new(json.as_bytes()));
        let from_csv = all(Csv::new(csv.as_bytes()).unwrap());

        assert_eq!((from_json[0].0, from_csv[0].0), (2, 2));
        let (json, csv) = (from_json[0].1.as_ref().unwrap(), from_csv[0].1.as_ref().unwrap());
        assert_eq!(format!("{json:?}"), format!("{csv:?}"));
        assert_eq!(json.metadata_admin["tenant"], "acme");
        assert_eq!((json.email.as_str(), json.first_name.as_deref()), ("ada@example.com", Some("Ada")));
        assert_eq!(json.created_at.unwrap().to_string(), "2020-02-03T04:05:06.000Z");
    }

    #[test]
    fn every_wrong_row_is_told_with_its_line() {
        let lines = [
            (r#"{"email":"ada@example.com"}"#, None),
            (r#"{"email":"ada"}"#, Some("e-mail")),
            ("", None),
            (r"{}", Some("`email` is missing")),
            (r#"{"email":"ada@example.com","pasword":"x"}"#, Some("unknown field `pasword`")),
            (r#"{"email":"ada@example.com","sub":"7f0c2b9e-3d52-1c8a-9a55-1f6d8f1f2a11"}"#, Some("version 4")),
            (r#"{"email":"ada@example.com","username":"a b"}"#, Some("`username`")),
            (r#"{"email":"ada@example.com","roles":["two words"]}"#, Some("a role is")),
            (r#"{"email":"ada@example.com","metadata":[]}"#, Some("invalid type")),
            (r#"{"email":"ada@example.com","metadata_admin":"acme"}"#, Some("invalid type")),
            (r#"{"email":"ada@example.com","created_at":"yesterday"}"#, Some("`created_at`")),
            (r#"{"email":"ada@example.com","created_at":4000000000}"#, Some("`created_at`")),
            (r#"{"email":"ada@example.com","password_hash":"hunter2"}"#, Some("not a kind of password hash")),
            (
                r#"{"email":"ada@example.com","password_hash":"$2b$31$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va"}"#,
                Some("cost 31"),
            ),
            ("not json", Some("expected")),
        ];
        let text = lines.map(|(line, _)| line).join("\n");

        let rows = all(JsonLines::new(text.as_bytes()));

        let expected: Vec<_> = (1..).zip(lines).filter(|(_, (line, _))| !line.is_empty()).collect();
        assert_eq!(rows.len(), expected.len());
        for ((line, user), (number, (_, wrong))) in rows.iter().zip(expected) {
            assert_eq!(*line, number);
            match (user, wrong) {
                (Ok(_), None) => {}
                (Err(reason), Some(wrong)) => assert!(reason.contains(wrong), "{line}: {reason}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_line_without_end_is_skipped_and_the_next_one_read() {
        let text = format!("{{\"email\":\"{}\"}}\n{{\"email\":\"ada@example.com\"}}", "x".repeat(2_000_000));

        let rows = all(JsonLines::new(text.as_bytes()));

        assert!(rows[0].1.as_ref().unwrap_err().contains("1 MiB"));
        assert_eq!((rows[1].0, rows[1].1.is_ok(), rows.len()), (2, true, 2));
    }

    #[test]
    fn a_csv_header_must_be_understood() {
        for (header, wrong) in [("email,shoe_size", "shoe_size"), ("username", "email"), ("email,email", "twice")] {
            let error = Csv::new(header.as_bytes()).err().unwrap().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        let rows = all(Csv::new("\u{feff}email,roles\nada@example.com\nbob@example.com,\n".as_bytes()).unwrap());
        assert_eq!(rows[0].1.as_ref().unwrap_err(), "1 columns where the header has 2");
        assert!(rows[1].0 == 3 && rows[1].1.is_ok());
    }
}
