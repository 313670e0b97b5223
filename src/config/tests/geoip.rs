//! Databases of places: when one has to be there, and what a reload does with another.

use super::*;
use crate::geoip::mmdb::mmdb;

fn with(directory: &std::path::Path, extra: &str) -> Result<Loaded, Report> {
    load_text(&format!("{SMALL}\n[geoip]\nenabled = true\ndir = \"{}\"\n{extra}", directory.display()))
}

#[test]
fn a_missing_database_warns_or_stops_as_the_file_says() {
    let directory = tempfile::tempdir().unwrap();

    let loaded = with(directory.path(), "").unwrap();
    assert_eq!(loaded.settings.geoip.missing, [directory.path().join("GeoLite2-City.mmdb")]);
    assert!(loaded.warnings.to_string().contains("until then nothing is known of any place"), "{}", loaded.warnings);

    let refused = with(directory.path(), "required = true").unwrap_err().to_string();
    assert!(refused.contains("GeoLite2-City.mmdb` is not there") && refused.contains("geoipupdate"), "{refused}");
    for (bad, says) in [("editions = []", "no database"), ("editions = [\"../x\"]", "no name of a database")] {
        let refused = with(directory.path(), bad).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn a_newer_database_is_a_change_and_the_same_one_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("GeoLite2-City.mmdb");
    let load = |built: u64| {
        std::fs::write(&path, mmdb(&[], built)).unwrap();
        with(directory.path(), "").unwrap().settings
    };
    let (old, same, newer) = (load(1), load(1), load(2));

    assert!(changes(&old, &same).applied.is_empty());
    assert_eq!(changes(&old, &newer).applied, ["geoip"]);
}
