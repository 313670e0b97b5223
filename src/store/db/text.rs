//! From the one text of a statement to the text a database reads.
//!
//! `SQLite` and `MariaDB` read a statement as it is written, with `?` for its values; `PostgreSQL`
//! counts them: `$1`, `$2`. Tables have another prefix where `database.table_prefix` says so. A text
//! is rewritten once and found again by its address.

use std::sync::Arc;

use sqlx::SqlSafeStr as _;
use sqlx::SqlStr;

use crate::store::db::PREFIX;

/// How values stand in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// `?`
    Marked,
    /// `$1`
    Numbered,
}

/// The texts of one database. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    values: Values,
    prefix: String,
    /// By address and length, which a text of the program keeps; there are as many as there are statements.
    rewritten: papaya::HashMap<(usize, usize), Arc<str>, ahash::RandomState>,
}

impl Texts {
    pub(super) fn new(values: Values, prefix: &str) -> Self {
        let rewritten = papaya::HashMap::with_hasher(ahash::RandomState::new());
        Self { inner: Arc::new(Inner { values, prefix: prefix.to_owned(), rewritten }) }
    }

    /// A statement as the database reads it.
    pub(super) fn of(&self, text: &'static str) -> SqlStr {
        let inner = &self.inner;
        if inner.values == Values::Marked && inner.prefix == PREFIX {
            return text.into_sql_str();
        }
        let rewritten = inner.rewritten.pin();
        let key = (text.as_ptr() as usize, text.len());
        let text = rewritten.get_or_insert_with(key, || {
            let named = self.named(text);
            match inner.values {
                Values::Marked => named.into(),
                Values::Numbered => numbered(&named).into(),
            }
        });
        safe(Arc::clone(text))
    }

    /// A text with the prefix of this database before the names in it.
    pub(super) fn named(&self, text: &str) -> String {
        text.replace(PREFIX, &self.inner.prefix)
    }

    /// A script without values as the database reads it.
    pub(super) fn script(&self, text: &str) -> SqlStr {
        safe(self.named(text).into())
    }
}

/// A text of the program, rewritten: the prefix is checked to be a name.
fn safe(text: Arc<str>) -> SqlStr {
    sqlx::AssertSqlSafe(text).into_sql_str()
}

/// `?` outside of quotes becomes `$1`, `$2` and so on.
fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut quoted, mut count) = (false, 0);
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            '?' if !quoted => {
                count += 1;
                out.push('$');
                out.push_str(&count.to_string());
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_what_is_quoted_stays() {
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
        assert_eq!(numbered("a = ? AND b = '?' AND c = ?"), "a = $1 AND b = '?' AND c = $2");
        assert_eq!(numbered("a = 'it''s ?' OR b = ?"), "a = 'it''s ?' OR b = $1");
        assert!(numbered(&"?".repeat(12)).ends_with("$11$12"));
    }

    #[test]
    fn a_text_is_rewritten_once() {
        const TEXT: &str = "SELECT id FROM nauth_users u WHERE u.id = ?";
        let texts = Texts::new(Values::Numbered, "app_");

        assert_eq!(texts.of(TEXT).as_str(), "SELECT id FROM app_users u WHERE u.id = $1");
        assert_eq!(texts.of(TEXT).as_str().as_ptr(), texts.of(TEXT).as_str().as_ptr());
        assert_eq!(texts.inner.rewritten.len(), 1);
    }

    #[test]
    fn what_a_database_reads_as_it_is_written_is_not_copied() {
        const TEXT: &str = "SELECT id FROM nauth_users WHERE id = ?";

        let text = Texts::new(Values::Marked, PREFIX).of(TEXT);

        assert_eq!(text.as_str().as_ptr(), TEXT.as_ptr());
        assert_eq!(Texts::new(Values::Marked, "a_").of(TEXT).as_str(), "SELECT id FROM a_users WHERE id = ?");
    }
}
