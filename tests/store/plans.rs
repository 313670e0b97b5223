//! No statement reads a table from its beginning to its end: how long one takes does not depend on how
//! many users there are.
//!
//! The statements are those of `src/store`, as they are written there; the databases say how they would
//! run them. `PostgreSQL` chooses by what is in the tables, so there they are filled.

use std::collections::BTreeSet;
use std::path::Path;

use nauth::store::db::{On, sql};
use regex::Regex;

use crate::databases::{Fresh, Kind, NOW};

/// Who may read everything, and why. `…` stands for whatever follows.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("SELECT MIN(password_hash)…", "once at the start"),
    ("SELECT MAX(latest_exp) AS access, MAX(expires_at)…", "once for each retired key"),
    ("SELECT COUNT(*) AS living…", "for a metric, as seldom as it takes long"),
    ("UPDATE nauth_one_time_secrets SET used_at = ? WHERE used_at IS NULL", "once after a restore"),
    ("UPDATE nauth_backup_codes SET used_at = ? WHERE used_at IS NULL", "once after a restore"),
    ("DELETE FROM nauth_ceremonies", "once after a restore"),
    (
        "UPDATE nauth_users SET auth_epoch = auth_epoch + 1, device_epoch = device_epoch + 1, updated_at = ?",
        "once after a restore",
    ),
];

/// Tables of a few rows, whatever the number of users.
const SMALL: &[&str] = &[
    "nauth_installation",
    "nauth_revocation_counter",
    "nauth_master_keys",
    "nauth_signing_keys",
    "nauth_jobs",
    "nauth_migrations",
    // Gone after minutes.
    "nauth_transient",
];

/// Enough that `PostgreSQL` would rather use an index.
const USERS: &str = "12000";
const SESSIONS: &str = "2";

#[tokio::test]
async fn sqlite_reads_no_table_from_beginning_to_end() {
    let fresh = Fresh::of(Kind::Sqlite).await.unwrap();
    let store = fresh.store().await;
    let mut complaints = Vec::new();

    for text in statements(Kind::Sqlite) {
        let explained = format!("EXPLAIN QUERY PLAN {text}").leak();
        let plan = sql(explained).fetch_all(&mut On::Db(store.db())).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.text("detail").unwrap()).collect();
        let is_scan = |step: &String| step.starts_with("SCAN") && large_tables_in(step).next().is_some();
        if steps.iter().any(is_scan) {
            complaints.push(format!("{text}\n    {}", steps.join("\n    ")));
        }
    }

    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n\n"));
    fresh.remove().await;
}

#[tokio::test]
async fn mariadb_has_an_index_for_every_statement() {
    let Some(fresh) = Fresh::of(Kind::MariaDb).await else { return };
    let store = fresh.store().await;
    let mut complaints = Vec::new();

    for text in statements(Kind::MariaDb) {
        let explained: &'static str = format!("EXPLAIN FORMAT=TRADITIONAL {text}").leak();
        let values = text.matches('?').count();
        let plan = (0..values).fold(sql(explained), |explain, _| explain.bind("1"));
        for step in plan.fetch_all(&mut On::Db(store.db())).await.unwrap() {
            let of = |column| step.opt_text(column).unwrap().unwrap_or_default();
            // Nothing is in the tables, so what it would use says less than what it could.
            let has_index = text.starts_with("INSERT") || !of("possible_keys").is_empty() || !of("key").is_empty();
            if !has_index && large_tables_in(&of("table")).next().is_some() {
                complaints.push(format!("{text}\n    {} of `{}`: {}", of("type"), of("table"), of("Extra")));
            }
        }
    }

    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n\n"));
    fresh.remove().await;
}

#[tokio::test]
async fn postgresql_reads_no_table_from_beginning_to_end() {
    let Some(fresh) = Fresh::of(Kind::Postgres).await else { return };
    let store = fresh.store().await;
    let mut tx = store.begin().await.unwrap();
    let on = &mut On::Tx(&mut tx);
    for part in fill().split_inclusive(";\n") {
        sql(part.to_owned().leak()).execute(on).await.unwrap();
    }
    sql("ANALYZE").execute(on).await.unwrap();
    // As after some use, when the plan of a statement is one for all values.
    sql("SET LOCAL plan_cache_mode = force_generic_plan").execute(on).await.unwrap();
    let mut complaints = Vec::new();

    for text in statements(Kind::Postgres) {
        let values = text.matches('?').count();
        let nulls = if values == 0 { String::new() } else { format!("({})", vec!["NULL"; values].join(", ")) };
        sql(format!("PREPARE explained AS {text}").leak()).execute(on).await.unwrap();
        let plan = sql(format!("EXPLAIN EXECUTE explained{nulls}").leak()).fetch_all(on).await.unwrap();
        sql("DEALLOCATE explained").execute(on).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.text("QUERY PLAN").unwrap()).collect();
        if steps.iter().any(|step| step.contains("Seq Scan") && large_tables_in(step).next().is_some()) {
            complaints.push(format!("{text}\n    {}", steps.join("\n    ")));
        }
    }

    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n\n"));
    drop(tx);
    fresh.remove().await;
}

#[test]
fn whoever_may_read_everything_is_still_there() {
    let all = texts(Kind::Postgres);
    for (exception, why) in EXCEPTIONS {
        assert!(all.iter().any(|text| is(text, exception)), "nobody says `{exception}` any more ({why})");
    }
    assert!(all.len() > 100, "only {} statements were found", all.len());
}

/// What makes the rows, for these few users.
fn fill() -> String {
    let text = include_str!("../../benches/scale/fill.sql");
    let values = [
        (":first", "1"),
        (":last", USERS),
        (":sessions", SESSIONS),
        (":tenth", "1"),
        (":hundredth", "1"),
        (":hash", "'$argon2id$'"),
        (":now", &NOW.micros().to_string()),
    ];
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

fn large_tables_in(text: &str) -> impl Iterator<Item = &str> {
    static NAME: std::sync::LazyLock<Regex> = std::sync::LazyLock::new(|| Regex::new(r"nauth_\w+").unwrap());
    // The name of an index begins with that of its table.
    let is_small = |name: &&str| SMALL.iter().any(|small| name.starts_with(small));
    NAME.find_iter(text).map(|name| name.as_str()).filter(move |name| !is_small(name))
}

fn statements(kind: Kind) -> Vec<String> {
    let may = |text: &String| EXCEPTIONS.iter().any(|(exception, _)| is(text, exception));
    let is_theirs = |text: &String| kind != Kind::MariaDb || !text.contains("ON CONFLICT");
    texts(kind).into_iter().filter(is_theirs).filter(|text| !may(text)).collect()
}

fn is(text: &str, exception: &str) -> bool {
    exception.strip_suffix('…').map_or(text == exception, |beginning| text.starts_with(beginning))
}

/// Every statement of the store that reads or writes rows of users, as it goes to the database.
fn texts(kind: Kind) -> BTreeSet<String> {
    let literal = r#""((?:[^"\\]|\\.|\\\n)*)""#;
    let statement = Regex::new(&format!(r"sql\(\s*(select!\(\s*)?{literal}")).unwrap();
    let head = Regex::new(&format!(r"(?s)macro_rules! select.*?concat!\(\s*{literal}")).unwrap();
    let sweep = Regex::new(&format!(r"sweep!\(\s*{literal},\s*{literal},\s*{literal},\s*{literal}\s*\)")).unwrap();
    let mut texts = BTreeSet::new();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // The schema is changed once, and copied once.
        if !path.is_file() || ["migrations.rs", "copy.rs", "sweep.rs"].contains(&name.as_str()) {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let head = head.captures(&source).map(|found| read(&found[1])).unwrap_or_default();
        for found in statement.captures_iter(&source) {
            let selected = if found.get(1).is_some() { head.as_str() } else { "" };
            texts.insert(format!("{selected}{}", read(&found[2])));
        }
        for found in sweep.captures_iter(&source) {
            let (table, key) = (read(&found[1]), read(&found[2]));
            let old = read(&found[3]);
            let which = format!("{table} WHERE {old} ORDER BY {} LIMIT 200", read(&found[4]));
            texts.insert(match kind {
                Kind::MariaDb => format!("DELETE FROM {which}"),
                Kind::Postgres => {
                    format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {which})) AND {old}")
                }
                Kind::Sqlite => format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {which})"),
            });
        }
    }
    texts
}

/// What a literal says.
fn read(literal: &str) -> String {
    let joined = Regex::new(r"\\\n\s*").unwrap().replace_all(literal, "").into_owned();
    joined.replace("\\\"", "\"").replace("\\\\", "\\")
}
