//! `[password]`

use std::sync::Arc;

use crate::config::reader::Section;
use crate::config::sections::recovery;
use crate::config::sections::server::number;
use crate::config::settings::Password;
use crate::domain::password_policy::{CharacterClass, CommonPasswords, PasswordPolicy};

/// What `special` in `password.require` means.
const SPECIAL_CHARS: &str = "!@#$%^&*()_+-=[]{}|;:,.<>?";
/// A longer list of common passwords is more memory than it is worth.
const MAX_LIST_BYTES: u64 = 32 * 1024 * 1024;

pub(super) fn password(root: &mut Section<'_>) -> Password {
    let mut s = root.section("password");
    let policy = policy(&mut s);
    let password = Password {
        policy: Arc::new(policy),
        history: number(s.integer(
            "history",
            5,
            0..=24,
            "Earlier passwords, besides the present one, that may not be chosen again. 0 means any may, the present one too.",
        )) as usize,
        expiry: s.duration(
            "expiry",
            "0s",
            "A password older than this must be changed at the next login. `0s` means never (NIST SP 800-63B).",
        ),
        reset: recovery::reset(&mut s),
        admin_reset: recovery::admin_reset(&mut s),
    };
    s.finish();
    password
}

fn policy(s: &mut Section<'_>) -> PasswordPolicy {
    let min_length = number(s.integer("min_length", 10, 1..=1024, "Fewest characters, counted after NFKC.")) as usize;
    let max_length = number(s.integer("max_length", 128, 1..=1024, "Most characters.")) as usize;
    if min_length > max_length {
        s.error("min_length", "`password.min_length` is above `password.max_length`", "swap them");
    } else if min_length < 8 {
        s.warning(
            "min_length",
            "passwords under 8 characters are guessed quickly",
            "NIST SP 800-63B asks for 8 or more",
        );
    }
    let doc = "Classes of which a character each must be in a password: `upper`, `lower`, `digit`, `special`.";
    let classes = [
        ("upper", CharacterClass::Upper),
        ("lower", CharacterClass::Lower),
        ("digit", CharacterClass::Digit),
        ("special", CharacterClass::Special),
    ];
    let require = s.choices("require", "[]", &classes, doc).unwrap_or_default();
    let special_chars = s.text("special_chars", SPECIAL_CHARS, "What counts as `special`. Others are allowed, too.");
    let doc = "Refuse the passwords that most people use, in any letter case.";
    let prevent_common = s.boolean("prevent_common", true, doc);
    let common = common_list(s);
    if !prevent_common && s.has("common_list") {
        s.warning("common_list", "`common_list` is not used: `prevent_common` is off", "remove the one or the other");
    }
    let doc = "Refuse passwords that contain 4 or more letters of the user's address or names, in any letter case.";
    let prevent_user_info = s.boolean("prevent_user_info", true, doc);
    let doc = "How hard a password must be to guess, by zxcvbn: 0 (not checked) to 4 (very hard).";
    let min_strength = u8::try_from(s.integer("min_strength", 2, 0..=4, doc)).unwrap_or(0);
    PasswordPolicy {
        min_length,
        max_length,
        require,
        special_chars,
        prevent_common,
        common,
        prevent_user_info,
        min_strength,
    }
}

fn common_list(s: &mut Section<'_>) -> CommonPasswords {
    let doc = "A file with more passwords to refuse, one on each line, beside this file.";
    let Some(path) = s.path("common_list", doc) else { return CommonPasswords::default() };
    let read = match std::fs::metadata(&path) {
        Ok(meta) if meta.len() > MAX_LIST_BYTES => Err("it is larger than 32MiB".to_owned()),
        Ok(_) => std::fs::read_to_string(&path).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    read.map_or_else(
        |error| {
            let message = format!("`{}` cannot be read: {error}", path.display());
            s.error("common_list", message, "one password on each line, UTF-8");
            CommonPasswords::default()
        },
        |text| CommonPasswords::read(&text),
    )
}
