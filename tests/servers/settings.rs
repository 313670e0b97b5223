//! What `[database]` says of a test's database, read as nauth reads it.

use nauth::config::Environment;
use nauth::config::settings::{Database, Settings};

use crate::servers::Room;

impl Room {
    /// `[database]` of this one, with these lines beside.
    pub(crate) fn settings(&self, lines: &str) -> Database {
        let schema = self.schema.as_deref().unwrap_or_default();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nauth.toml");
        let text = format!(
            "[database]\nurl = \"{}\"\nschema = \"{schema}\"\n{lines}\n\n[[upstreams]]\nname = \"app\"\n\
             targets = [\"whoami:\"]\n\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n",
            self.url
        );
        std::fs::write(&path, text).unwrap();
        let loaded = nauth::config::load(&path, &Environment::default()).unwrap_or_else(|report| panic!("{report}"));
        Settings::clone(&loaded.settings).database
    }
}
