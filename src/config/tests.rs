//! The shipped configuration, and what is found in broken ones.

use std::path::{Path, PathBuf};

use crate::diagnostic::render;
use super::load::load_with;
use super::*;
use crate::route::Number;
use crate::sdp::Codec;
use crate::speech::Engine;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A copy of what ships, to be broken.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        for dir in ["sip-config", "sip-config/trunks", "dialplans"] {
            std::fs::create_dir_all(copy.path(dir)).unwrap();
            for entry in std::fs::read_dir(Path::new(ROOT).join(dir)).unwrap() {
                let from = entry.unwrap().path();
                if from.is_file() {
                    std::fs::copy(&from, copy.path(dir).join(from.file_name().unwrap())).unwrap();
                }
            }
        }
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(self.path(name), text.replace(from, to)).unwrap();
    }

    fn load(&self) -> Result<Config, String> {
        let env = |name: &str| match name {
            "TRUNK_PASSWORD" => Some("from-env".to_owned()),
            "EMPTY" => Some(String::new()),
            "CREDENTIALS_DIRECTORY" => Some(self.path("credentials").display().to_string()),
            _ => None,
        };
        let root = format!("{}/", self.0.path().display());
        load_with(&self.path("sip-config"), &env).map_err(|found| render(&found).replace(&root, ""))
    }
}

const ENGINE: &str = "sip-config/callahead.toml";
const TRUNK: &str = "sip-config/trunks/practice.toml";
const NUMBERS: &str = "sip-config/numbers.toml";
const PHONES: &str = "sip-config/phones.toml";

#[test]
fn what_ships_runs_as_it_is() {
    let config = Config::load(&Path::new(ROOT).join("sip-config"))
        .unwrap_or_else(|found| panic!("{}", render(&found)));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8088");
    assert_eq!(config.dialplans, Path::new(ROOT).join("dialplans"));
    assert_eq!(config.calls.lead, Duration::from_secs(45 * 60));
    let trunk = &config.trunks["practice"];
    assert_eq!((trunk.host.as_str(), trunk.port, trunk.domain()), ("127.0.0.1", Some(5070), "127.0.0.1"));
    assert_eq!(trunk.password.as_ref().map(crate::pii::Secret::reveal), Some("practice-only"));
    assert_eq!(trunk.register, Some(Register { expires: Duration::from_secs(600) }));
    assert_eq!(trunk.caller.number, "+12025550100".parse::<Number>().unwrap());
    assert_eq!((trunk.options_every, trunk.serves.len()), (None, 0), "it registers");
    assert_eq!(trunk.codecs, [Codec::Pcmu, Codec::Pcma]);
    assert!(!format!("{config:?}").contains("practice-only"));
    for plan in ["delivery-confirm", "eta-update", "inbound-menu", "opt-out"] {
        assert!(config.plan(plan).is_some(), "{plan}");
    }
    assert_eq!(config.voices.get("es-MX").map(|voice| voice.engine), Some(Engine::EspeakNg));
}

#[test]
fn the_least_that_can_be_written_and_comparing() {
    let copy = Copy::new();
    let before = copy.load().unwrap();
    assert_eq!(copy.load().unwrap(), before);
    let least = "depot = \"D\"\nvoices = { en = { engine = \"flite\", voice = \"rms\" }, es = { engine = \"espeak-ng\", voice = \"es\" }, \
                 de = { engine = \"espeak-ng\", voice = \"de\" } }\n[calls]\ndefault_country = \"GB\"\n";
    std::fs::write(copy.path(ENGINE), least).unwrap();
    std::fs::write(
        copy.path(TRUNK),
        "host = \"sip.example.net\"\ncaller_id = \"+442071838750\"\ncountry = \"GB\"\n",
    )
    .unwrap();
    let config = copy.load().unwrap();
    assert_ne!(config, before);
    assert_eq!(
        (config.calls.max_attempts, config.limits.max_calls, config.media.rtp_ports),
        (3, 50, (20_000, 29_999))
    );
    let trunk = &config.trunks["practice"];
    assert_eq!((trunk.register, trunk.port, trunk.username.as_deref()), (None, None, None));
    assert_eq!((trunk.transport, trunk.advertised), (None, Advertised::Auto));
    assert_eq!(trunk.options_every, Some(Duration::from_secs(30)), "nothing else says whether it lives");
    assert_eq!(config.routing, Routing { strategy: crate::route::Strategy::Priority, forbidden: Vec::new() });
}

#[test]
fn every_key_of_a_trunk_is_documented_and_read() {
    let copy = Copy::new();
    let guide = std::fs::read_to_string(Path::new(ROOT).join("docs/trunks.md")).unwrap();
    let example = guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    std::fs::write(copy.path(TRUNK), example).unwrap();
    let trunks = copy.path("sip-config/trunks");
    for (name, what) in [("ca.pem", "CERTIFICATE"), ("depot.pem", "CERTIFICATE"), ("depot.key", "EC PRIVATE KEY")] {
        std::fs::write(trunks.join(name), format!("-----BEGIN {what}-----\n")).unwrap();
    }
    let config = copy.load().unwrap();
    let trunk = &config.trunks["practice"];
    let number = |text: &str| text.parse::<Number>().unwrap();
    let tls = Tls {
        ca: Some(trunks.join("ca.pem")),
        client: Some((trunks.join("depot.pem"), trunks.join("depot.key"))),
        server_name: Some("sip.example.net".to_owned()),
    };
    assert_eq!((trunk.transport, &trunk.tls), (Some(Transport::Tls), &tls));
    let proxy = Proxy { host: "proxy.example.net".to_owned(), port: Some(5061) };
    assert_eq!(trunk.outbound_proxy, Some(proxy));
    let advertised = Advertised::Fixed { ip: [203, 0, 113, 7].into(), port: Some(5061) };
    assert_eq!((trunk.advertised, trunk.options_every), (advertised, Some(Duration::from_secs(30))));
    assert_eq!(trunk.dialled(&number("+442071838750")), "02071838750");
    assert_eq!(trunk.dialled(&number("+353123456789")), "00353123456789");
    assert_eq!(trunk.caller.number_for(&number("+491711234567")).e164(), "+494012345678");
    assert_eq!(crate::route::price(&number("+447911123456"), &trunk.cost), Some(crate::route::Price(20_000)));
    assert_eq!((trunk.serves.len(), trunk.breaker.failures, trunk.priority), (3, 5, 10));
    assert!(trunk.caller.asserted_identity && !trunk.caller.anonymous);
}

#[test]
fn dns_servers_are_addresses_with_or_without_a_port() {
    let copy = Copy::new();
    assert!(copy.load().unwrap().sip.dns.is_empty());
    copy.edit(ENGINE, "[sip]", "[sip]\ndns = [\"10.0.0.2\", \"[::1]:5353\", \"2001:db8::1\"]");
    let dns: Vec<String> = copy.load().unwrap().sip.dns.iter().map(ToString::to_string).collect();
    assert_eq!(dns, ["10.0.0.2:53", "[::1]:5353", "[2001:db8::1]:53"]);
    copy.edit(ENGINE, "\"10.0.0.2\"", "\"ns.example.net\"");
    let found = copy.load().unwrap_err();
    assert!(found.contains("this is not the IP address of a DNS server"), "{found}");
}

#[test]
fn secrets_come_from_three_places() {
    let copy = Copy::new();
    std::fs::create_dir(copy.path("credentials")).unwrap();
    std::fs::write(copy.path("credentials/trunk"), "# why\n\n  from-systemd  \n").unwrap();
    let mut last = "{ file = \"practice.password\" }";
    for (place, secret) in
        [("{ env = \"TRUNK_PASSWORD\" }", "from-env"), ("{ credential = \"trunk\" }", "from-systemd")]
    {
        copy.edit(TRUNK, last, place);
        let config = copy.load().unwrap();
        assert_eq!(config.trunks["practice"].password.as_ref().map(crate::pii::Secret::reveal), Some(secret));
        last = place;
    }
}

/// A line that other keys can take the place of.
const SOME: &str = "codecs    = [\"PCMU\", \"PCMA\"]";

const PASSWORD: &str =
    "{ file = \"practice.password\" }     # or { env = \"NAME\" }, or { credential = \"name\" } with systemd";

/// The file, what is changed in it, into what, and what must be said about that.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const BROKEN: &[Case] = &[
    (
        TRUNK,
        PASSWORD,
        "\"hunter2\"",
        &["`password` must not stand in this file", "practice.toml:9:13", "password  = ………", "{ env = "],
    ),
    (
        TRUNK,
        PASSWORD,
        "{ env = \"NO_SUCH\" }",
        &["`NO_SUCH` cannot be read: it is not set", "export NO_SUCH=..."],
    ),
    (TRUNK, PASSWORD, "{ env = \"EMPTY\" }", &["`EMPTY` cannot be read: it is empty"]),
    (TRUNK, PASSWORD, "{ file = \"gone\" }", &["the file `gone` cannot be read", "relative to this file"]),
    (TRUNK, PASSWORD, "{ credential = \"../x\" }", &["its name must be one word", "LoadCredential"]),
    (TRUNK, PASSWORD, "{ env = \"A\", file = \"B\" }", &["exactly one of `env`, `file` and `credential`"]),
    (TRUNK, "\"udp\"", "\"carrier-pigeon\"", &["is not a value of `transport`", "`udp`, `tcp`, `tls`"]),
    (TRUNK, "\"udp\"", "\"udp\"\ntls = { ca = \"x\" }", &["`tls` without `transport", "practice.toml:8:1"]),
    (TRUNK, "\"udp\"", "\"tls\"\ntls = { ca = \"x.pem\" }", &["`x.pem` cannot be read", "relative to this file"]),
    (
        TRUNK,
        "\"udp\"",
        "\"tls\"\ntls = { certificate = \"practice.toml\" }",
        &["no line `-----BEGIN CERTIFICATE-----`", "openssl x509"],
    ),
    (TRUNK, "\"udp\"", "\"tls\"\ntls = { kee = \"k\" }", &["unknown key `kee` in `tls`", "did you mean `key`?"]),
    (TRUNK, "\"udp\"", "\"tls\"\ntls = \"yes\"", &["`tls` must be a table", "tls = { ca = "]),
    (TRUNK, SOME, "outbound_proxy = \"sip:proxy\"", &["`outbound_proxy`: ", "proxy.example.net:5060"]),
    (TRUNK, SOME, "outbound_proxy = \"proxy:0\"", &["port is not a number from 1 to 65535"]),
    (TRUNK, SOME, "advertised = \"depot.example\"", &["neither `auto` nor an IP address", "203.0.113.7"]),
    (TRUNK, SOME, "advertised = \"0.0.0.0\"", &["nobody can reach"]),
    (TRUNK, SOME, "options_every = \"1s\"", &["too often", "from 5s to 1h"]),
    (TRUNK, SOME, "options_every = 30", &["must be a length of time in quotes"]),
    (TRUNK, SOME, "srtp = \"required\"", &["not supported yet", "srtp = \"off\""]),
    (TRUNK, SOME, "anonymous = \"yes\"", &["must be true or false"]),
    (
        TRUNK,
        SOME,
        "caller_ids = [\n  { caller_id = \"+493012345678\" },\n]",
        &["needs either `prefix` or `country`", "practice.toml:19:3"],
    ),
    (
        TRUNK,
        SOME,
        "caller_ids = [{ prefix = \"+49\", caller_id = \"030123\" }]",
        &["`caller_id`: a number without a country"],
    ),
    (TRUNK, SOME, "rewrite = [{ prefix = \"0044\", replace = \"0\" }]", &["`0044` in `prefix` is no prefix: it does not begin with `+`", "write \"+44\""]),
    (TRUNK, SOME, "rewrite = [{ prefix = \"+44\" }]", &["a line of `rewrite` has no `replace`", "replace = \"0\""]),
    (TRUNK, SOME, "rewrite = [{ prefix = \"+44\", replace = \"zero\" }]", &["is dialled as it is", "strip the prefix"]),
    (
        TRUNK,
        SOME,
        "rewrite = [{ prefix = \"+\", replace = \"00\" }, { prefix = \"+44\", replace = \"0\" }]",
        &["entry 2 of `rewrite` is never used", "the longer prefix first"],
    ),
    (TRUNK, SOME, "serves = []", &["`serves` is empty", "remove the line"]),
    (TRUNK, SOME, "serves = \"+44\"", &["`serves` must be a list", "[\"+44\", \"+353\"]"]),
    (TRUNK, SOME, "serves = [\"+44 20\"]", &["without blanks"]),
    (TRUNK, SOME, "cost = [{ prefix = \"+44\", per_minute = -1 }]", &["a number from 0 to 1000", "0.008"]),
    (TRUNK, SOME, "cost = [{ prefix = \"+44\", per_minute = \"1\" }]", &["`per_minute` must be a number"]),
    (
        TRUNK,
        SOME,
        "cost = [{ prefix = \"+44\", per_minute = 1 }, { prefix = \"+44\", per_minute = 2 }]",
        &["entry 2 of `cost` is never used"],
    ),
    (TRUNK, "failures = 5", "failures = 0", &["`failures` is out of range", "from 1 to 1000"]),
    (TRUNK, "failures = 5", "failure = 5", &["unknown key `failure` in `breaker`", "did you mean `failures`?"]),
    (ENGINE, "\"priority\"", "\"cheapest\"", &["`cheapest` is not a value of `strategy`", "`cost`"]),
    (ENGINE, "\"+1900\"", "\"1900\"", &["`1900` in `forbidden` is no prefix"]),
    (
        TRUNK,
        "\"+12025550100\"",
        "\"2025550100\"",
        &["a number without a country", "caller_id = \"+442071838750\""],
    ),
    (TRUNK, "\"+12025550100\"", "\"+1911\"", &["`caller_id`: "]),
    (TRUNK, "max_cps", "max_cpu", &["unknown key `max_cpu` in the file", "did you mean `max_cps`?"]),
    (TRUNK, "\"PCMA\"]", "\"G729\"]", &["`G729` is not a value of `codecs`", "`PCMU`, `PCMA`"]),
    (TRUNK, "\"127.0.0.1\"", "\"sip:127.0.0.1\"", &["this is not a host"]),
    (TRUNK, "\"US\"", "\"us\"", &["this is not a country"]),
    (TRUNK, "username  = \"depot\"", "", &["`password` without `username`", "`register` without `username`"]),
    (ENGINE, "depot = ", "depo = ", &["unknown key `depo`", "did you mean `depot`?"]),
    (ENGINE, "[20000, 29999]", "[29999, 20000]", &["no room for calls"]),
    (ENGINE, "[20000, 29999]", "[80, 29999]", &["from 1024 to 65535"]),
    (
        ENGINE,
        "\"127.0.0.1:8088\"",
        "\"localhost\"",
        &["not an IP address with a port", "listen = \"127.0.0.1:8088\""],
    ),
    (ENGINE, "\"UTC\"", "\"Mars/Base\"", &["`zone`: ", "Europe/London"]),
    (
        ENGINE,
        "\"festival\"",
        "\"festivl\"",
        &["`festivl` is not a value of `engine`", "did you mean `festival`?"],
    ),
    (ENGINE, "cmu_us_slt_arctic_hts", "x') (system 'ls", &["not the name of a voice"]),
    (
        ENGINE,
        "\"delivery-confirm\"",
        "\"delivery-confrim\"",
        &["there is no plan `delivery-confrim`", "did you mean `delivery-confirm`?"],
    ),
    (ENGINE, "de = {", "fr = {", &["speaks `de`, for which there is no voice", "add `de = {"]),
    (ENGINE, "[limits]", "[limit]", &["unknown key `limit` in the file", "did you mean `limits`?"]),
    (
        NUMBERS,
        "plan = \"inbound-menu\"",
        "plan = \"inbound-menus\"",
        &["there is no plan `inbound-menus`", "numbers.toml:5:8", "did you mean `inbound-menu`?"],
    ),
    (
        NUMBERS,
        "plan = \"inbound-menu\"",
        "plan = \"eta-update\"",
        &["the plan `eta-update` cannot answer calls", "add `vars = {", "numbers.toml:4:2"],
    ),
    (NUMBERS, "plan = \"inbound-menu\"", "", &["has no `plan`", "add `plan = \"inbound-menu\"`"]),
    (NUMBERS, "\"+12025550100\"", "\"2025550100\"", &["a number without a country", "[\"+442071838750\"]"]),
    (NUMBERS, "# trunks   = [\"practice\"]", "trunks = [\"practise\"] #", &["did you mean `practice`?"]),
    (PHONES, "# [phone.desk]", "[phone.desk]", &["[phone.desk] has no `number`", "has no `password`"]),
    (
        PHONES,
        "# [phone.desk]",
        "[phone.desk]\nnumber = \"+12025550100\"\npassword = { env = \"TRUNK_PASSWORD\" }",
        &["the number of `desk` is answered by a plan in numbers.toml"],
    ),
    (
        PHONES,
        "# [phone.desk]",
        "[phone.desk]\nnumber = \"+12025550180\"\npassword = \"hunter2\"",
        &["`password` must not stand in this file", "phones.toml:8:12"],
    ),
    (PHONES, "# [phone.desk]", "[phones.desk]", &["unknown key `phones`", "did you mean `phone`?"]),
    (
        "dialplans/opt-out.toml",
        "\"stop\"",
        "\"stopp\"",
        &["there is no step `stopp`", "dialplans/opt-out.toml:12:18"],
    ),
];

#[test]
fn broken_settings_are_explained() {
    let mut wrong = Vec::new();
    for (file, from, to, expected) in BROKEN {
        let copy = Copy::new();
        copy.edit(file, from, to);
        let found = copy.load().expect_err(to);
        let missing = expected.iter().filter(|words| !found.contains(**words));
        wrong.extend(missing.map(|words| format!("{to}: `{words}` is not in\n{found}")));
        assert!(!found.contains("hunter2"), "{found}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_is_examined_before_anything_is_said() {
    let copy = Copy::new();
    copy.edit(TRUNK, "max_calls", "max_cals");
    copy.edit("dialplans/opt-out.toml", "title ", "titel ");
    copy.edit(ENGINE, "workers", "worker");
    std::fs::write(copy.path("sip-config/trunks/My Trunk.toml"), "").unwrap();
    std::fs::write(copy.path("dialplans/bytes.toml"), b"title = \"\xff\"").unwrap();
    let found = copy.load().unwrap_err();
    for words in [
        "`max_cals`",
        "`titel`",
        "`worker`",
        "`My Trunk` cannot be used as a name",
        "this file is not UTF-8: byte 9",
    ] {
        assert!(found.contains(words), "`{words}` is not in\n{found}");
    }
}

#[test]
fn numbers_and_phones_are_read_and_may_be_absent() {
    let copy = Copy::new();
    let phones = "[phone.desk]\nnumber = \"+12025550180\"\npassword = { env = \"TRUNK_PASSWORD\" }\n";
    std::fs::write(copy.path(PHONES), phones).unwrap();
    let config = copy.load().unwrap();
    let did = &config.numbers[&"+12025550100".parse::<Number>().unwrap()];
    assert_eq!((did.plan.as_str(), did.ring, did.trunks.len()), ("inbound-menu", Duration::ZERO, 0));
    let desk = &config.phones["desk"];
    assert_eq!((desk.number.e164(), desk.max_contacts, desk.md5_only), ("+12025550180", 3, false));
    assert_eq!(config.telephone(&desk.number), Some(desk));
    assert_eq!(config.telephone(&"+12025550100".parse().unwrap()), None);
    assert_eq!(desk.password.reveal(), "from-env");
    let again = phones.replace("[phone.desk]", "[phone.shed]") + phones;
    std::fs::write(copy.path(PHONES), again).unwrap();
    assert!(copy.load().unwrap_err().contains("have the same number"));
    std::fs::remove_file(copy.path(PHONES)).unwrap();
    std::fs::remove_file(copy.path(NUMBERS)).unwrap();
    let config = copy.load().unwrap();
    assert!(config.numbers.is_empty() && config.phones.is_empty());
}

#[test]
fn missing_files_are_named() {
    let copy = Copy::new();
    std::fs::remove_file(copy.path(TRUNK)).unwrap();
    assert!(copy.load().unwrap_err().contains("there is no trunk"));
    std::fs::remove_dir_all(copy.path("dialplans")).unwrap();
    assert!(copy.load().unwrap_err().contains("dialplans\n"));
    std::fs::remove_file(copy.path(ENGINE)).unwrap();
    let found = copy.load().unwrap_err();
    assert!(found.contains("sip-config/callahead.toml") && found.contains("--config"), "{found}");
}

#[test]
fn findings_serialise_for_editors() {
    let copy = Copy::new();
    copy.edit(ENGINE, "[limits]", "[limit]");
    let text = std::fs::read_to_string(copy.path(ENGINE)).unwrap();
    let line = text.lines().position(|line| line == "[limit]").unwrap() + 1;
    let found = Config::load(&copy.path("sip-config")).unwrap_err();
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&line.into(), &2.into()), "{json}");
    assert_eq!(json[0]["help"], "did you mean `limits`?");
}

#[test]
fn sip_is_listened_on_at_several_addresses_and_over_tls() {
    let copy = Copy::new();
    let one = rcgen::generate_simple_self_signed(["depot.example".to_owned()]).unwrap();
    std::fs::write(copy.path("sip-config/chain.pem"), one.cert.pem()).unwrap();
    std::fs::write(copy.path("sip-config/key.pem"), one.signing_key.serialize_pem()).unwrap();
    let old = "listen = \"127.0.0.1:5060\"";
    let tls = "listen_tls = \"0.0.0.0:5061\"\ncertificate = \"chain.pem\"\nkey = \"key.pem\"";
    copy.edit(ENGINE, old, &format!("listen = [\"127.0.0.1:5060\", \"[::1]:5060\"]\n{tls} "));
    let sip = copy.load().unwrap().sip;
    assert_eq!((sip.listen.len(), sip.listen_tls.len(), sip.listen_wss.len()), (2, 1, 0));
    assert_eq!(sip.identity, Some((copy.path("sip-config/chain.pem"), copy.path("sip-config/key.pem"))));

    copy.edit(ENGINE, "key = \"key.pem\"", "key = \"chain.pem\"");
    let found = copy.load().unwrap_err();
    assert!(found.contains("chain.pem: no PRIVATE KEY in it") && found.contains("key = \"chain.pem\""), "{found}");
    for (from, to, expected) in [
        ("key = \"chain.pem\"", "", "add `key = \"privkey.pem\"`"),
        ("certificate = \"chain.pem\"", "", "`listen_tls` without `certificate`"),
        ("listen_tls = \"0.0.0.0:5061\"", "certificate = \"chain.pem\"\nkey = \"key.pem\"", "add `listen_tls = "),
        ("\"[::1]:5060\"", "\"::1\"", "this is not an IP address with a port"),
    ] {
        copy.edit(ENGINE, from, to);
        let found = copy.load().unwrap_err();
        assert!(found.contains(expected), "{expected}: {found}");
    }
}
