//! Floor 6, the gateway: everything that is not the auth API is proxied from here.

pub mod conn;
pub mod edge;
pub mod frames;
pub mod guarded;
pub mod head;
pub mod inflight;
pub mod respond;
pub mod sweeper;
pub mod upstream;
pub mod whoami;
