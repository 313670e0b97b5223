//! `[password.reset]`, `[password.admin_reset]`

use std::time::Duration;

use crate::config::reader::Section;
use crate::config::sections::accounts::link;
use crate::config::sections::server::number;
use crate::config::settings::{PasswordReset, ResetCode, Window};

pub(super) fn reset(parent: &mut Section<'_>) -> PasswordReset {
    let mut s = parent.section("reset");
    let code = code(&mut s, "15m");
    let limit = Window { max: 3, window: Duration::from_hours(1) };
    let doc = "Requests for one identifier in a window, whether it is known or not.";
    let send_limit = s.window("send_limit", limit, doc);
    let doc = "How codes go out: `email`, `sms`. The first that reaches a proven address of the account is taken.";
    let channels = s.choices("channels", "[\"email\", \"sms\"]", &[("email", true), ("sms", false)], doc);
    let channels = channels.unwrap_or_else(|| vec![true, false]);
    if channels.is_empty() {
        s.error("channels", "nobody could reset a password", "name at least one of `email`, `sms`");
    }
    let revoke_sessions = s.boolean("revoke_sessions", true, "Whether every session ends with a reset.");
    s.finish();
    PasswordReset {
        code,
        send_limit,
        by_email: channels.contains(&true),
        by_sms: channels.contains(&false),
        revoke_sessions,
    }
}

pub(super) fn admin_reset(parent: &mut Section<'_>) -> ResetCode {
    let mut s = parent.section("admin_reset");
    let code = code(&mut s, "1h");
    s.finish();
    code
}

fn code(s: &mut Section<'_>, ttl: &'static str) -> ResetCode {
    ResetCode {
        code_length: number(s.integer("code_length", 8, 6..=10, "Digits of a code.")) as usize,
        ttl: s.lasting("ttl", ttl, "Life of a code."),
        max_attempts: number(s.integer("max_attempts", 3, 1..=100, "Wrong tries for one code.")),
        link_url: link(s, "The page that takes the new password; `code` is appended. Empty means no link in the mail."),
    }
}
