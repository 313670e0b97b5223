//! What comes out of a statement, read back by column name.

use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::domain::clock::Time;
use crate::store::db::StoreError;

/// One row of an answer.
#[derive(Debug)]
pub struct Row(Inner);

#[derive(Debug)]
enum Inner {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    MariaDb(MySqlRow),
}

impl Row {
    /// A number.
    pub fn int(&self, column: &'static str) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or(StoreError::Corrupt(column))
    }

    /// A number or null.
    pub fn opt_int(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        Ok(match &self.0 {
            Inner::Sqlite(row) => row.try_get(column)?,
            // This driver takes a small number for another type, which no caller does.
            Inner::Postgres(row) => match row.try_get(column) {
                Err(sqlx::Error::ColumnDecode { .. }) => row.try_get::<Option<i16>, _>(column)?.map(i64::from),
                read => read?,
            },
            Inner::MariaDb(row) => row.try_get(column)?,
        })
    }

    /// A boolean.
    pub fn bool(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// A time.
    pub fn time(&self, column: &'static str) -> Result<Time, StoreError> {
        Ok(Time::from_micros(self.int(column)?))
    }

    /// A time or null.
    pub fn opt_time(&self, column: &'static str) -> Result<Option<Time>, StoreError> {
        Ok(self.opt_int(column)?.map(Time::from_micros))
    }

    /// Text.
    pub fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.opt_text(column)?.ok_or(StoreError::Corrupt(column))
    }

    /// Text or null.
    pub fn opt_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        Ok(match &self.0 {
            Inner::Sqlite(row) => row.try_get(column)?,
            Inner::Postgres(row) => row.try_get(column)?,
            Inner::MariaDb(row) => row.try_get(column)?,
        })
    }

    /// Text that reads as a `T`.
    pub fn parsed<T: std::str::FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| StoreError::Corrupt(column))
    }

    /// Text that reads as a `T`, or null.
    pub fn opt_parsed<T: std::str::FromStr>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text = self.opt_text(column)?;
        text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(column))).transpose()
    }
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self(Inner::Sqlite(row))
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self(Inner::Postgres(row))
    }
}

impl From<MySqlRow> for Row {
    fn from(row: MySqlRow) -> Self {
        Self(Inner::MariaDb(row))
    }
}
