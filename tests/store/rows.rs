//! Sessions, keys, messages, devices: what is written is what is read.

use std::time::Duration;

use nauth::domain::audit::EVENT_TYPES;
use nauth::domain::clock::Time;
use nauth::domain::device::TrustedDevice;
use nauth::domain::id::{SessionId, UserId, random_number};
use nauth::domain::location::{Location, Point};
use nauth::domain::secret::Secret;
use nauth::domain::session::{Device, EndReason, Seen, Session};
use nauth::store::audit::{AuditRow, Origin, Trouble, Wanted};
use nauth::store::keys::KeyRow;
use nauth::store::outbox::{Channel, NewMessage};
use nauth::store::sessions::Rotation;
use nauth::store::trusted_devices::PREDECESSOR_LIFE;

use crate::databases::{Fresh, NOW, on_every_database};
use crate::people::{ada, session};

const LEASE: Duration = Duration::from_mins(1);

pub(crate) fn rotation(from: i64) -> Rotation {
    Rotation {
        from,
        to: from + 1,
        at: NOW,
        refresh_expires_at: NOW + Duration::from_hours(1),
        refresh_kid: "k2".to_owned(),
        access_exp: NOW + Duration::from_mins(15),
    }
}

pub(crate) fn message(id: i64) -> NewMessage<'static> {
    NewMessage {
        id,
        channel: Channel::Email,
        target: None,
        kind: "welcome",
        sealed: "body",
        expires_at: NOW + Duration::from_hours(1),
    }
}

on_every_database! {
    async fn a_session_comes_back_as_it_was_stored(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let stored = Session {
            amr: vec!["pwd".to_owned(), "otp".to_owned()],
            device: Device {
                id: "d".to_owned(),
                name: Some("Ada's ☎".to_owned()),
                kind: None,
                platform: Some("Linux".to_owned()),
                browser: None,
            },
            trusted_device: Some(random_number()),
            claims: Some("{\"tenant\":\"é\"}".to_owned()),
            location: Location {
                country: Some("CH".to_owned()),
                city: Some("Zürich".to_owned()),
                point: Point::of_degrees(47.366_7, -8.55),
            },
            user_agent: "x".repeat(512),
            ..session(ada.id)
        };
        let mut tx = store.begin().await.unwrap();
        tx.sessions().insert(&stored).await.unwrap();
        tx.commit().await.unwrap();

        let read = store.sessions().by_id(stored.id).await.unwrap().unwrap();

        assert_eq!(format!("{read:?}"), format!("{stored:?}"));
        assert!(!store.sessions().is_new_agent(ada.id, &"x".repeat(512)).await.unwrap());
        assert!(store.sessions().is_new_agent(ada.id, &"X".repeat(512)).await.unwrap());
        assert!(!store.sessions().is_new_agent(UserId::random(), "x").await.unwrap(), "nobody's first");
    }

    async fn what_a_login_is_compared_with_is_the_users_own_and_bounded(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let point = Point::of_degrees(47.3667, 8.55);
        let location = Location { country: Some("CH".to_owned()), city: None, point };
        let mut tx = store.begin().await.unwrap();
        for age in 1..=201 {
            let created_at = NOW - Duration::from_secs(age);
            let opened = Session { created_at, location: location.clone(), ..session(ada.id) };
            tx.sessions().insert(&opened).await.unwrap();
        }
        let origin = Origin { ip: "127.0.0.1", user_agent: None, request_id: "r", device: None };
        let entries = [
            ("LOGIN_FAILED", "FAILURE", "wrong_password"),
            ("LOGIN_FAILED", "FAILURE", "risk"),
            ("ADAPTIVE_MFA_RISK_ASSESSED", "SUSPICIOUS", "x"),
            ("TOKEN_REUSE_DETECTED", "SUSPICIOUS", "x"),
            ("LOGIN_SUCCESS", "SUCCESS", "x"),
        ];
        for (event_type, event_status, reason) in entries {
            let row = AuditRow {
                id: random_number(),
                user: Some(ada.id),
                event_type,
                event_status,
                session: None,
                challenge: None,
                performed_by: None,
                reason: Some(reason.to_owned()),
                details: None,
            };
            tx.audit().insert(&row, origin, NOW).await.unwrap();
        }
        tx.commit().await.unwrap();

        let visits = store.sessions().visits_of(ada.id).await.unwrap();
        assert_eq!((visits.len(), visits[0].at), (200, NOW - Duration::from_secs(1)));
        assert_eq!((&visits[199].location, visits[0].address.to_string()), (&location, "127.0.0.1".to_owned()));
        assert!(store.sessions().visits_of(UserId::random()).await.unwrap().is_empty());
        let trouble = store.audit().recent_trouble(ada.id, NOW - Duration::from_secs(1)).await.unwrap();
        assert_eq!(trouble, Trouble { failed_logins: 1, suspicious_events: 1 });
        assert_eq!(store.audit().recent_trouble(ada.id, NOW).await.unwrap(), Trouble::default());
        assert_eq!(store.audit().recent_trouble(UserId::random(), Time::from_secs(0)).await.unwrap(), Trouble::default());
    }

    async fn a_session_rotates_once_from_each_generation_while_it_lives(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let (first, second) = (session(ada.id), session(ada.id));
        let mut tx = store.begin().await.unwrap();
        tx.sessions().insert(&first).await.unwrap();
        tx.sessions().insert(&second).await.unwrap();
        tx.commit().await.unwrap();

        assert!(store.sessions().rotate(first.id, &rotation(1)).await.unwrap());
        assert!(!store.sessions().rotate(first.id, &rotation(1)).await.unwrap());
        let read = store.sessions().by_id(first.id).await.unwrap().unwrap();
        assert_eq!((read.generation, read.latest_exp), (2, NOW + Duration::from_mins(15)));

        assert!(store.sessions().revoke(first.id, EndReason::Logout, NOW).await.unwrap());
        assert!(!store.sessions().revoke(first.id, EndReason::Logout, NOW).await.unwrap());
        assert!(!store.sessions().rotate(first.id, &rotation(2)).await.unwrap(), "revoked");
        assert!(!store.sessions().extend_latest_exp(first.id, NOW, NOW).await.unwrap(), "revoked");
        store.users().raise_epoch(ada.id, NOW).await.unwrap();
        assert!(!store.sessions().rotate(second.id, &rotation(1)).await.unwrap(), "of an older epoch");
    }

    async fn the_first_sight_of_a_generation_counts(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let one = session(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.sessions().insert(&one).await.unwrap();
        tx.commit().await.unwrap();
        let seen = |prefix: &str| Seen { at: NOW, prefix: prefix.to_owned(), user_agent: "x".to_owned() };

        assert!(store.sessions().note_seen(one.id, 1, &seen("first")).await.unwrap());
        assert!(!store.sessions().note_seen(one.id, 1, &seen("second")).await.unwrap());

        assert_eq!(store.sessions().by_id(one.id).await.unwrap().unwrap().seen.unwrap().prefix, "first");
    }

    async fn living_sessions_are_told_from_the_rest(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let sessions: Vec<Session> = (0..40).map(|_| session(ada.id)).collect();
        let mut tx = store.begin().await.unwrap();
        for one in &sessions {
            tx.sessions().insert(one).await.unwrap();
        }
        tx.sessions().revoke(sessions[39].id, EndReason::Logout, NOW).await.unwrap();
        tx.commit().await.unwrap();
        let ids: Vec<SessionId> = sessions.iter().map(|one| one.id).collect();

        assert_eq!(store.sessions().living(&ids, NOW).await.unwrap().len(), 39);
        assert_eq!(store.sessions().live_of(ada.id, 1, NOW).await.unwrap().len(), 39);
        assert_eq!(store.sessions().latest_exp_of(ada.id).await.unwrap(), Some(NOW));
        assert_eq!(store.sessions().revoke_all(ada.id, EndReason::LogoutAll, NOW).await.unwrap(), 39);
        assert!(store.sessions().living(&ids, NOW).await.unwrap().is_empty());
        assert_eq!(store.sessions().purge(NOW).await.unwrap(), 0);
        assert_eq!(store.sessions().purge(NOW + Duration::from_secs(1)).await.unwrap(), 40);
        assert_eq!(store.sessions().latest_expiries().await.unwrap(), (None, None));
    }

    async fn keys_come_and_go(fresh: &Fresh) {
        let store = fresh.store().await;
        let key = |kid: &str, at| KeyRow {
            kid: kid.to_owned(),
            purpose: "access".to_owned(),
            alg: "ES256".to_owned(),
            master: "m".to_owned(),
            state: "upcoming".to_owned(),
            created_at: at,
            public_key: Some("p".to_owned()),
            sealed: None,
            expires_at: None,
        };
        let (first, second) = (key("b", NOW), key("a", NOW + Duration::from_secs(1)));
        let mut tx = store.begin().await.unwrap();
        tx.keys().insert(&second).await.unwrap();
        tx.keys().insert(&first).await.unwrap();
        tx.keys().insert_master_check("c", NOW).await.unwrap();
        tx.commit().await.unwrap();

        assert_eq!(store.keys().all().await.unwrap(), [first.clone(), second]);
        assert_eq!(store.keys().master_checks().await.unwrap(), ["c"]);
        store.keys().remove("a").await.unwrap();
        store.keys().expire("b", NOW).await.unwrap();
        store.keys().reseal("b", "m2", "s").await.unwrap();
        store.keys().retire("b").await.unwrap();
        store.keys().expire("b", NOW).await.unwrap();
        let expected = KeyRow {
            master: "m2".to_owned(),
            sealed: Some("s".to_owned()),
            state: "retired".to_owned(),
            expires_at: Some(NOW),
            ..first
        };
        assert_eq!(store.keys().all().await.unwrap(), [expected]);
    }

    async fn a_message_is_claimed_delivered_and_blanked(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut tx = store.begin().await.unwrap();
        tx.outbox().insert(&message(1), NOW).await.unwrap();
        tx.outbox().insert(&message(2), NOW + Duration::from_secs(5)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.outbox().next_due(Channel::Email).await.unwrap(), Some(NOW));
        assert_eq!(store.outbox().next_due(Channel::Sms).await.unwrap(), None);

        let mut tx = store.begin().await.unwrap();
        let claimed = tx.outbox().claim(Channel::Email, NOW, LEASE, 10).await.unwrap();
        tx.commit().await.unwrap();

        assert_eq!(claimed.iter().map(|row| (row.id, row.attempts)).collect::<Vec<_>>(), [(1, 1)]);
        store.outbox().retry(1, NOW, "busy").await.unwrap();
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.outbox().claim(Channel::Email, NOW, LEASE, 10).await.unwrap()[0].attempts, 2);
        tx.commit().await.unwrap();
        store.outbox().delivered(1, NOW).await.unwrap();
        store.outbox().dead(2, "no such place", NOW).await.unwrap();
        assert_eq!(store.outbox().next_due(Channel::Email).await.unwrap(), None);
        assert_eq!(store.outbox().purge(NOW + Duration::from_secs(1)).await.unwrap(), 2);
    }

    async fn a_device_is_known_by_its_token_and_the_one_before(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let device = TrustedDevice {
            id: random_number(),
            user: ada.id,
            device_epoch: 1,
            device: Device::default(),
            ip: "::1".to_owned(),
            trusted_until: NOW + Duration::from_hours(1),
            last_used_at: None,
            created_at: NOW,
        };
        let mut tx = store.begin().await.unwrap();
        tx.trusted_devices().insert(&device, "one", "curl").await.unwrap();
        tx.commit().await.unwrap();
        let mut devices = store.trusted_devices();

        assert!(devices.replace(device.id, "two", device.trusted_until, NOW).await.unwrap());
        assert!(!devices.replace(device.id + 1, "three", device.trusted_until, NOW).await.unwrap());
        assert!(devices.holds(device.id, "two").await.unwrap() && !devices.holds(device.id, "one").await.unwrap());
        for (token, epoch, at, known) in [
            ("two", 1, NOW, true),
            ("one", 1, NOW, true),
            ("one", 1, NOW + PREDECESSOR_LIFE, false),
            ("two", 1, NOW + PREDECESSOR_LIFE, true),
            ("TWO", 1, NOW, false),
            ("two", 2, NOW, false),
            ("two", 1, device.trusted_until, false),
        ] {
            assert_eq!(devices.by_token(ada.id, token, epoch, at).await.unwrap().is_some(), known, "{token} {epoch}");
        }
        assert_eq!(devices.of_user(ada.id, 1, NOW).await.unwrap().len(), 1);
        assert!(devices.replace(device.id, "four", device.trusted_until, NOW).await.unwrap());
        for (token, known) in [("four", true), ("two", true), ("one", false)] {
            assert_eq!(devices.by_token(ada.id, token, 1, NOW).await.unwrap().is_some(), known, "{token}");
        }
        assert!(devices.by_id(ada.id, device.id, 1, NOW).await.unwrap().is_some());
        assert!(devices.by_id(ada.id, device.id, 2, NOW).await.unwrap().is_none(), "of an older epoch");
        assert!(devices.delete(ada.id, device.id).await.unwrap());
        assert_eq!(devices.delete_all(ada.id).await.unwrap(), 0);
    }

    async fn the_latest_passwords_are_remembered(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let mut tx = store.begin().await.unwrap();
        for (number, hash) in ["a", "b", "c"].into_iter().enumerate() {
            let at = NOW + Duration::from_secs(number as u64);
            tx.password_history().push(ada.id, &Secret::new(hash.to_owned()), 2, at).await.unwrap();
        }
        tx.commit().await.unwrap();

        let kept = store.password_history().of(ada.id, 9).await.unwrap();

        assert_eq!(kept.iter().map(|hash| hash.expose().as_str()).collect::<Vec<_>>(), ["c", "b"]);
    }

    async fn the_audit_trail_keeps_what_happened(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let row = |event_type| AuditRow {
            id: random_number(),
            user: Some(ada.id),
            event_type,
            event_status: "SUCCESS",
            session: None,
            challenge: None,
            performed_by: None,
            reason: Some("because \u{1f511}".to_owned()),
            details: Some("d".repeat(70_000)),
        };
        let origin = Origin { ip: "127.0.0.1", user_agent: None, request_id: "r", device: None };
        let mut tx = store.begin().await.unwrap();
        tx.audit().insert(&row("LOGIN_SUCCESS"), origin, NOW).await.unwrap();
        let phone = Device {
            id: "d".to_owned(),
            name: Some("Ada's \u{260e}".to_owned()),
            kind: Some("mobile".to_owned()),
            ..Device::default()
        };
        let origin = Origin { device: Some(&phone), ..origin };
        tx.audit().insert(&row("PASSWORD_CHANGED"), origin, NOW + Duration::from_secs(1)).await.unwrap();
        tx.commit().await.unwrap();

        let kinds = |rows: Vec<(String, String)>| rows.into_iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(kinds(store.audit().of_user(ada.id).await.unwrap()), ["LOGIN_SUCCESS", "PASSWORD_CHANGED"]);
        let all = Wanted { user: ada.id, from: NOW, until: NOW + Duration::from_secs(1), types: &[], statuses: &[] };
        let latest = store.audit().history(&all, 1, 0).await.unwrap().remove(0);
        assert_eq!((latest.event_type.as_str(), latest.at), ("PASSWORD_CHANGED", NOW + Duration::from_secs(1)));
        assert_eq!((latest.reason, latest.details.unwrap().len()), (Some("because \u{1f511}".to_owned()), 70_000));
        assert_eq!((latest.device_id, latest.device_name, latest.device_type), (Some(phone.id), phone.name, phone.kind));
        let earlier = store.audit().history(&all, 5, 1).await.unwrap();
        assert_eq!((earlier.len(), &earlier[0].device_id), (1, &None));
        let most: Vec<&'static str> = EVENT_TYPES.iter().copied().filter(|kind| *kind != "LOGIN_SUCCESS").collect();
        let of = |types, statuses, from, user| Wanted { user, from, until: all.until, types, statuses };
        for (wanted, expected) in [
            (all.clone(), 2),
            (of(&["LOGIN_SUCCESS", "LOGIN_FAILED"], &[], NOW, ada.id), 1),
            (of(&[], &["SUCCESS", "INFO"], NOW, ada.id), 2),
            (of(&[], &["FAILURE"], NOW, ada.id), 0),
            (of(&[], &[], NOW + Duration::from_secs(1), ada.id), 1),
            (of(&[], &[], NOW, UserId::random()), 0),
            (of(EVENT_TYPES, &[], NOW, ada.id), 2),
            (of(&most, &[], NOW, ada.id), 1),
        ] {
            assert_eq!(store.audit().count(&wanted).await.unwrap(), expected, "{wanted:?}");
            assert_eq!(store.audit().history(&wanted, 10, 0).await.unwrap().len(), usize::try_from(expected).unwrap(), "{wanted:?}");
        }
        assert_eq!(store.audit().purge_logins(NOW + Duration::from_hours(1)).await.unwrap(), 1);
        assert_eq!(store.audit().purge(NOW + Duration::from_hours(1)).await.unwrap(), 1);
    }
}
