//! Removing what is of no use any more, a few rows at a time.
//!
//! A statement that removed months of rows at once would hold `SQLite`'s writer, and the locks of a
//! server, for its whole time. Each batch is a transaction of its own: logins pass between two of them.

use crate::domain::clock::Time;
use crate::store::db::{Dialect, On, StoreError, sql};

/// Rows removed by one statement: milliseconds of work. The texts below say it too.
const BATCH: u64 = 200;
/// After as many batches the rest is left for the next time.
const MOST_BATCHES: u64 = 2_500;

/// What goes from one table. Made by [`sweep!`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    /// A `DELETE` has no limit of its own here.
    pub(super) sqlite: &'static str,
    /// Nor here. The rows are found again by where they stand: looking each up by its key would read as many
    /// more pages. What is not an array might be joined by reading the whole table, and what has changed
    /// meanwhile is asked once more.
    pub(super) postgres: &'static str,
    /// The keys of an inner query would not be looked up by their index.
    pub(super) mariadb: &'static str,
}

/// The rows of a table, told apart by its key, for which a condition holds with one `?`, a time, of which
/// the least comes first. Without that order `PostgreSQL` would rather read the table, and find nothing
/// to remove until its end.
macro_rules! sweep {
    ($table:literal, $key:literal, $which:literal, $first:literal) => {
        crate::store::sweep::Sweep {
            sqlite: concat!(
                "DELETE FROM ",
                $table,
                " WHERE ",
                $key,
                " IN (SELECT ",
                $key,
                " FROM ",
                $table,
                " WHERE ",
                $which,
                " ORDER BY ",
                $first,
                " LIMIT 200)"
            ),
            postgres: concat!(
                "DELETE FROM ",
                $table,
                " WHERE ctid = ANY (ARRAY(SELECT ctid FROM ",
                $table,
                " WHERE ",
                $which,
                " ORDER BY ",
                $first,
                " LIMIT 200)) AND ",
                $which
            ),
            mariadb: concat!("DELETE FROM ", $table, " WHERE ", $which, " ORDER BY ", $first, " LIMIT 200"),
        }
    };
}
pub(super) use sweep;

impl Sweep {
    /// Removes what is from before `before`; answers how many rows.
    pub(super) async fn run(self, on: &mut On<'_>, before: Time) -> Result<u64, StoreError> {
        let dialect = on.dialect();
        let statement = || match dialect {
            Dialect::Sqlite => sql(self.sqlite).bind(before),
            Dialect::Postgres => sql(self.postgres).bind(before).bind(before),
            Dialect::MariaDb => sql(self.mariadb).bind(before),
        };
        let mut removed = 0;
        for _ in 0..MOST_BATCHES {
            let rows = statement().execute(on).await?;
            removed += rows;
            if rows < BATCH {
                break;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_remove_as_many_as_a_batch_has() {
        let sweep = sweep!("nauth_audit", "id", "created_at < ?", "created_at");

        for text in [sweep.sqlite, sweep.postgres, sweep.mariadb] {
            assert!(text.contains(&format!("LIMIT {BATCH}")), "{text}");
        }
    }
}
