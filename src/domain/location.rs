//! Where on earth an address is, as far as a database tells.

/// A place; what is not known of it is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// ISO 3166-1, two letters.
    pub country: Option<String>,
    /// The English name.
    pub city: Option<String>,
    /// The middle of what is known.
    pub point: Option<Point>,
}

/// A point on earth, in millionths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// North of the equator; at most 90 degrees either way.
    pub latitude: i64,
    /// East of Greenwich; at most 180 degrees either way.
    pub longitude: i64,
}

impl Point {
    /// A point given in degrees; `None` when there is no such.
    #[must_use]
    pub fn of_degrees(latitude: f64, longitude: f64) -> Option<Self> {
        let is_on_earth = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        is_on_earth.then(|| Self { latitude: millionths(latitude), longitude: millionths(longitude) })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 180 degrees, checked before")]
fn millionths(degrees: f64) -> i64 {
    (degrees * 1e6).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_on_earth() {
        let zurich = Point { latitude: 47_366_700, longitude: 8_550_000 };
        assert_eq!(Point::of_degrees(47.3667, 8.55), Some(zurich));
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Point::of_degrees(latitude, longitude), None, "{latitude} {longitude}");
        }
    }
}
