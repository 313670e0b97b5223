//! Where addresses are looked up: `[geoip]`.

use std::path::PathBuf;

use crate::geoip::Databases;

/// `[geoip]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeoIp {
    /// Whether addresses are looked up.
    pub enabled: bool,
    /// Where the databases lie.
    pub dir: PathBuf,
    /// The databases that are there; none while it is not enabled.
    pub databases: Databases,
    /// The files of those that are not.
    pub missing: Vec<PathBuf>,
}
