//! Rows of a file of accounts, from text to checked accounts, one at a time.

use std::io::{BufRead, Read};

use anyhow::{Context, bail};

use super::fields::{COLUMNS, Column, Fields};
use crate::auth::import::ImportedUser;
use crate::domain::clock::Time;

/// Longest line of a JSONL file.
const MAX_LINE: u64 = 1024 * 1024;

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
{"sub":"7f0c2b9e-3d52-4c8a-9a55-1f6d8f1f2a11","email":"Ada@Example.com","email_verified":true,"username":"Ada","phone":"+41791234567","phone_verified":true,"first_name":" Ada ","last_name":"Lovelace","password_hash":"$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va","roles":["user","admin"],"metadata":{"plan":"pro"},"metadata_admin":{"tenant":"acme"},"password_changed_at":"2021-02-03T04:05:06Z","created_at":"2020-02-03T04:05:06Z","must_change_password":true,"disabled_at":1612325106,"disabled_reason":"left","mfa_exempt_at":1612325106,"mfa_exempt_reason":"no phone","locale":"en","timezone":"Europe/London"}
"#;
        let csv = "sub,email,email_verified,username,phone,phone_verified,first_name,last_name,password_hash,roles,metadata,metadata_admin,password_changed_at,created_at,must_change_password,disabled_at,disabled_reason,mfa_exempt_at,mfa_exempt_reason,locale,timezone\n7f0c2b9e-3d52-4c8a-9a55-1f6d8f1f2a11,Ada@Example.com,yes,Ada,+41791234567,t,Ada,Lovelace,$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va,user;admin,\"{\"\"plan\"\":\"\"pro\"\"}\",\"{\"\"tenant\"\":\"\"acme\"\"}\",1612325106,1580702706,1,1612325106,left,1612325106,no phone,en,Europe/London\n";

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
            (r#"{"email":"ada@example.com","password_changed_at":4000000000}"#, Some("`password_changed_at`")),
            (r#"{"email":"ada@example.com","disabled_at":"soon"}"#, Some("`disabled_at`")),
            (r#"{"email":"ada@example.com","disabled_reason":"a\u0007b"}"#, Some("`disabled_reason`")),
            (r#"{"email":"ada@example.com","mfa_exempt_at":-1}"#, Some("`mfa_exempt_at`")),
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
