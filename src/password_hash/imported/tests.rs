//! Known answers from the systems that make these hashes, and texts that are none.
//!
//! The hashes were made by passlib 1.7, bcrypt 4.0, argon2-cffi 25, Django 5.2 and Python's hashlib;
//! ASP.NET's by its documented layout, Firebase's by its documented algorithm, which reproduces the
//! example of its documentation.

use proptest::prelude::*;

use super::*;
use crate::config::settings;

const PASSWORD: &[u8] = b"correct horse battery";

/// Family, whether it is fast, and the hash of [`PASSWORD`].
const KNOWN: &[(Family, bool, &str)] = &[
    (Family::Bcrypt, true, "$2a$05$tuo/4pX9mbltYvjqXguEIOjIqn852B9z2W2Ia.CPK/d/sivrN9kli"),
    (Family::Bcrypt, true, "$2b$05$aKAlAja7/RQhJMvB7zpvkeU00EB21FhxeQWRGmOx6srRCzP9J14MS"),
    (Family::Bcrypt, true, "$2y$04$k0Ljxy9IdBJeWUvOqnVmFuG0BwySc.RWIyDs/xHj5SOB6/wmscpGe"),
    (Family::Bcrypt, false, "$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va"),
    (Family::Bcrypt, true, "bcrypt$$2b$04$BmiNICUuhbOI524/rn3zxuqo0sx5znsRpKA3i4krTOk83GysmIGoe"),
    (Family::Bcrypt, true, "bcrypt_sha256$$2b$04$.ztpRm0yHpEJNNeejBx6JuxjjMaNDHXsRD1YKxQrbyQ.ztt4pgqz6"),
    (Family::Scrypt, true, "$scrypt$ln=11,r=8,p=1$AQIDBAUGBwgJCgsMDQ4PEA$l8SHixUGYQY39qntbiNxpa9kF9+SO03XUFYvDmBsaw0"),
    (Family::Scrypt, true, "$scrypt$ln=10,r=8,p=1$AQIDBAUGBwgJCgsMDQ4PEA$a56cMwd8HVAfRmojkkAR0z2hOLB9cXfHCZKONM6dq5o"),
    (
        Family::Scrypt,
        true,
        "scrypt$2048$sAltsAltsAlt$8$5$jmSRLyyT9lEGO38/xYx3nu47w+U9lNRti0fwxSpcHnU8m9w/jvIGh7Lu6nOMgB1YeMPj0jzd29mhv/nSuad06A==",
    ),
    (
        Family::FirebaseScrypt,
        false,
        "$firebase-scrypt$ln=10,r=8,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$MDEyMzQ1Njc4OQ==$2FuJEs/rS9ZXo1X8DpkPt9kT4pZkLAGxFlGApCFrMqJ09yMJsczkr/8zcviWxC3/oCynqhVZ4A0HOXehy/lZKw==",
    ),
    (
        Family::Pbkdf2,
        false,
        "$pbkdf2-sha256$i=150000,l=32$AQIDBAUGBwgJCgsMDQ4PEA$sWLyn3NEIBDf7gGpn1o/Aj6KNwySYgwMnjMBr4PyzWo",
    ),
    (
        Family::Pbkdf2,
        true,
        "$pbkdf2-sha512$i=1000$AQIDBAUGBwgJCgsMDQ4PEA$FqGPPZsHYNoZ7voU8eUI1Oom+nVJtSix4ejbLoOnr/NnmVrwQas6d78yCgKjNORvJfDsQ2aTCYd3bsDyBjh3vg",
    ),
    (Family::Pbkdf2, true, "$pbkdf2$1200$AQIDBAUGBwgJCgsMDQ4PEA$P5hHiTjoKPKrPUgHYCtphQ.Tzvw"),
    (Family::Pbkdf2, true, "$pbkdf2-sha256$1200$AQIDBAUGBwgJCgsMDQ4PEA$v.ceFcThVkFlw0tRgTl3exLN7dGR8mvc7HlRB2mLxOA"),
    (
        Family::Pbkdf2,
        true,
        "$pbkdf2-sha512$1200$AQIDBAUGBwgJCgsMDQ4PEA$1Pi.DgjqekkqLe40swGo8y/xQ5E5G98wZwohRapfTuGXrFNIFutHfYmcqKHHQgpKmTYdHwadHPkKAB6bQXRv7Q",
    ),
    (Family::Pbkdf2, true, "pbkdf2_sha256$1500$sAltsAltsAlt$Le1y3lG1QbOlokJp+74ixoRr5JJrbefPinBbex2BiEk="),
    (Family::Pbkdf2, true, "pbkdf2_sha1$1500$sAltsAltsAlt$CLGrqRuYJfDUx+UV06zheJp5FRY="),
    (Family::Pbkdf2, true, "AAECAwQFBgcICQoLDA0ODxDk8z5l6fUNJCzbl0PWyAGv6/kllsqlbspJCqrIVPfylw=="),
    (Family::Pbkdf2, true, "AQAAAAAAAAPoAAAAEAECAwQFBgcICQoLDA0ODxDk8z5l6fUNJCzbl0PWyAGv6/kllsqlbspJCqrIVPfylw=="),
    (Family::Pbkdf2, true, "AQAAAAEAACcQAAAAEAECAwQFBgcICQoLDA0ODxAf6clgWFC3n92d4PloajJRKyf5GQB2ASI4NXX+A19+LQ=="),
    (Family::Pbkdf2, false, "AQAAAAIAAYagAAAAEAECAwQFBgcICQoLDA0ODxCFENFx0MBvwxgQIZHZ9E+IIbNO62d5/mWbBlHEiudhhQ=="),
    (
        Family::Argon2i,
        false,
        "$argon2i$v=19$m=1024,t=2,p=2$AQIDBAUGBwgJCgsMDQ4PEA$+KJm/KcrFzsWbOiiFj2b7OpzpGBwjpXP8PV6abGooF4",
    ),
    (
        Family::Argon2i,
        false,
        "$argon2i$v=16$m=1024,t=2,p=1$AQIDBAUGBwgJCgsMDQ4PEA$Op1VRFYGeH7zpNk70zPMdTAOieGCPA4RBV/6YKX4sE4",
    ),
    (
        Family::Argon2d,
        false,
        "$argon2d$v=19$m=1024,t=2,p=2$AQIDBAUGBwgJCgsMDQ4PEA$9MhF441Ks0V/4d0hIKgNHJZNHhM9Crf6OgIHmBrnn8M",
    ),
    (
        Family::Argon2id,
        false,
        "$argon2id$v=19$m=1024,t=2,p=2$AQIDBAUGBwgJCgsMDQ4PEA$fSDY1LDKqEUZbrAWkEFYfNpybbpPF+w6zgKYrB+GWX4",
    ),
    (
        Family::Argon2id,
        false,
        "argon2$argon2id$v=19$m=1024,t=1,p=2$c0FsdHNBbHRzQWx0$ewGLFWbop5f4cPrBg00u2Fw0UD9BfYtfRq1sn4vgsfs",
    ),
    (Family::Sha, true, "{SHA}mN7MYuzjmaIu0w1JDvMzvn/ec4U="),
    (Family::Sha, true, "{SSHA}+zgJCcduvLFhD+Rk7/v3C0FqyKpzYWx0c2FsdA=="),
    (Family::Sha, true, "{SSHA}LtKk9DXwsT5it4rEy9EJwGahhk58z5lT"),
    (Family::Sha, true, "{SSHA256}DPX0hsx+ToYNct+PICc6u4kEWULjuq12UL+oDCUfd55zYWx0c2FsdA=="),
    (
        Family::Sha,
        true,
        "{SSHA512}QOZ0WJFlSsWxwsBsupmlywYHsTXLksvamFsJJ+kcy5d3+UwtZHlzrNVNkgUEahEnTPkf4ckoCn+PJZ9WOKzal3NhbHRzYWx0",
    ),
    (Family::Md5Crypt, true, "$1$5pZSV9va$lSTTT.dKDKq/z5A1tR7Ct0"),
    (Family::ShaCrypt, true, "$5$saltstring$Ei5pjI5XWclFQjLDfGOMwlNh9NsZierSPwLy2XgJds6"),
    (Family::ShaCrypt, true, "$5$rounds=1400$saltstring$a677V71O8hTAk2PsPgcAHpa0QbUlI7duWbv3FV47qLC"),
    (
        Family::ShaCrypt,
        true,
        "$6$saltstring$dBHc6z5hpSlx63LLGnlt2xpSGH7T2QL7PJTCjPwajfWh/K10OPeGyl0Oe5VoIANbBgC0gNnRFVE.3uO/lesxj/",
    ),
    (
        Family::ShaCrypt,
        true,
        "$6$rounds=10000$saltstring$1ab0iOcSRwj8.3m9gG8UtYavDTW654PduxDVr5ZT5o0SkUdnfvpZvsZeVEMyWU/Dfgi4j3lqAnGG9rQmlixRF.",
    ),
];

fn configured() -> Argon {
    let cost = settings::PasswordHash { memory_kib: 64, iterations: 1, parallelism: 1, threads: 1, max_queue: 8 };
    Argon::configured(&cost).unwrap()
}

#[test]
fn every_family_knows_its_passwords() {
    let mut memory = Memory::default();
    for (family, is_fast, text) in KNOWN {
        let hash = ImportedHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));

        assert_eq!((hash.family(), hash.is_fast()), (*family, *is_fast), "{text}");
        assert!(hash.is_of(PASSWORD, &mut memory), "{text}");
        for wrong in [&b"correct horse batterx"[..], b"", b"correct horse battery "] {
            assert!(!hash.is_of(wrong, &mut memory), "{text}");
        }
    }
}

#[test]
fn fast_hashes_are_verified_through_their_wrap() {
    let mut memory = Memory::default();
    for (_, _, text) in KNOWN.iter().filter(|(_, is_fast, _)| *is_fast) {
        let stored = ImportedHash::parse(text).unwrap().wrapped(&configured().salted(), &mut memory);

        let hash = ImportedHash::parse(stored.expose()).unwrap_or_else(|error| panic!("{stored:?}: {error}"));
        assert_eq!((hash.family(), hash.is_fast()), (Family::Wrapped, false), "{text}");
        assert!(hash.is_weaker_than(&configured()), "a login upgrades it");
        assert!(hash.is_of(PASSWORD, &mut memory), "{text} as {}", stored.expose());
        assert!(!hash.is_of(b"another", &mut memory), "{text}");
        let digest = text.rsplit(['$', '}']).next().unwrap();
        assert!(!stored.expose().contains(digest), "the fast digest is stored");
    }
}

#[test]
fn md5_crypt_takes_passwords_of_every_length() {
    let cases = [
        ("correct horse battery", "$1$5pZSV9va$lSTTT.dKDKq/z5A1tR7Ct0"),
        ("", "$1$5pZSV9va$DLu0KyBfk2R1Z39LqQhi01"),
        ("a", "$1$5pZSV9va$nJC6MyESDbI50nnu9Ea.v."),
        ("0123456789abcdef", "$1$5pZSV9va$g5x3wzjKT76k40l3isSYq1"),
        ("0123456789abcdefg0123456789abcdefg0123456789abcdefg", "$1$5pZSV9va$./zHLn2PrPgxXCLyebWAY0"),
        ("naïve pässword", "$1$5pZSV9va$Go8UGzE3f5/KoFTvnvJnM1"),
    ];
    for (password, text) in cases {
        assert!(ImportedHash::parse(text).unwrap().is_of(password.as_bytes(), &mut Memory::default()), "{password:?}");
    }
}

#[test]
fn bcrypt_reads_no_further_than_72_bytes() {
    let hash = ImportedHash::parse("$2b$04$p80aS.HMFdUYrxW3X1bOG.DmQRSyLZRQGDN0/NGjaqNSyLWNC4WVO").unwrap();
    let mut memory = Memory::default();

    let long = [b"x".repeat(71), b"y".to_vec()].concat();
    assert!(hash.is_of(&long, &mut memory));
    assert!(hash.is_of(&[&long[..], b"whatever"].concat(), &mut memory));
    assert!(!hash.is_of(&long[..71], &mut memory));
}

#[test]
fn the_example_of_firebases_documentation_is_verified() {
    let text = "$firebase-scrypt$ln=14,r=8,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";

    assert!(ImportedHash::parse(text).unwrap().is_of(b"user1password", &mut Memory::default()));
}

#[test]
fn what_costs_too_much_is_refused_and_told() {
    let salt = "c29tZXNhbHRzb21lc2FsdA";
    let tag = "iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A";
    let costly = [
        format!("$argon2id$v=19$m=4194304,t=3,p=1${salt}${tag}"),
        format!("$argon2i$v=19$m=1024,t=21,p=1${salt}${tag}"),
        format!("nauth-wrap$digest$h=sha1,s=$argon2id$v=19$m=4194304,t=3,p=1${salt}${tag}"),
        format!("nauth-wrap$pbkdf2$h=sha1,i=5000001,l=20,s=$argon2id$v=19$m=64,t=3,p=1${salt}${tag}"),
        "$2b$16$aKAlAja7/RQhJMvB7zpvkeU00EB21FhxeQWRGmOx6srRCzP9J14MS".to_owned(),
        format!("$scrypt$ln=18,r=16,p=1${salt}${tag}"),
        format!("$scrypt$ln=14,r=8,p=17${salt}${tag}"),
        format!("$firebase-scrypt$ln=20,r=8,ss=Bw==,sk={tag}${salt}${tag}"),
        format!("$pbkdf2-sha256$i=5000001,l=32${salt}${tag}"),
        format!("$6$rounds=2000001$salt${}", "x".repeat(86)),
    ];
    for text in costly {
        match ImportedHash::parse(&text) {
            Err(Unsupported::TooCostly { excess, .. }) => assert!(!excess.contains(salt) && !excess.contains(tag)),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_hash_is_refused_without_repeating_it() {
    let (salt, long) = ("c29tZXNhbHRzb21lc2FsdA", "A".repeat(2000));
    let texts = [
        "",
        "plain",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "{SSHA}",
        "{SHA}c2hvcnQ=",
        "{MD5}X03MO1qnZdYdgyfeuILPmQ==",
        "$1$salt$short",
        "$2b$05$short",
        "$2b$99$aKAlAja7/RQhJMvB7zpvkeU00EB21FhxeQWRGmOx6srRCzP9J14MS",
        "$scrypt$ln=10,r=0,p=1$AQID$AQID",
        "$scrypt$ln=99,r=8,p=1$AQIDBAUGBwgJCgsMDQ4PEA$a56cMwd8HVAfRmojkkAR0z2hOLB9cXfHCZKONM6dq5o",
        "$pbkdf2-sha256$i=0$AQID$AQIDBAUGBwgJCgsMDQ4PEA",
        "pbkdf2_sha256$1000$salt$",
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ",
        "nauth-wrap$",
        "nauth-wrap$digest$h=sha1,s=",
        "$5$rounds=10$salt$x",
        "AQAAAAkAACcQAAAAEAECAwQFBgcICQoLDA0ODxAf6clgWFC3n92d4PloajJRKyf5GQB2ASI4NXX+A19+LQ==",
        &format!("$argon2id$v=19$m=64,t=1,p=1${salt}$AAAA"),
        &format!("{{SSHA}}{long}"),
    ];
    for text in texts {
        let error = ImportedHash::parse(text).map(|hash| format!("{text} is a {hash:?}")).unwrap_err().to_string();
        assert!(text.len() < 12 || !error.contains(text), "{error}");
    }
}

#[test]
fn a_hash_gives_way_to_a_stronger_one_of_the_configured_kind() {
    let salt_and_tag = "c29tZXNhbHRzb21lc2FsdA$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A";
    let cases = [
        ("$argon2id$v=19$m=64,t=1,p=1$", false),
        ("$argon2id$v=19$m=128,t=1,p=1$", false),
        ("$argon2id$v=19$m=32,t=1,p=1$", true),
        ("$argon2id$v=16$m=64,t=1,p=1$", true),
        ("$argon2i$v=19$m=64,t=1,p=1$", true),
    ];
    for (settings, weaker) in cases {
        let hash = ImportedHash::parse(&format!("{settings}{salt_and_tag}")).unwrap();
        assert_eq!(hash.is_weaker_than(&configured()), weaker, "{settings}");
    }
}

#[test]
fn nothing_of_a_hash_is_shown() {
    for (_, _, text) in KNOWN {
        let shown = format!("{:?}", ImportedHash::parse(text).unwrap());
        assert!(shown.len() < 25, "{shown}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_hash_or_an_error(text in "\\PC{0,80}") {
        let _ = ImportedHash::parse(&text);
    }

    #[test]
    fn a_damaged_hash_does_no_harm(which in 0..KNOWN.len(), at in any::<prop::sample::Index>(), byte in 0x20u8..0x7f) {
        let mut text = KNOWN[which].2.as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        let hash = ImportedHash::parse(std::str::from_utf8(&text).unwrap()).ok();
        if let Some(hash) = hash.filter(|hash| hash.is_fast() && hash.family() != Family::Pbkdf2) {
            let _ = hash.is_of(PASSWORD, &mut Memory::default());
        }
    }
}
