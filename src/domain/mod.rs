//! Floor 1, the domain: what nauth talks about. Pure: no async, no IO, no wire of any dialect.

pub mod assurance;
pub mod audit;
pub mod challenge;
pub mod claims;
pub mod client_hints;
pub mod clock;
pub mod contact;
pub mod context;
pub mod device;
pub mod disposable;
pub mod error;
pub mod event;
pub mod factor;
pub mod hex;
pub mod id;
pub mod location;
pub mod mfa;
pub mod outcome;
pub mod password_policy;
pub mod risk;
pub mod secret;
pub mod session;
pub mod template;
pub mod user;
