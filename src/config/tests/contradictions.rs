//! Keys that contradict each other, or mean nothing here.

use super::{SMALL, messages};

#[test]
fn contradictions_are_refused() {
    let production = "[server]\npublic_url = \"https://app.example.com\"\n[email]\nprovider = \"smtp\"\n";
    let cases = [
        ("[server]\npublic_url = \"https://app.example.com\"\n", "console mail would leave codes lying about"),
        (production, "shows the built-in `whoami:` page to everybody"),
        ("[server.management]\naddr = \"0.0.0.0:9901\"\n", "needs `token`"),
        ("[token_delivery]\ncookie = { secure = \"true\" }\n", "contradicts `server.public_url`"),
        ("[token_delivery]\ncookie = { same_site = \"none\" }\n", "needs an https"),
        ("[login]\nlogin_url = \"/login\"\n", "lies behind route `/`"),
        ("[password]\nmin_length = 20\nmax_length = 10\n", "is above `password.max_length`"),
        ("[security]\nreturn_to_origins = [\"*\"]\n", "would let every site in"),
        ("[mfa]\nenforced = true\n", "unknown key `enforced` in `[mfa]`"),
        ("[mfa]\nmethods = []\n", "nobody could set up a second factor"),
        ("[mfa]\nissuer = \"a:b\"\n", "holds a colon"),
        ("[mfa]\ntrust = { devices = \"never\", bypass = true }\n", "no device is ever trusted"),
        ("[mfa]\ntotp = { step = \"1500ms\" }\n", "must be whole seconds"),
        ("[mfa]\ncodes = { ttl = \"30s\" }\n", "must be longer than every `resend_delay`"),
        ("[audit]\nsink = [\"stdout\"]\n", "`stdout` is none of `stdout-json`"),
        ("[audit]\nsink = [\"file:audit.jsonl\"]\n", "a file needs an absolute path"),
        ("[audit]\nsink = [\"webhook:siem\"]\n", "`webhook:siem` names no webhook"),
        ("[audit]\nsink = [\"stdout-json\", \"stdout-json\"]\n", "is there twice"),
        ("[audit]\nenabled = false\nsink = [\"stdout-json\"]\n", "while `audit.enabled` is false"),
        ("[mfa]\nrequire_for_roles = [\"admn\"]\n", "did you mean `admin`?"),
        (
            "[server]\npublic_url = \"https://app.example.com\"\n[email]\nprovider = \"smtp\"\n[mfa]\nmethods = [\"sms\"]\n",
            "`mfa.methods` has `sms`",
        ),
        ("[[routes]]\npath = \"/auth/x\"\nupstream = \"app\"\n", "which nauth answers itself"),
        ("[[routes]]\nname = \"second\"\npath = \"/\"\nupstream = \"app\"\n", "takes the same requests"),
        ("[[routes]]\npath = \"/admin\"\nupstream = \"app\"\nroles = [\"admn\"]\n", "did you mean `admin`?"),
        ("[[routes]]\npath = \"~^/x/[0-9]+$\"\nupstream = \"app\"\n", "is never reached: route `/` takes every path"),
        (
            "[[routes]]\npath = \"~^/x\"\nhosts = [\"a.example\"]\nupstream = \"app\"\nrewrite = \"/y\"\n",
            "names no part of",
        ),
        (
            "[[routes]]\npath = \"/x\"\nupstream = \"app\"\nstrip_prefix = true\nrewrite = \"/y\"\n",
            "both say what becomes",
        ),
        (
            "[[routes]]\npath = \"/x\"\nupstream = \"app\"\naccess = \"public\"\nroles = [\"admin\"]\n",
            "`roles` needs `access",
        ),
    ];
    for (text, expected) in cases {
        let found = messages(&format!("{text}{SMALL}"));
        assert!(found.iter().any(|message| message.contains(expected)), "{text}: {found:?}");
    }
}
