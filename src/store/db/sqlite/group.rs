//! `SQLite`'s writer: transactions one after the other, and one `COMMIT` for those that came together.
//!
//! A commit waits for the disk, and a disk takes as long for one transaction as for many. So a
//! transaction that is done leaves its work in the open group and lets the next one have its turn; when
//! everybody has been who was waiting, the group is committed, and only then does any of them hear that
//! it holds. Whoever is alone waits for nobody: its group is committed at once.
//!
//! Within a group each member but the first has a savepoint, to which it goes back without harm to the
//! others. What may have cost the whole transaction (a full disk, a failed write) ends the group: all of
//! its members are told that the database cannot serve, and the connection is thrown away with whatever
//! was left on it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Database, SqlSafeStr as _, Sqlite};
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::store::db::StoreError;

/// What the driver's transactions are made of. They themselves borrow their connection, and ours is handed
/// from one to the next; this keeps count as they do where somebody stops waiting half way.
type Transactions = <Sqlite as Database>::TransactionManager;

/// The most members of a group, and so the longest way to a commit: that many short transactions.
const PLACES: usize = 64;

/// The writer of one file. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store::db) struct Writer {
    options: Arc<SqliteConnectOptions>,
    /// Longest wait for a turn.
    patience: Duration,
    /// Who has one will be in this group or the next.
    places: Arc<Semaphore>,
    /// Turns are given in the order in which they were asked for.
    group: Arc<Mutex<Group>>,
}

/// The connection, and who has written to it since the last commit.
#[derive(Debug, Default)]
struct Group {
    connection: Option<SqliteConnection>,
    is_open: bool,
    done: Vec<Done>,
    /// What ended it before its time.
    broken: Option<Arc<sqlx::Error>>,
}

/// A member that waits for the commit.
#[derive(Debug)]
struct Done {
    tell: oneshot::Sender<Outcome>,
    _place: OwnedSemaphorePermit,
}

type Outcome = Result<(), Arc<sqlx::Error>>;

/// A transaction that has its turn. Dropped without [`Member::commit`], it leaves no trace.
#[derive(Debug)]
pub(in crate::store::db) struct Member {
    writer: Writer,
    group: OwnedMutexGuard<Group>,
    /// Handed on with the work.
    place: Option<OwnedSemaphorePermit>,
    undo: Undo,
}

/// How the work of a member is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// Nobody was before it: with all that is in the group.
    Group,
    /// Back to its savepoint.
    Savepoint,
    /// Not at all: it is one statement, which undoes itself, or it is done.
    Nothing,
}

/// What a transaction needs of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::db) enum Kind {
    /// Several statements that hold together or not at all.
    Transaction,
    /// One statement.
    Statement,
}

/// What the connection of a writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::db) enum Standing {
    /// There is none.
    Absent,
    /// Nobody has a turn.
    Idle,
    /// Somebody has.
    Used,
}

impl Writer {
    /// A writer that connects when it is first needed.
    pub(super) fn new(options: SqliteConnectOptions, patience: Duration) -> Self {
        let (places, group) = (Arc::new(Semaphore::new(PLACES)), Arc::new(Mutex::new(Group::default())));
        Self { options: Arc::new(options), patience, places, group }
    }

    /// Connects now.
    pub(super) async fn connect(&self) -> Result<(), sqlx::Error> {
        self.group.lock().await.connection(&self.options).await.map(drop)
    }

    /// Waits for a turn, and for other processes. Whoever has a turn waits for nothing but its own statements.
    pub(in crate::store::db) async fn begin(&self, kind: Kind) -> Result<Member, StoreError> {
        let turn = async {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            Ok((place, Arc::clone(&self.group).lock_owned().await))
        };
        let (place, group) =
            tokio::time::timeout(self.patience, turn).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        let mut member = Member { writer: self.clone(), group, place: Some(place), undo: Undo::Nothing };
        member.enter(kind).await?;
        Ok(member)
    }

    /// What its connection does.
    pub(in crate::store::db) fn standing(&self) -> Standing {
        match self.group.try_lock() {
            Err(_) => Standing::Used,
            Ok(group) if group.connection.is_some() => Standing::Idle,
            Ok(_) => Standing::Absent,
        }
    }

    /// Commits what is open, and ends the connection.
    pub(in crate::store::db) async fn close(&self) {
        self.places.close();
        let mut group = self.group.lock().await;
        group.end().await;
        if let Some(connection) = group.connection.take() {
            // Nothing is open on it, so there is nothing to lose.
            let _ = connection.close().await;
        }
    }
}

impl Member {
    /// Opens a group, or joins the one that is open.
    async fn enter(&mut self, kind: Kind) -> Result<(), StoreError> {
        let options = &self.writer.options;
        if !self.group.is_open {
            if kind == Kind::Statement && self.is_alone() {
                // A transaction by itself, which a database begins and ends of its own accord.
                self.group.connection(options).await?;
                return Ok(());
            }
            let connection = self.group.connection(options).await?;
            if let Err(error) = Transactions::begin(connection, Some("BEGIN IMMEDIATE".into_sql_str())).await {
                // Where another process writes, this is no fault of the connection.
                if !super::is_busy(&error) {
                    self.group.connection = None;
                }
                return Err(error.into());
            }
            self.group.is_open = true;
            self.undo = Undo::Group;
        } else if kind == Kind::Transaction {
            let entered = Transactions::begin(self.connection(), None).await;
            self.judged(entered)?;
            self.undo = Undo::Savepoint;
        }
        Ok(())
    }

    /// Whether nobody waits for a turn behind it.
    fn is_alone(&self) -> bool {
        self.writer.places.available_permits() == PLACES - 1
    }

    /// What its statements run on.
    pub(in crate::store::db) fn connection(&mut self) -> &mut SqliteConnection {
        self.group.connection.as_mut().expect("whoever has a turn has a connection")
    }

    /// What a statement of it has come to.
    pub(in crate::store::db) fn judged<T>(&mut self, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        done.map_err(|error| {
            if is_of_the_statement(&error) {
                return error.into();
            }
            let error = Arc::new(error);
            self.group.broken = Some(Arc::clone(&error));
            StoreError::Lost(error)
        })
    }

    /// Leaves its work to the group, and waits until that is durable.
    pub(in crate::store::db) async fn commit(mut self) -> Result<(), StoreError> {
        if self.undo == Undo::Savepoint {
            let released = Transactions::commit(self.connection()).await;
            self.judged(released)?;
        }
        self.undo = Undo::Nothing;
        if !self.group.is_open {
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        let place = self.place.take().expect("a member has a place until it is done");
        self.group.done.push(Done { tell, _place: place });
        if self.group.done.len() == 1 {
            // A task of its own: whoever stops waiting for its commit must not keep the others from theirs.
            tokio::spawn(end_in_turn(Arc::clone(&self.writer.group)));
        }
        drop(self);
        match told.await {
            Ok(outcome) => outcome.map_err(StoreError::Lost),
            Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
        }
    }
}

/// Commits the group when everybody has been who was waiting for a turn.
async fn end_in_turn(group: Arc<Mutex<Group>>) {
    group.lock_owned().await.end().await;
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.group.broken.is_some() {
            return self.group.abandon();
        }
        match (self.undo, &mut self.group.connection) {
            (Undo::Nothing, _) | (_, None) => {}
            (undo, Some(connection)) => {
                Transactions::start_rollback(connection);
                self.group.is_open = undo == Undo::Savepoint;
            }
        }
    }
}

impl Group {
    async fn connection(&mut self, options: &SqliteConnectOptions) -> Result<&mut SqliteConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => options.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Commits, and tells everybody.
    async fn end(&mut self) {
        let Some(connection) = self.connection.as_mut().filter(|_| self.is_open) else { return };
        match Transactions::commit(connection).await {
            Ok(()) => self.tell(&Ok(())),
            Err(error) => {
                self.broken = Some(Arc::new(error));
                self.abandon();
            }
        }
    }

    /// Gives up what is open, and the connection with it: nobody knows what it is left with.
    fn abandon(&mut self) {
        self.connection = None;
        if let Some(error) = self.broken.take() {
            self.tell(&Err(error));
        }
    }

    fn tell(&mut self, outcome: &Outcome) {
        self.is_open = false;
        for done in self.done.drain(..) {
            // Some no longer listen.
            let _ = done.tell.send(outcome.clone());
        }
    }
}

/// Whether only the statement has failed, and what was done before it in its transaction stands:
/// <https://sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction>.
fn is_of_the_statement(error: &sqlx::Error) -> bool {
    const ERROR: u32 = 1;
    const TOO_BIG: u32 = 18;
    const CONSTRAINT: u32 = 19;
    const MISMATCH: u32 = 20;
    super::code(error).is_some_and(|code| [ERROR, TOO_BIG, CONSTRAINT, MISMATCH].contains(&code))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::poll;
    use sqlx::Row as _;
    use tempfile::TempDir;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A file with a table of numbers, and a writer of it.
    async fn numbers() -> (TempDir, Writer) {
        let directory = tempfile::tempdir().unwrap();
        let writer = another(directory.path());
        let mut member = writer.begin(Kind::Transaction).await.unwrap();
        put(&mut member, "CREATE TABLE numbers (number BIGINT PRIMARY KEY, padding TEXT)").await.unwrap();
        member.commit().await.unwrap();
        (directory, writer)
    }

    /// One more writer, as of another process.
    fn another(directory: &Path) -> Writer {
        let options = SqliteConnectOptions::new()
            .filename(directory.join("numbers.db"))
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_millis(200));
        Writer::new(options, PATIENCE)
    }

    async fn put(member: &mut Member, text: &'static str) -> Result<(), StoreError> {
        let done = sqlx::query(text).execute(member.connection()).await.map(drop);
        member.judged(done)
    }

    /// What somebody else sees.
    async fn seen(directory: &TempDir) -> Vec<i64> {
        let options = SqliteConnectOptions::new().filename(directory.path().join("numbers.db")).read_only(true);
        let mut reader = options.connect().await.unwrap();
        let rows = sqlx::query("SELECT number FROM numbers ORDER BY number").fetch_all(&mut reader).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn begun_with(writer: &Writer, text: &'static str) -> Member {
        let mut member = writer.begin(Kind::Transaction).await.unwrap();
        put(&mut member, text).await.unwrap();
        member
    }

    /// One that has done its part, and waits for those behind it.
    async fn with_one_waiting(writer: &Writer) -> (tokio::task::JoinHandle<Result<(), StoreError>>, Member) {
        let first = begun_with(writer, "INSERT INTO numbers VALUES (1, '')").await;
        let mut second = Box::pin(writer.begin(Kind::Transaction));
        assert!(poll!(&mut second).is_pending(), "one at a time");
        let first = tokio::spawn(first.commit());
        (first, second.await.unwrap())
    }

    #[tokio::test]
    async fn whoever_is_alone_waits_for_nobody() {
        let (directory, writer) = numbers().await;

        begun_with(&writer, "INSERT INTO numbers VALUES (1, '')").await.commit().await.unwrap();
        let mut statement = writer.begin(Kind::Statement).await.unwrap();
        put(&mut statement, "INSERT INTO numbers VALUES (2, '')").await.unwrap();
        statement.commit().await.unwrap();

        assert_eq!(seen(&directory).await, [1, 2]);
    }

    #[tokio::test]
    async fn those_who_come_together_are_committed_together() {
        let (directory, writer) = numbers().await;
        let (first, mut second) = with_one_waiting(&writer).await;
        put(&mut second, "INSERT INTO numbers VALUES (2, '')").await.unwrap();

        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!first.is_finished(), "the one behind it is not done");
        assert!(seen(&directory).await.is_empty(), "nor does anybody see anything");
        second.commit().await.unwrap();

        first.await.unwrap().unwrap();
        assert_eq!(seen(&directory).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_member_that_goes_back_takes_nobody_along() {
        let (directory, writer) = numbers().await;
        let (first, mut second) = with_one_waiting(&writer).await;
        put(&mut second, "INSERT INTO numbers VALUES (2, '')").await.unwrap();
        let taken = put(&mut second, "INSERT INTO numbers VALUES (1, '')").await;
        assert!(matches!(taken, Err(StoreError::Taken(_))), "{taken:?}");

        drop(second);

        first.await.unwrap().unwrap();
        assert_eq!(seen(&directory).await, [1]);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_to_everybody_and_forgotten() {
        let (directory, writer) = numbers().await;
        let (first, mut second) = with_one_waiting(&writer).await;
        let waiting = tokio::spawn({
            let writer = writer.clone();
            async move { begun_with(&writer, "INSERT INTO numbers VALUES (3, '')").await.commit().await }
        });
        put(&mut second, "PRAGMA max_page_count = 4").await.unwrap();

        let full = put(&mut second, "INSERT INTO numbers VALUES (2, hex(randomblob(100000)))").await;
        assert!(matches!(full, Err(StoreError::Lost(_))), "{full:?}");
        drop(second);

        let first = first.await.unwrap();
        assert!(matches!(first, Err(StoreError::Lost(_))), "what was told to it would be untrue: {first:?}");
        waiting.await.unwrap().unwrap();
        assert_eq!(seen(&directory).await, [3]);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_keeps_nobody_from_anything() {
        let (directory, writer) = numbers().await;
        let first = begun_with(&writer, "INSERT INTO numbers VALUES (1, '')").await;
        let mut commit = Box::pin(first.commit());
        assert!(poll!(&mut commit).is_pending());
        drop(commit);
        let second = begun_with(&writer, "INSERT INTO numbers VALUES (2, '')").await;
        let mut dropped = Box::pin(writer.begin(Kind::Transaction));
        assert!(poll!(&mut dropped).is_pending());
        drop((dropped, second));

        let third = begun_with(&another(directory.path()), "INSERT INTO numbers VALUES (3, '')").await;
        third.commit().await.unwrap();

        assert_eq!(seen(&directory).await, [1, 3], "nothing is left open, and only what was dropped is gone");
    }

    #[tokio::test]
    async fn a_crowd_larger_than_a_group_gets_through() {
        let (directory, writer) = numbers().await;
        let all: Vec<_> = (0..3 * PLACES)
            .map(|number| {
                let writer = writer.clone();
                tokio::spawn(async move {
                    let mut member = writer.begin(Kind::Transaction).await?;
                    let insert = sqlx::query("INSERT INTO numbers VALUES (?, '')").bind(i64::try_from(number).unwrap());
                    let done = insert.execute(member.connection()).await.map(drop);
                    member.judged(done)?;
                    // Every third thinks better of it.
                    if number % 3 == 0 { Ok(()) } else { member.commit().await }
                })
            })
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }

        let expected: Vec<i64> = (0..3 * 64).filter(|number| number % 3 != 0).collect();
        assert_eq!(seen(&directory).await, expected);
        assert_eq!(writer.places.available_permits(), PLACES);
    }

    #[tokio::test]
    async fn another_process_is_waited_for_and_then_told_of() {
        let (directory, writer) = numbers().await;
        let other = another(directory.path());
        let long = begun_with(&other, "INSERT INTO numbers VALUES (1, '')").await;

        let busy = writer.begin(Kind::Transaction).await;
        assert!(matches!(busy, Err(StoreError::Unavailable(_))), "{busy:?}");
        long.commit().await.unwrap();

        begun_with(&writer, "INSERT INTO numbers VALUES (2, '')").await.commit().await.unwrap();
        assert_eq!(seen(&directory).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_closed_writer_takes_nobody_on() {
        let (directory, writer) = numbers().await;
        let first = tokio::spawn(begun_with(&writer, "INSERT INTO numbers VALUES (1, '')").await.commit());
        let closed = tokio::time::timeout(PATIENCE, writer.close());

        closed.await.unwrap();

        let refused = writer.begin(Kind::Statement).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(sqlx::Error::PoolClosed))), "{refused:?}");
        first.await.unwrap().unwrap();
        assert_eq!(seen(&directory).await, [1]);
    }
}
