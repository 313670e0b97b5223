//! The audit trail on the wire: what is asked for, and the shape of an entry.

use std::collections::HashMap;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::api::json::Object;
use crate::api::nauth::fields::{Fields, Problems};
use crate::auth::{History, HistoryWish};
use crate::domain::audit::{EVENT_STATUSES, EVENT_TYPES, describe};
use crate::domain::client_hints;
use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::domain::event::Actor;
use crate::domain::location::Location;
use crate::domain::session::Device;
use crate::domain::user::User;
use crate::store::audit::Entry;

/// Entries on a page, where nobody says how many.
const DEFAULT_LIMIT: i64 = 50;
/// Most entries on a page.
const MAX_LIMIT: i64 = 500;
/// What may be repeated, or hold several values with commas between them.
const LISTS: [&str; 3] = ["eventTypes", "eventType", "eventStatus"];

/// Reads a query.
pub(crate) fn wish(query: &str) -> Result<HistoryWish, Error> {
    let object = object(query);
    let mut fields = Fields::of(&object);
    let page = fields.optional("page", |text| number(text, i64::MAX)).unwrap_or(1);
    let limit = fields.optional("limit", |text| number(text, MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
    let from = fields.optional("startDate", time);
    let until = fields.optional("endDate", time).map(whole_millisecond);
    let mut types = fields.optional("eventTypes", |text| known(text, EVENT_TYPES)).unwrap_or_default();
    types.extend(fields.optional("eventType", |text| known(text, EVENT_TYPES)).unwrap_or_default());
    types.sort_unstable();
    types.dedup();
    let statuses = fields.optional("eventStatus", |text| known(text, &EVENT_STATUSES)).unwrap_or_default();
    if !fields.are_good() {
        return Err(fields.into_error());
    }
    Ok(HistoryWish { page, limit, from, until, types, statuses })
}

/// A query as an object of texts: of a name that occurs twice the first, of a list all of them. Some clients
/// write `[]` after the name of a list.
fn object(query: &str) -> Object {
    let mut object = Object::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let list = name.strip_suffix("[]").unwrap_or(&name);
        let is_list = LISTS.contains(&list);
        let name = if is_list { list } else { name.as_ref() };
        match object.get_mut(name) {
            None => drop(object.insert(name.to_owned(), value.into_owned().into())),
            Some(Value::String(present)) if is_list => {
                present.push(',');
                present.push_str(&value);
            }
            Some(_) => {}
        }
    }
    object
}

/// A page of the trail.
pub(crate) fn page(history: &History, wish: &HistoryWish, user: &User) -> Value {
    let mut devices = HashMap::new();
    let data: Vec<Value> = history
        .entries
        .iter()
        .map(|(entry, location)| {
            let user_agent = entry.user_agent.as_deref().unwrap_or("");
            // A page is mostly of one or two clients.
            let device = devices.entry(user_agent).or_insert_with(|| client_hints::device(user_agent));
            event(entry, (device, location), user)
        })
        .collect();
    json!({
        "data": data,
        "total": history.total,
        "page": wish.page,
        "limit": wish.limit,
        "totalPages": history.total.unsigned_abs().div_ceil(wish.limit.unsigned_abs()),
    })
}

/// One entry. What nothing is known of is `null`.
fn event(entry: &Entry, (device, location): (&Device, &Location), user: &User) -> Value {
    let by_owner = entry.performed_by.as_deref() == Some(Actor::Owner.as_str());
    let performed_by = if by_owner { Some(user.id.to_string()) } else { entry.performed_by.clone() };
    let metadata: Option<Value> = entry.details.as_deref().and_then(|details| serde_json::from_str(details).ok());
    // Of an unusual login the details say what it was.
    let is_risk = entry.event_type.starts_with("ADAPTIVE_MFA_");
    let told = |name: &str| metadata.as_ref().filter(|_| is_risk).and_then(|metadata| metadata.get(name));
    let method = metadata.as_ref().and_then(|metadata| metadata.get("authMethod")).and_then(Value::as_str);
    json!({
        "id": entry.id,
        "userId": user.number,
        "eventType": entry.event_type,
        "eventStatus": entry.event_status,
        "riskFactor": told("riskFactor"),
        "riskFactors": told("riskFactors"),
        "adaptiveMfaTriggered": told("action").map(|action| action == "require_mfa"),
        "ipAddress": entry.ip,
        "ipCountry": location.country,
        "ipCity": location.city,
        "ipLatitude": location.point.map(|point| degrees(point.latitude)),
        "ipLongitude": location.point.map(|point| degrees(point.longitude)),
        "userAgent": entry.user_agent,
        "platform": device.platform,
        "browser": device.browser,
        "deviceId": entry.device_id,
        "deviceName": entry.device_name.as_ref().or(device.name.as_ref()),
        "deviceType": entry.device_type.as_ref().or(device.kind.as_ref()),
        "sessionId": entry.session.map(|id| id.to_string()),
        "challengeSessionId": entry.challenge,
        "authMethod": method,
        "performedBy": performed_by,
        "reason": entry.reason,
        "description": describe(&entry.event_type, entry.reason.as_deref(), method),
        "metadata": metadata,
        "createdAt": entry.at.to_string(),
    })
}

/// Degrees from their millionths.
fn degrees(millionths: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 180 million")]
    let millionths = millionths as f64;
    millionths / 1e6
}

// Rules. Each answers the value, or every sentence that is true of a bad one.

fn number(text: &str, max: i64) -> Result<i64, Problems> {
    match text.parse() {
        Ok(number) if number < 1 => Err(vec!["must not be less than 1".to_owned()]),
        Ok(number) if number > max => Err(vec![format!("must not be greater than {max}")]),
        Ok(number) => Ok(number),
        Err(_) => Err(vec!["must be an integer number".to_owned()]),
    }
}

/// A date of ISO 8601: with an offset, or in UTC. A day alone is its first moment.
fn time(text: &str) -> Result<Time, Problems> {
    let in_utc = |at: DateTime| at.to_zoned(TimeZone::UTC).map(|at| at.timestamp());
    let read = text.parse::<Timestamp>().or_else(|_| text.parse().and_then(in_utc));
    let at = read.ok().or_else(|| outermost(text));
    let at = at.ok_or_else(|| vec!["must be a valid ISO 8601 date string".to_owned()])?;
    Ok(Time::from_micros(at.as_microsecond()))
}

/// The first or last moment there is, for a date beyond it: what means "ever" is often the last second of 9999.
fn outermost(text: &str) -> Option<Timestamp> {
    match Pieces::parse(text).ok()?.date().year() {
        9999 => Some(Timestamp::MAX),
        -9999 => Some(Timestamp::MIN),
        _ => None,
    }
}

/// Entries are kept by the microsecond and shown by the millisecond: the end of a time is that of its millisecond.
fn whole_millisecond(at: Time) -> Time {
    Time::from_micros(at.micros().div_euclid(1_000) * 1_000 + 999)
}

/// Names out of a closed list, with commas between them.
fn known(text: &str, all: &[&'static str]) -> Result<Vec<&'static str>, Problems> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let find = |name: &str| all.iter().find(|known| **known == name).copied();
    let found: Option<Vec<_>> = names.map(find).collect();
    found.ok_or_else(|| vec![format!("must be one of the following values: {}", all.join(", "))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_strictly() {
        let all = wish("").unwrap();
        assert_eq!((all.page, all.limit, all.types.len(), all.from), (1, 50, 0, None));
        let some = "page=3&limit=500&startDate=2025-01-31&endDate=2025-02-01T10:00:00%2B02:00\
                    &eventTypes=LOGIN_SUCCESS,LOGIN_FAILED&eventTypes=LOGIN_FAILED&eventType=SOCIAL_LOGIN\
                    &eventStatus=SUCCESS&eventStatus=INFO&unknown=1";
        let some = wish(some).unwrap();
        assert_eq!((some.page, some.limit), (3, 500));
        assert_eq!(some.from.unwrap().to_string(), "2025-01-31T00:00:00.000Z");
        assert_eq!(some.until.unwrap().micros(), time("2025-02-01T08:00:00Z").unwrap().micros() + 999);
        assert_eq!(some.types, ["LOGIN_FAILED", "LOGIN_SUCCESS", "SOCIAL_LOGIN"]);
        assert_eq!(some.statuses, ["SUCCESS", "INFO"]);

        for end in ["9999-12-31", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z"] {
            assert!(wish(&format!("endDate={end}")).unwrap().until > wish("endDate=9999-12-30").unwrap().until);
        }
        let listed = wish("eventTypes%5B%5D=LOGIN_SUCCESS&eventTypes[]=LOGIN_FAILED&eventTypes=LOGIN_BLOCKED").unwrap();
        assert_eq!(listed.types, ["LOGIN_BLOCKED", "LOGIN_FAILED", "LOGIN_SUCCESS"]);

        let bad = [
            ("page=0", "page must not be less than 1"),
            ("page=x", "page must be an integer number"),
            ("limit=501", "limit must not be greater than 500"),
            ("limit=-1", "limit must not be less than 1"),
            ("startDate=yesterday", "startDate must be a valid ISO 8601 date string"),
            ("endDate=2025-13-01", "endDate must be a valid ISO 8601 date string"),
            ("eventTypes=LOGIN_SUCCESS,NO_SUCH", "eventTypes must be one of"),
            ("eventType=login_success", "eventType must be one of"),
            ("eventStatus=OK", "eventStatus must be one of the following values: SUCCESS, FAILURE, INFO, SUSPICIOUS"),
        ];
        for (query, sentence) in bad {
            let Err(Error::Validation(problems)) = wish(query) else { panic!("{query} is taken") };
            assert!(format!("{problems:?}").contains(sentence), "{problems:?}");
        }
        assert!(wish("eventTypes[]=NO_SUCH").is_err());
        let all = wish(&format!("eventTypes={}", EVENT_TYPES.join(","))).unwrap();
        assert_eq!(all.types, EVENT_TYPES);
    }

    #[test]
    fn dates_reach_from_the_first_moment_to_the_last() {
        for ever in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999+00:00", "9999-12-31", "9999-12-31T23:59:59"] {
            let until = wish(&format!("endDate={}", ever.replace('+', "%2B"))).unwrap().until.unwrap();
            assert!(until.micros() >= time("9999-12-30").unwrap().micros(), "{ever}");
        }
        for none in ["9999-12-32", "9999-13-01T00:00:00Z", "10000-01-01", "9999", "2025-02-30"] {
            assert!(wish(&format!("endDate={none}")).is_err(), "{none}");
        }
    }

    #[test]
    fn an_entry_is_found_by_the_time_it_is_shown_with() {
        let stored = Time::from_micros(1_750_000_000_123_456);
        let wish = wish(&format!("startDate={stored}&endDate={stored}")).unwrap();

        assert!(wish.from.unwrap() <= stored && stored <= wish.until.unwrap());
        assert!(wish.until.unwrap() < Time::from_micros(1_750_000_000_124_000));
    }
}
