//! `[geoip]`

use std::path::Path;

use crate::config::reader::Section;
use crate::config::settings::GeoIp;
use crate::geoip::{Database, Databases, OpenError};

const BRING: &str = "put the databases there, such as with MaxMind's `geoipupdate`";

pub(super) fn geoip(root: &mut Section<'_>, data_dir: &Path) -> GeoIp {
    let mut s = root.section("geoip");
    let doc = "Whether the addresses of logins are looked up in databases in MaxMind's format: sessions then tell country \
               and city, and `[mfa.adaptive]` can tell places apart. Nothing leaves this machine for it.";
    let enabled = s.boolean("enabled", false, doc);
    let doc = "Where the databases lie. Empty means `{data_dir}/geoip`. They are read at the start and with every reload \
               (`POST /reload`), not watched.";
    let dir = s.optional("dir", doc).map_or_else(|| data_dir.join("geoip"), Into::into);
    let doc = "The databases, as `{edition}.mmdb`; what one does not know the next one may. City databases tell places \
               within a country apart, country databases do not.";
    let editions = s.list("editions", "[\"GeoLite2-City\"]", doc, edition);
    let editions = editions.unwrap_or_else(|| vec!["GeoLite2-City".to_owned()]);
    if editions.is_empty() {
        s.error("editions", "there is no database to look addresses up in", "name one, such as \"GeoLite2-City\"");
    }
    s.choice(
        "source",
        "disk",
        &[("disk", ())],
        "Where databases come from: `disk` means somebody else puts them there.",
    );
    let doc = "Whether nauth refuses to start without them. Without, nothing is known of any place.";
    let required = s.boolean("required", false, doc);
    let mut settings = GeoIp { enabled, dir, databases: Databases::default(), missing: Vec::new() };
    if enabled {
        open(&s, &mut settings, &editions, required);
    }
    s.finish();
    settings
}

/// Opens what is there. A damaged database is an error, whether one is required or not.
fn open(s: &Section<'_>, settings: &mut GeoIp, editions: &[String], required: bool) {
    let mut databases = Vec::new();
    for edition in editions {
        match Database::open(&settings.dir.join(format!("{edition}.mmdb"))) {
            Ok(database) => databases.push(database),
            Err(OpenError::Missing(path)) => {
                let message = format!("`{}` is not there", path.display());
                if required {
                    s.error("editions", message, BRING);
                } else {
                    s.warning("editions", message, format!("{BRING}; until then nothing is known of any place"));
                }
                settings.missing.push(path);
            }
            Err(error) => s.error("editions", error.to_string(), BRING),
        }
    }
    settings.databases = databases.into_iter().collect();
}

/// The name of a database: a file's, without its ending.
fn edition(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.len() <= 100 && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no name of a database; they are named like `GeoLite2-City`"))
}
