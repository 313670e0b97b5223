//! `[password]`

use crate::config::reader::Section;
use crate::config::sections::recovery;
use crate::config::sections::server::number;
use crate::config::settings::Password;

pub(super) fn password(root: &mut Section<'_>) -> Password {
    let mut s = root.section("password");
    let password = Password {
        min_length: number(s.integer("min_length", 10, 1..=1024, "Fewest characters.")) as usize,
        max_length: number(s.integer("max_length", 128, 1..=1024, "Most characters.")) as usize,
        history: number(s.integer("history", 5, 0..=24, "Earlier passwords that may not come back.")) as usize,
        expiry: s.duration(
            "expiry",
            "0s",
            "A password older than this must be changed at the next login. `0s` means never (NIST SP 800-63B).",
        ),
        reset: recovery::reset(&mut s),
        admin_reset: recovery::admin_reset(&mut s),
    };
    if password.min_length > password.max_length {
        s.error("min_length", "`password.min_length` is above `password.max_length`", "swap them");
    } else if password.min_length < 8 {
        s.warning(
            "min_length",
            "passwords under 8 characters are guessed quickly",
            "NIST SP 800-63B asks for 8 or more",
        );
    }
    s.finish();
    password
}
