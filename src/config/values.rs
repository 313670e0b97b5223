//! Values with a unit: durations, sizes, and what is fetched from the environment or a file.

use std::time::Duration;

/// Longest duration: what is added to a time must not overflow it.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// `"500ms"`, `"15m"`, `"1h30m"`, `"7d"`, `"0s"`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text.trim()).map_err(|_| {
        format!("`{text}` is not a duration; write a number and a unit, such as \"90s\", \"15m\", \"7d\"")
    })?;
    if duration > LONGEST { Err(format!("`{text}` is longer than 100 years")) } else { Ok(duration) }
}

/// `"10MiB"`, `"64KB"`, `"512B"`, `"4096"`: bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let factor: Option<u64> = match trimmed[digits..].trim() {
        "" | "B" => Some(1),
        "KB" => Some(1000),
        "KiB" => Some(1 << 10),
        "MB" => Some(1_000_000),
        "MiB" => Some(1 << 20),
        "GB" => Some(1_000_000_000),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let number: Option<u64> = trimmed[..digits].parse().ok();
    number
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is not a size; write a number and a unit, such as \"64KiB\", \"10MiB\""))
}

/// Replaces every `${…}` in a text by what `fetch` says of it.
pub(super) fn interpolate(text: &str, mut fetch: impl FnMut(&str) -> Result<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let end = inner.find('}').ok_or("`${` is never closed by `}`")?;
        out.push_str(&fetch(&inner[..end])?);
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        let good = [("500ms", 500), ("90s", 90_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("0s", 0)];
        for (text, millis) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "15", "-1s", "soon", "1x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary() {
        let good = [("0", 0), ("512B", 512), ("64KiB", 65_536), ("64KB", 64_000), ("10MiB", 10_485_760)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_are_filled_in() {
        let fetch = |name: &str| if name == "env:A" { Ok("x".to_owned()) } else { Err(format!("no {name}")) };

        assert_eq!(interpolate("a${env:A}b${env:A}", fetch), Ok("axbx".to_owned()));
        assert_eq!(interpolate("plain $5 {}", fetch), Ok("plain $5 {}".to_owned()));
        assert_eq!(interpolate("${env:B}", fetch), Err("no env:B".to_owned()));
        assert!(interpolate("${env:A", fetch).is_err());
    }
}
