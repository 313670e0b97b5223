//! Times, told as people read them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::config::settings::TimezoneStyle;
use crate::domain::clock::Time;

/// `21 November 2026, 07:08 CET`: in this time zone, else in the other; a zone that is unknown is UTC.
pub(super) fn told(at: Time, zone: Option<&str>, default: &str, style: TimezoneStyle) -> String {
    let zone = zone.and_then(|name| TimeZone::get(name).ok()).or_else(|| TimeZone::get(default).ok());
    let stamp = Timestamp::from_microsecond(at.micros()).unwrap_or(Timestamp::UNIX_EPOCH);
    let zoned = stamp.to_zoned(zone.unwrap_or(TimeZone::UTC));
    format!("{} {}", zoned.strftime("%-d %B %Y, %H:%M"), zone_name(&zoned, style))
}

/// The name of a zone. Where the long form would take tables of every language, the IANA name
/// stands, which is the same in all of them.
fn zone_name(zoned: &Zoned, style: TimezoneStyle) -> String {
    match style {
        TimezoneStyle::Long | TimezoneStyle::LongGeneric => {
            zoned.time_zone().iana_name().unwrap_or("UTC").replace('_', " ")
        }
        TimezoneStyle::Short | TimezoneStyle::ShortGeneric => zoned.strftime("%Z").to_string(),
        TimezoneStyle::ShortOffset => {
            let minutes = zoned.offset().seconds() / 60;
            match (minutes / 60, (minutes % 60).abs()) {
                (0, 0) => "GMT".to_owned(),
                (hours, 0) => format!("GMT{hours:+}"),
                (hours, rest) => format!("GMT{hours:+}:{rest:02}"),
            }
        }
        TimezoneStyle::LongOffset => format!("GMT{}", zoned.strftime("%:z")),
    }
}

/// Whether there is such a time zone.
#[must_use]
pub fn is_timezone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_zone_of_their_reader() {
        let at = Time::from_secs(1_795_241_280);
        let cases = [
            (Some("Europe/Zurich"), TimezoneStyle::Short, "21 November 2026, 07:08 CET"),
            (Some("Europe/Zurich"), TimezoneStyle::Long, "21 November 2026, 07:08 Europe/Zurich"),
            (Some("Asia/Kolkata"), TimezoneStyle::ShortOffset, "21 November 2026, 11:38 GMT+5:30"),
            (Some("America/New_York"), TimezoneStyle::LongOffset, "21 November 2026, 01:08 GMT-05:00"),
            (Some("Nowhere/At_All"), TimezoneStyle::ShortOffset, "21 November 2026, 06:08 GMT"),
            (None, TimezoneStyle::Short, "21 November 2026, 06:08 UTC"),
        ];
        for (zone, style, expected) in cases {
            assert_eq!(told(at, zone, "UTC", style), expected);
        }
    }
}
