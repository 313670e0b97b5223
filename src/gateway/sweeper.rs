//! One task that looks at every connection a few times a second and ends those whose time is up.
//!
//! Timers per read restart with every byte, so a head sent byte by byte would never be late.
//! Here a head, an idle time and a wait for an upstream each have one start and one limit.

use std::sync::Weak;
use std::time::Duration;

use crate::gateway::conn::{Conn, End, Phase, Protocol};
use crate::gateway::connections::Connections;

/// How often connections are looked at, and so how late a deadline can be noticed.
const TICK: Duration = Duration::from_millis(250);
/// How long a connection may take to end kindly before the work on it is dropped.
const KIND_END: Duration = Duration::from_millis(500);

/// How much later than due a stream is cut. Its read from the upstream ends by itself before that, and
/// is answered 504; only one that receives its answer's head byte by byte does not.
const STREAM_SLACK: Duration = Duration::from_secs(5);

/// How long connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a whole head.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
}

/// Sweeps until the connections' owner is gone. `deadlines` is asked anew each time, so a reload counts at once.
pub async fn sweep(connections: Weak<Connections>, deadlines: impl Fn() -> Deadlines) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(connections) = connections.upgrade() else { return };
        let deadlines = deadlines();
        for conn in connections.all() {
            look_at(&conn, deadlines);
        }
    }
}

fn look_at(conn: &Conn, deadlines: Deadlines) {
    if let Some(waited) = conn.ending_for() {
        if waited > KIND_END {
            conn.cut();
        }
        return;
    }
    let over = match (conn.phase(), conn.protocol()) {
        (Phase::Opening | Phase::Header, _) => conn.age() > deadlines.header,
        (Phase::Upgraded, _) => conn.age() > conn.idle_limit(),
        (Phase::Idle, Protocol::Http1) => conn.age() > deadlines.idle,
        (Phase::Busy, Protocol::Http1) => {
            conn.check_times();
            false
        }
        (Phase::Idle, Protocol::Http2) => {
            if conn.age() > deadlines.idle {
                conn.retire();
            }
            conn.age() > deadlines.idle + KIND_END || conn.block_age() > deadlines.header
        }
        (Phase::Busy, Protocol::Http2) => {
            conn.cut_overdue(STREAM_SLACK);
            conn.block_age() > deadlines.header
        }
    };
    if over {
        conn.end(End::Deadline);
    }
}
