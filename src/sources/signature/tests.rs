use super::*;

const BODY: &[u8] = br#"{"id":"evt_1","type":"a"}"#;
const SECRET: &str = "whsec_c2VjcmV0IG9mIHRlc3RzIDI0IGJ5dGVz";
const SIGNED_AT_S: i64 = 1_763_805_600;

/// Headers by name.
struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl<'a> Headers<'a> for Pairs<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }
}

fn check(service: Service, secrets: &[&str], headers: &[(&str, &str)], body: &[u8], now_s: i64) -> Result<(), Fault> {
    let keys: Vec<Vec<u8>> = secrets.iter().map(|secret| key_of(service, secret).expect("a key")).collect();
    verify(service, keys.iter().map(Vec::as_slice), &Pairs(headers), body, now_s)
}

type Signing = (Service, &'static [(&'static str, &'static str)]);

/// Made by Python:
///
/// ```text
/// import base64, hashlib, hmac
/// body, secret, t = b'{"id":"evt_1","type":"a"}', b'whsec_c2VjcmV0IG9mIHRlc3RzIDI0IGJ5dGVz', b'1763805600'
/// sign = lambda key, text, how=hashlib.sha256: hmac.new(key, text, how)
/// sign(secret, t + b'.' + body).hexdigest()                                   # Stripe
/// sign(secret, body).hexdigest()                                              # GitHub
/// base64.b64encode(sign(secret, body).digest())                               # Shopify
/// sign(secret, b'v0:' + t + b':' + body).hexdigest()                          # Slack
/// sign(secret, body, hashlib.sha1).hexdigest()                                # Intercom
/// base64.b64encode(sign(base64.b64decode(secret[6:]), b'msg_1.' + t + b'.' + body).digest())
/// ```
const SIGNINGS: [Signing; 7] = [
    (
        Service::Stripe,
        &[(
            "stripe-signature",
            "t=1763805600,v1=49576b582541e4c9f479edc48a922cf108a16f33ecc91bfe79da728d0bb1daee,v0=6ffbb59b",
        )],
    ),
    (
        Service::Github,
        &[("x-hub-signature-256", "sha256=3d2d1b6963df171cf3a455039af1a04a6777fc78117f1072bc0c8abe4fdfebf9")],
    ),
    (Service::Shopify, &[("x-shopify-hmac-sha256", "PS0baWPfFxzzpFUDmvGgSmd3/HgRfxByvAyKvk/f6/k=")]),
    (
        Service::Slack,
        &[
            ("x-slack-signature", "v0=94a89f55a0b4d9a042ff7a19846e11f6408700959ae61f572f69d795683e3c58"),
            ("x-slack-request-timestamp", "1763805600"),
        ],
    ),
    (Service::Intercom, &[("x-hub-signature", "sha1=dd607f3c8916fcb47896f0e34a5c97648a0bd53d")]),
    (
        Service::Standard,
        &[
            ("webhook-signature", "v1a,AAAA v1,8KqxqikhdnSoJbizPusqM1jM7C0jdGCbondicNCaK3E="),
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", "1763805600"),
        ],
    ),
    (
        Service::Standard,
        &[
            ("svix-signature", "v1,AAAA v1,8KqxqikhdnSoJbizPusqM1jM7C0jdGCbondicNCaK3E="),
            ("svix-id", "msg_1"),
            ("svix-timestamp", "1763805600"),
        ],
    ),
];

#[test]
fn each_service_is_believed_and_nobody_else() {
    const OTHER: &str = "whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSB0ZXN0cw==";
    for (service, headers) in SIGNINGS {
        let check = |secrets: &[&str], body: &[u8]| check(service, secrets, headers, body, SIGNED_AT_S + 10);
        assert_eq!(check(&[SECRET], BODY), Ok(()), "{service:?}");
        assert_eq!(check(&[OTHER, SECRET], BODY), Ok(()), "{service:?}: a secret that is being changed");
        assert_eq!(check(&[OTHER], BODY), Err(Fault::Wrong), "{service:?}");
        assert_eq!(check(&[], BODY), Err(Fault::Wrong), "{service:?}");
        assert_eq!(check(&[SECRET], &BODY[..BODY.len() - 1]), Err(Fault::Wrong), "{service:?}");
        assert_eq!(check(&[SECRET], br#"{"id":"evt_1", "type":"a"}"#), Err(Fault::Wrong), "{service:?}");
    }
}

#[test]
fn what_was_signed_long_ago_is_not_believed() {
    for (service, headers) in SIGNINGS {
        let is_timed = matches!(service, Service::Stripe | Service::Slack | Service::Standard);
        for (offset_s, is_near) in
            [(-300, true), (300, true), (-301, false), (301, false), (i64::MAX - SIGNED_AT_S, false)]
        {
            let expected = if is_near || !is_timed { Ok(()) } else { Err(Fault::Stale) };
            let found = check(service, &[SECRET], headers, BODY, SIGNED_AT_S + offset_s);
            assert_eq!(found, expected, "{service:?} {offset_s}");
        }
    }
}

#[test]
fn every_header_counts() {
    // The first of a signature, and the last.
    const CHANGES: [(&str, &str); 14] = [
        ("daee,", "dae0,"),
        ("ebf9", "ebf0"),
        ("6/k=", "6/g="),
        ("3c58", "3c50"),
        ("d53d", "d530"),
        ("K3E=", "K3A="),
        ("v1=4", "v1=5"),
        ("sha256=3", "sha256=4"),
        ("PS0", "QS0"),
        ("v0=9", "v0=8"),
        ("sha1=d", "sha1=c"),
        ("v1,8K", "v1,9K"),
        ("msg_1", "msg_2"),
        ("1763805600", "1763805601"),
    ];
    for (service, headers) in SIGNINGS {
        for at in 0..headers.len() {
            let without: Vec<_> =
                headers.iter().enumerate().filter(|(own, _)| *own != at).map(|(_, pair)| *pair).collect();
            let found = check(service, &[SECRET], &without, BODY, SIGNED_AT_S);
            assert!(matches!(found, Err(Fault::Missing(_))), "{service:?}: {found:?}");
            let (name, value) = headers[at];
            let changes = CHANGES.iter().filter(|(from, _)| value.contains(from));
            let others: Vec<String> = changes.map(|(from, to)| value.replacen(from, to, 1)).collect();
            assert!(!others.is_empty(), "{value}");
            for value in &others {
                let mut pairs = headers.to_vec();
                pairs[at] = (name, value);
                assert_eq!(
                    check(service, &[SECRET], &pairs, BODY, SIGNED_AT_S),
                    Err(Fault::Wrong),
                    "{service:?} {value}"
                );
            }
        }
    }
    for (service, name, value) in [
        (Service::Stripe, "stripe-signature", "v1=00"),
        (Service::Stripe, "stripe-signature", "t=1763805600,v0=00"),
        (Service::Stripe, "stripe-signature", "t=yesterday,v1=00"),
        (Service::Github, "x-hub-signature-256", "sha1=00"),
        (Service::Github, "x-hub-signature-256", "sha256=0"),
        (Service::Shopify, "x-shopify-hmac-sha256", "a-b"),
        (Service::Intercom, "x-hub-signature", "sha256=00"),
    ] {
        let found = check(service, &[SECRET], &[(name, value)], BODY, SIGNED_AT_S);
        assert!(matches!(found, Err(Fault::Malformed(_))), "{value}: {found:?}");
    }
}

#[test]
fn the_examples_that_services_publish() {
    let github = [("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")];
    let secret = "It's a Secret to Everybody";
    assert_eq!(check(Service::Github, &[secret], &github, b"Hello, World!", 0), Ok(()));
    let slack = [
        ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ("x-slack-request-timestamp", "1531420618"),
    ];
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
                trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let secret = "8f742231b10e8888abcd99yyyzzz85a5";
    assert_eq!(check(Service::Slack, &[secret], &slack, body.as_bytes(), 1_531_420_618), Ok(()));
}

#[test]
fn a_flood_of_signatures_is_not_looked_at() {
    let (_, [(_, right)]) = SIGNINGS[0] else { panic!("Stripe has one header") };
    let (time, right) = right.split_once(',').expect("a time");
    for (before, is_seen) in [(CLAIMS_MAX - 1, true), (CLAIMS_MAX, false)] {
        let value = format!("{time},{}{right}", "v1=00,".repeat(before));
        let found = check(Service::Stripe, &[SECRET], &[("stripe-signature", &value)], BODY, SIGNED_AT_S);
        assert_eq!(found.is_ok(), is_seen, "{before}");
    }
}

#[test]
fn secrets_of_the_standard_are_base64() {
    assert_eq!(key_of(Service::Standard, SECRET), key_of(Service::Standard, &SECRET[6..]));
    assert!(key_of(Service::Standard, "whsec_not base64").is_err());
    assert_eq!(key_of(Service::Stripe, SECRET).expect("a key"), SECRET.as_bytes());
}
