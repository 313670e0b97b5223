//! Floor 4, text messages: out of the house by one of several services.

pub mod console;
pub mod nowhere;
pub mod twilio;

pub use console::Console;
pub use nowhere::Nowhere;
pub use twilio::Twilio;
