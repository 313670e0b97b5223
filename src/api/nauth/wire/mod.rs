//! The shapes of the native wire: what requests must look like, what answers do look like.

pub(super) mod request;
pub(super) mod response;
