//! Where addresses are: databases in `MaxMind`'s format, read from files.
//!
//! A database is read into memory with the settings, so a lookup waits for nothing. Whoever brings new
//! files (`geoipupdate`, an image) has the settings loaded again.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::geoip2::City;
use maxminddb::{MaxMindDbError, Reader};

use crate::domain::location::{Location, Point};

/// Largest database, in bytes. The largest there is has a quarter of it.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Longest name of a city that is kept, in characters.
const MAX_CITY: usize = 100;

/// Some databases. What one does not know the next one may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases(Vec<Arc<Database>>);

/// One database.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    bytes: usize,
    reader: Reader<Vec<u8>>,
}

/// Two are the same when they were built at the same time from the same file.
impl PartialEq for Database {
    fn eq(&self, other: &Self) -> bool {
        let of = |database: &Self| (database.bytes, database.reader.metadata().build_epoch);
        self.path == other.path && of(self) == of(other)
    }
}

impl Eq for Database {}

/// Why a file is no database.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there.
    #[error("`{}` is not there", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("`{}` cannot be read: {error}", .path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is larger than any database.
    #[error("`{}` is larger than 512 MiB", .0.display())]
    TooLarge(PathBuf),
    /// It is something else.
    #[error("`{}` is no database in MaxMind's format: {error}", .path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        error: MaxMindDbError,
    },
}

/// A database cannot be read where an address should stand.
#[derive(Debug, thiserror::Error)]
#[error("a GeoIP database is damaged")]
pub struct LookupError(#[from] MaxMindDbError);

impl Database {
    /// Reads a database.
    ///
    /// # Errors
    /// When it is missing, too large or malformed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => OpenError::Missing(path.to_owned()),
            _ => OpenError::Unreadable { path: path.to_owned(), error },
        };
        let mut bytes = Vec::new();
        File::open(path).map_err(unreadable)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(OpenError::TooLarge(path.to_owned()));
        }
        let length = bytes.len();
        let reader = Reader::from_source(bytes);
        let reader = reader.map_err(|error| OpenError::Malformed { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), bytes: length, reader })
    }

    fn locate(&self, ip: IpAddr) -> Result<Location, LookupError> {
        let Some(found) = self.reader.lookup(ip)?.decode::<City<'_>>()? else { return Ok(Location::default()) };
        let country = found.country.iso_code.filter(|code| code.len() == 2 && code.is_ascii());
        let point = found.location.latitude.zip(found.location.longitude);
        Ok(Location {
            country: country.map(str::to_ascii_uppercase),
            city: found.city.names.english.map(|name| name.chars().take(MAX_CITY).collect()),
            point: point.and_then(|(latitude, longitude)| Point::of_degrees(latitude, longitude)),
        })
    }
}

impl FromIterator<Database> for Databases {
    fn from_iter<T: IntoIterator<Item = Database>>(databases: T) -> Self {
        Self(databases.into_iter().map(Arc::new).collect())
    }
}

impl Databases {
    /// Where an address is; nothing is known of most private ones.
    ///
    /// # Errors
    /// When a database is damaged.
    pub fn locate(&self, ip: IpAddr) -> Result<Location, LookupError> {
        let mut known = Location::default();
        for database in &self.0 {
            let Location { country, city, point } = database.locate(ip.to_canonical())?;
            // Two databases may disagree: what one says of a place is of one country.
            if known.country.is_none() {
                known = Location { country, city, point };
            } else if known.country == country {
                known.city = known.city.or(city);
                known.point = known.point.or(point);
            }
        }
        Ok(known)
    }

    /// The same for what goes on without it: a damaged database keeps nobody out.
    #[must_use]
    pub fn locate_if_possible(&self, ip: IpAddr) -> Location {
        self.locate(ip).unwrap_or_else(|LookupError(error)| {
            tracing::warn!(%error, "a GeoIP database is damaged; nothing is known of where an address is");
            Location::default()
        })
    }
}

#[cfg(test)]
#[path = "../tests/blackbox/support/mmdb.rs"]
pub(crate) mod mmdb;

#[cfg(test)]
mod tests {
    use super::mmdb::{Place, mmdb};
    use super::*;

    const ZURICH: Place = Place { country: "CH", city: Some("Zürich"), point: Some((47.3667, 8.55)) };
    const SOMEWHERE: Place = Place { country: "CH", city: None, point: None };

    fn database(directory: &Path, name: &str, places: &[(&str, Place)]) -> Database {
        let path = directory.join(name);
        std::fs::write(&path, mmdb(places, 1_700_000_000)).unwrap();
        Database::open(&path).unwrap()
    }

    #[test]
    fn what_one_database_does_not_know_the_next_one_may() {
        let directory = tempfile::tempdir().unwrap();
        let countries = database(directory.path(), "a.mmdb", &[("192.0.2.1", SOMEWHERE), ("2001:db8::1", SOMEWHERE)]);
        let cities = database(directory.path(), "b.mmdb", &[("192.0.2.1", ZURICH), ("192.0.2.2", ZURICH)]);
        let databases: Databases = [countries, cities].into_iter().collect();
        let locate = |ip: &str| databases.locate(ip.parse().unwrap()).unwrap();

        let zurich = Location {
            country: Some("CH".to_owned()),
            city: Some("Zürich".to_owned()),
            point: Some(Point { latitude: 47_366_700, longitude: 8_550_000 }),
        };
        assert_eq!(locate("192.0.2.1"), zurich);
        assert_eq!(locate("::ffff:192.0.2.2"), zurich);
        assert_eq!(locate("2001:db8::1"), Location { country: Some("CH".to_owned()), ..Location::default() });
        assert_eq!(locate("10.0.0.1"), Location::default());
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.mmdb");
        assert!(matches!(Database::open(&path), Err(OpenError::Missing(_))));
        for bytes in [&b""[..], b"<html>", &mmdb(&[("192.0.2.1", ZURICH)], 1)[..200]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(Database::open(&path), Err(OpenError::Malformed { .. })), "{} bytes", bytes.len());
        }
    }
}
