//! Floor 7, the application: the one place where everything is built, run, reloaded and ended.

mod bell;
mod data_dir;
mod keys;
mod post;
mod prove;
mod reload;
mod reload_report;
mod server;
mod sockets;
mod world;

pub use data_dir::{DataDir, Lock};
pub use post::renderer;
pub use prove::prove;
pub use reload::Reloader;
pub use server::{Server, ServerError};
pub use world::{Schema, World, master_keys, open_database, open_store, unusable};
