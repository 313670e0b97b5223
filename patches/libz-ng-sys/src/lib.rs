//! The zlib interface that flate2 expects of libz-ng-sys, from libz-sys.
#![no_std]
pub use libz_sys::*;
