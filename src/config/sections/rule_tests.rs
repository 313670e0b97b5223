//! `[[tests]]`

use std::collections::BTreeSet;

use crate::config::reader::Section;
use crate::config::sections::accounts::role;
use crate::config::settings::{Described, RuleTest};
use crate::domain::assurance::Aal;
use crate::domain::outcome::{Outcome, Persona};
use crate::domain::user::Role;

pub(super) fn tests(root: &mut Section<'_>, roles: &BTreeSet<Role>) -> Vec<RuleTest> {
    let sections = root.sections("tests");
    if sections.is_empty() {
        let mut absent = root.absent("tests");
        request(&mut absent);
        persona(&mut absent, roles);
        expect(&mut absent);
    }
    sections.into_iter().filter_map(|section| test(section, roles)).collect()
}

/// `None` for one with an error, which is reported.
fn test(mut s: Section<'_>, roles: &BTreeSet<Role>) -> Option<RuleTest> {
    let origin = s.origin();
    let request = request(&mut s);
    let described = s.has("as");
    let persona = persona(&mut s, roles);
    let expect = expect(&mut s);
    s.finish();
    Some(RuleTest { origin, request: request?, persona: described.then_some(persona), expect: expect? })
}

fn request(s: &mut Section<'_>) -> Option<Described> {
    let doc = "A request: `GET https://app.example.com/admin`, or `GET /admin` for `server.public_url`. A `GET` is asked \
               as a browser that opens a page, everything else as a page of the same origin.";
    let read = s.text("request", "", doc).parse();
    reported(s, "request", read, "write it as \"GET https://app.example.com/admin\"")
}

fn persona(parent: &mut Section<'_>, known: &BTreeSet<Role>) -> Persona {
    let mut s = parent.section("as");
    let roles =
        s.list("roles", "[]", "Roles of who asks. Without `as` it is somebody unknown.", |text| role(text, known));
    let default = Persona::default();
    let persona = Persona {
        roles: roles.unwrap_or_default().iter().map(Role::to_string).collect(),
        scopes: s.list("scopes", "[]", "Scopes of the credential.", |text| Ok(text.to_owned())).unwrap_or_default(),
        aal: if s.integer("aal", 1, 1..=2, "Assurance of the login: 2 is a second factor.") == 2 {
            Aal::Two
        } else {
            default.aal
        },
        email_verified: s.boolean("email_verified", true, "Whether the address is proven."),
        auth_age: s.duration("auth_age", "0s", "How long ago the login was."),
    };
    s.finish();
    persona
}

fn expect(s: &mut Section<'_>) -> Option<Outcome> {
    let doc = "What must come of it: `allow`, `login`, `step_up`, `not_found`, or `deny:` and one of `role`, `scope`, \
               `verified_email`, `upgrade`, `cross_site`, `origin`, `no_session`, `method`, `host`, `bad_request`.";
    let read = s.text("expect", "", doc).parse();
    reported(s, "expect", read, "what must come of the request, such as \"allow\" or \"deny:role\"")
}

/// What was read of a test that is written.
fn reported<T>(s: &Section<'_>, key: &str, read: Result<T, String>, hint: &str) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(message) if s.at().is_some() => {
            s.error(key, if s.has(key) { message } else { format!("a test needs `{key}`") }, hint);
            None
        }
        Err(_) => None,
    }
}
