//! What a `User-Agent` tells of the device behind it. For people's eyes only: nothing is decided by it.

use woothee::parser::Parser;

use crate::domain::session::Device;

/// Reads the device out of a `User-Agent`; what it does not tell stays empty. The id is the caller's to fill in.
#[must_use]
pub fn device(user_agent: &str) -> Device {
    let Some(found) = Parser::new().parse(user_agent) else { return Device::default() };
    let known = |text: &str| (!text.is_empty() && text != "UNKNOWN" && text != "HTTP Library").then(|| text.to_owned());
    let (platform, browser) = (known(found.os), known(found.name));
    let kind = match found.category {
        "pc" => Some("desktop"),
        _ if user_agent.contains("iPad") || user_agent.contains("Tablet") => Some("tablet"),
        "smartphone" | "mobilephone" => Some("mobile"),
        _ => None,
    };
    let name = match (&browser, &platform) {
        (Some(browser), Some(platform)) => Some(format!("{browser} on {platform}")),
        (Some(only), None) | (None, Some(only)) => Some(only.clone()),
        (None, None) => None,
    };
    Device { id: String::new(), name, kind: kind.map(str::to_owned), platform, browser }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_from_their_user_agents() {
        let cases = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
                Some("desktop"),
                Some("Chrome"),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
                Some("mobile"),
                Some("Safari"),
            ),
            ("curl/8.5.0", None, None),
            ("", None, None),
        ];
        for (user_agent, kind, browser) in cases {
            let device = device(user_agent);
            assert_eq!((device.kind.as_deref(), device.browser.as_deref()), (kind, browser), "{user_agent}");
        }
    }
}
