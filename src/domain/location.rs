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

/// Half the way through the earth, in kilometres.
const EARTH_RADIUS_KM: f64 = 6371.0;

/// The countries of each continent (ISO 3166-1).
const CONTINENTS: [(Continent, &str); 6] = [
    (
        Continent::Africa,
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE \
         NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    (
        Continent::Asia,
        "AE AF AM AZ BD BH BN BT CC CN CX CY GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP \
         OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    ),
    (
        Continent::Europe,
        "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT \
         NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        Continent::NorthAmerica,
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT \
         US VC VG VI",
    ),
    (Continent::SouthAmerica, "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
    (Continent::Oceania, "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"),
];

/// A continent where people live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Continent {
    Africa,
    Asia,
    Europe,
    NorthAmerica,
    SouthAmerica,
    Oceania,
}

/// The continent of a country.
#[must_use]
pub fn continent(country: &str) -> Option<Continent> {
    let has = |countries: &str| countries.split(' ').any(|one| one == country);
    CONTINENTS.iter().find(|(_, countries)| has(countries)).map(|(continent, _)| *continent)
}

impl Point {
    /// How far it is to another point, along the ground (haversine).
    #[must_use]
    pub fn distance_km(self, other: Self) -> f64 {
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let (latitudes, longitudes) = (to - from, radians(other.longitude) - radians(self.longitude));
        let half = |angle: f64| (angle / 2.0).sin().powi(2);
        let chord = half(latitudes) + from.cos() * to.cos() * half(longitudes);
        2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }

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

#[expect(clippy::cast_precision_loss, reason = "at most 180 million")]
fn radians(millionths: i64) -> f64 {
    (millionths as f64 / 1e6).to_radians()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_an_atlas() {
        let point = |latitude, longitude| Point::of_degrees(latitude, longitude).unwrap();
        let (zurich, tokyo) = (point(47.3667, 8.55), point(35.6895, 139.6917));
        let cases = [
            (zurich, zurich, 0.0),
            (zurich, point(46.2, 6.15), 224.0),
            (zurich, tokyo, 9590.0),
            (point(0.0, 179.9), point(0.0, -179.9), 22.0),
            (point(90.0, 0.0), point(-90.0, 0.0), 20_015.0),
        ];
        for (from, to, expected) in cases {
            let distance = from.distance_km(to);
            assert!((distance - expected).abs() <= 0.01 * expected + 1.0, "{from:?} {to:?}: {distance}");
            assert!((distance - to.distance_km(from)).abs() < 1e-6);
        }
    }

    #[test]
    fn every_country_is_on_one_continent() {
        let all: Vec<&str> = CONTINENTS.iter().flat_map(|(_, countries)| countries.split(' ')).collect();
        assert!(all.iter().all(|country| country.len() == 2) && all.len() > 230, "{}", all.len());
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert_eq!(
            (continent("CH"), continent("JP"), continent("XX")),
            (Some(Continent::Europe), Some(Continent::Asia), None)
        );
    }

    #[test]
    fn points_are_on_earth() {
        let zurich = Point { latitude: 47_366_700, longitude: 8_550_000 };
        assert_eq!(Point::of_degrees(47.3667, 8.55), Some(zurich));
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Point::of_degrees(latitude, longitude), None, "{latitude} {longitude}");
        }
    }
}
