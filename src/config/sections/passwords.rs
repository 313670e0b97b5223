//! `[password]`

use crate::config::reader::Section;
use crate::config::sections::server::number;
use crate::config::settings::Password;

pub(super) fn password(root: &mut Section<'_>) -> Password {
    let mut s = root.section("password");
    let password = Password {
        min_length: number(s.integer("min_length", 10, 1..=1024, "Fewest characters.")) as usize,
        max_length: number(s.integer("max_length", 128, 1..=1024, "Most characters.")) as usize,
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
