//! A connection of a pool, for as long as somebody needs it.
//!
//! The pool asks a connection that is given back whether it still stands, and waits for the answer however
//! long that takes. After a server has died without a word, and another one answers at its address, every
//! connection would be lost like that until the system gives up on it, a quarter of an hour later. So a
//! connection that was not heard of to the end is closed, and one that rests is not waited for.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::{Pool, PoolConnection, PoolConnectionMetadata};
use sqlx::{Connection as _, Database};

use crate::store::db::StoreError;

/// A connection that rested longer is asked whether it still stands before it is used.
const RESTED: Duration = Duration::from_secs(1);
/// And has so long to say so.
const STANDS_WITHIN: Duration = Duration::from_secs(1);

/// A server whose connections are held.
pub(super) trait Server: Database {
    /// Says something without values.
    fn say<'c>(connection: &'c mut Self::Connection, text: &'static str) -> BoxFuture<'c, Result<(), sqlx::Error>>;
}

/// A connection that goes back to its pool when this is dropped, or is closed if nobody knows what is still
/// coming from it.
#[derive(Debug)]
pub(super) struct Held<S: Server> {
    /// Always there, but for the one who drops this.
    connection: Option<PoolConnection<S>>,
    /// Longest wait for an answer.
    patience: Duration,
    is_waiting: bool,
    is_in_transaction: bool,
}

impl<S: Server> Held<S> {
    /// The next free connection.
    pub(super) async fn of(pool: &Pool<S>, patience: Duration) -> Result<Self, StoreError> {
        // Boxed, because what waits for a network is no place to save an allocation, and the futures of all use
        // cases would grow by what each of these holds.
        let connection = Box::pin(pool.acquire()).await?;
        Ok(Self { connection: Some(connection), patience, is_waiting: false, is_in_transaction: false })
    }

    /// The connection, of which an answer is expected from now on; [`Held::heard`] says that it came.
    pub(super) fn asked(&mut self) -> &mut S::Connection {
        self.is_waiting = true;
        self
    }

    /// What came of a question, unless the server was silent for too long.
    pub(super) fn heard<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.is_waiting = matches!(answer, Err(StoreError::Late));
        answer
    }

    /// Begins a transaction. Dropped before [`Held::commit`], it leaves no trace.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        // Whatever became of it, it is to be ended.
        self.is_in_transaction = true;
        self.say("BEGIN").await
    }

    /// Ends the transaction. After an error nobody knows how.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.say("COMMIT").await?;
        self.is_in_transaction = false;
        Ok(())
    }

    async fn say(&mut self, text: &'static str) -> Result<(), StoreError> {
        let patience = self.patience;
        let answer = in_time(patience, S::say(self.asked(), text)).await;
        self.heard(answer)
    }
}

/// What a server answers, unless it does not.
pub(super) async fn in_time<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    Ok(tokio::time::timeout(patience, answer).await.map_err(|_| StoreError::Late)??)
}

/// Whether a connection may be used that has rested in its pool.
pub(super) async fn stands<S: Server>(
    connection: &mut S::Connection,
    meta: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if meta.idle_for > RESTED {
        let answer = tokio::time::timeout(STANDS_WITHIN, connection.ping()).await;
        answer.map_err(|_| sqlx::Error::Io(io::ErrorKind::TimedOut.into()))??;
    }
    Ok(true)
}

impl<S: Server> Deref for Held<S> {
    type Target = S::Connection;

    fn deref(&self) -> &S::Connection {
        self.connection.as_deref().expect("it is there until this is dropped")
    }
}

impl<S: Server> DerefMut for Held<S> {
    fn deref_mut(&mut self) -> &mut S::Connection {
        self.connection.as_deref_mut().expect("it is there until this is dropped")
    }
}

impl<S: Server> Drop for Held<S> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.is_waiting {
            connection.close_on_drop();
        } else if self.is_in_transaction {
            tokio::spawn(roll_back(connection, self.patience));
        }
    }
}

async fn roll_back<S: Server>(mut connection: PoolConnection<S>, patience: Duration) {
    if in_time(patience, S::say(&mut connection, "ROLLBACK")).await.is_err() {
        connection.close_on_drop();
    }
}
