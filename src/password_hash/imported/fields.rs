//! `key=value,key=value`, as in PHC strings, and the base64 of half a dozen traditions.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, STANDARD_NO_PAD};

/// Unpadded, with whatever is in the bits that do not fill a byte.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));

/// Settings by name. Each name counts once.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let fields: Vec<_> = text.split(',').map(|field| field.split_once('=')).collect::<Option<_>>()?;
        let mut names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        (names.len() == fields.len()).then_some(Self(fields))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    pub(super) fn number(&self, name: &str) -> Option<u32> {
        number(self.text(name)?)
    }

    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        unbase64(self.text(name)?)
    }
}

/// A decimal number without a sign.
pub(super) fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Reads base64, padded or not, with `+/`, `-_` or passlib's `./`.
pub(super) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let plain = text.trim_end_matches('=').replace(['.', '-'], "+").replace('_', "/");
    LENIENT.decode(plain).ok()
}

/// Writes base64, unpadded.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}
