//! The shapes of the native wire: what requests must look like, what answers do look like.

pub(super) mod audit;
pub(super) mod factor;
pub mod request;
pub(super) mod response;
