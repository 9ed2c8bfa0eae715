//! `callahead.toml`: the engine itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostic::document::{Item, Table};
use super::trunk::{read_country, read_prefixes};
use super::{Calls, Config, Http, Limits, Media, Recordings, Routing, Whisper, sip};
use crate::route::Strategy;
use crate::speech::{Engine, Voice, Voices};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Reads the engine's settings; paths are relative to `dir`. The trunks and plans of the result are empty.
pub(super) fn read(root: &Table<'_, '_>, dir: &Path) -> Option<Config> {
    let depot = root
        .require("depot", "depot = \"Riverside Depot\"")
        .and_then(|item| item.text("\"Riverside Depot\""));
    let zone = match root.get("zone") {
        Some(item) => item.parsed("\"Europe/London\"", jiff::tz::TimeZone::get),
        None => Some(jiff::tz::TimeZone::system()),
    };
    let path = |key, default: &str| match root.get(key) {
        Some(item) => item.text("\"../data\"").map(|path| join(dir, path)),
        None => Some(join(dir, default)),
    };
    let (data, dialplans) = (path("data", "../data"), path("dialplans", "../dialplans"));
    let http = section(root, "http", |table| Some(Http { listen: listen(table, "127.0.0.1:8088")? }));
    let sip = section(root, "sip", |table| sip::read(table, dir));
    let media = section(root, "media", read_media);
    let recordings = section(root, "recordings", |table| {
        let min_free_mb = number(table, "min_free_mb", 500, 0, 100_000_000)?;
        Some(Recordings { min_free_mb: min_free_mb.into() })
    });
    let voices = read_voices(root);
    let whisper = section(root, "whisper", |table| {
        let model = table.get("model").map_or(Some("base"), |item| item.text("\"base-q8_0\""));
        let workers = number(table, "workers", 1, 1, 64);
        Some(Whisper { model: model?.to_owned(), workers: usize::try_from(workers?).ok()? })
    });
    let limits = section(root, "limits", |table| {
        let max_calls = number(table, "max_calls", 50, 1, 100_000);
        let calls_per_second = number(table, "calls_per_second", 5, 1, 10_000);
        let max_call = time(table, "max_call", 5 * MINUTE, 10 * SECOND, 4 * HOUR);
        Some(Limits { max_calls: max_calls?, calls_per_second: calls_per_second?, max_call: max_call? })
    });
    let routing = section(root, "routing", |table| {
        let strategy = table.get("strategy").map_or(Some(Strategy::Priority), |item| item.word(Strategy::WORDS));
        let forbidden = read_prefixes(table, "forbidden");
        Some(Routing { strategy: strategy?, forbidden: forbidden? })
    });
    let calls = section(root, "calls", read_calls);
    root.finish();
    Some(Config {
        depot: depot?.to_owned(),
        zone: zone?,
        data: data?,
        dialplans: dialplans?,
        http: http?,
        sip: sip?,
        media: media?,
        recordings: recordings?,
        voices: voices?,
        whisper: whisper?,
        limits: limits?,
        routing: routing?,
        calls: calls?,
        trunks: BTreeMap::new(),
        plans: BTreeMap::new(),
        numbers: BTreeMap::new(),
        phones: BTreeMap::new(),
    })
}

/// Reads `[key]`, or its defaults when it is absent.
fn section<T>(
    root: &Table<'_, '_>,
    key: &'static str,
    read: impl FnOnce(&Table<'_, '_>) -> Option<T>,
) -> Option<T> {
    let table = match root.get(key) {
        Some(item) => item.table(format!("[{key}]"), "{}")?,
        None => Table::empty(root.source(), format!("[{key}]")),
    };
    let value = read(&table);
    table.finish();
    value
}

/// `dir/path` without the `x/..` that a relative default brings along, so that messages are readable.
pub(super) fn join(dir: &Path, path: &str) -> PathBuf {
    match (path.strip_prefix("../"), dir.file_name(), dir.parent()) {
        (Some(rest), Some(_), Some(parent)) => parent.join(rest),
        _ => dir.join(path),
    }
}

fn number(table: &Table<'_, '_>, key: &'static str, default: u32, low: u32, high: u32) -> Option<u32> {
    table.get(key).map_or(Some(default), |item| item.integer(low..=high))
}

pub(super) fn time(
    table: &Table<'_, '_>,
    key: &'static str,
    default: Duration,
    low: Duration,
    high: Duration,
) -> Option<Duration> {
    table.get(key).map_or(Some(default), |item| item.duration(low..=high))
}

fn listen(table: &Table<'_, '_>, default: &str) -> Option<SocketAddr> {
    let parse = |text: &str| text.parse::<SocketAddr>().map_err(|_| "this is not an IP address with a port");
    match table.get("listen") {
        Some(item) => item.parsed(&format!("\"{default}\""), parse),
        None => parse(default).ok(),
    }
}

fn read_media(table: &Table<'_, '_>) -> Option<Media> {
    let rtp_ports = match table.get("rtp_ports") {
        Some(item) => read_ports(&item),
        None => Some((20_000, 29_999)),
    };
    let threads = match table.get("threads") {
        Some(item) => item.integer(1..=1024).map(Some),
        None => Some(None),
    };
    let rtp_timeout = time(table, "rtp_timeout", 20 * SECOND, 2 * SECOND, HOUR);
    let threads = threads?.and_then(|threads| usize::try_from(threads).ok());
    Some(Media { rtp_ports: rtp_ports?, threads, rtp_timeout: rtp_timeout? })
}

fn read_ports(item: &Item<'_, '_>) -> Option<(u16, u16)> {
    let example = "[20000, 29999]";
    let list = item.list(example)?;
    let [first, last] = list.as_slice() else {
        item.error("`rtp_ports` must have a first and a last port", format!("write `rtp_ports = {example}`"));
        return None;
    };
    let port = |item: &Item<'_, '_>| item.integer(1024..=65535).and_then(|port| u16::try_from(port).ok());
    let (first, last) = (port(first)?, port(last)?);
    if first > last || last - first < 3 {
        item.error(
            "`rtp_ports` has no room for calls",
            format!("write `rtp_ports = {example}`: a call takes two ports"),
        );
        return None;
    }
    Some((first, last))
}

fn read_voices(root: &Table<'_, '_>) -> Option<Voices> {
    let engines = [
        ("festival", Engine::Festival),
        ("flite", Engine::Flite),
        ("espeak-ng", Engine::EspeakNg),
    ];
    let Some(item) = root.get("voices") else {
        let mut voices = Voices::default();
        voices.set("en", Voice::new(Engine::EspeakNg, "en-us"));
        return Some(voices);
    };
    let table = item.table("[voices]", "{ en = { engine = \"flite\", voice = \"rms\" } }")?;
    let mut voices = Voices::default();
    for entry in table.entries() {
        let Some(table) =
            entry.table(format!("[voices.{}]", entry.key), "{ engine = \"flite\", voice = \"rms\" }")
        else {
            continue;
        };
        let engine = table.require("engine", "engine = \"espeak-ng\"").and_then(|item| item.word(&engines));
        let voice =
            table.require("voice", "voice = \"en-us\"").and_then(|item| item.parsed("\"en-us\"", read_voice));
        table.finish();
        if let (Some(engine), Some(voice)) = (engine, voice) {
            voices.set(entry.key, Voice { engine, name: voice });
        }
    }
    Some(voices)
}

/// The name becomes an argument of a program, and part of an expression for festival: letters, digits, `_`, `-`, `+` only.
fn read_voice(text: &str) -> Result<String, &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+');
    match text.len() <= 60 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good)
    {
        true => Ok(text.to_owned()),
        false => Err("this is not the name of a voice"),
    }
}

fn read_calls(table: &Table<'_, '_>) -> Option<Calls> {
    let ring_timeout = time(table, "ring_timeout", 30 * SECOND, 5 * SECOND, 3 * MINUTE);
    let max_attempts = number(table, "max_attempts", 3, 1, 20);
    let retry_after = time(table, "retry_after", 5 * MINUTE, 10 * SECOND, 24 * HOUR);
    let lead = time(table, "lead", 45 * MINUTE, Duration::ZERO, 24 * HOUR);
    let country = table.require("default_country", "default_country = \"GB\"");
    let default_country = country.and_then(|item| item.parsed("\"GB\"", read_country));
    let plan =
        table.get("default_plan").map_or(Some("delivery-confirm"), |item| item.text("\"delivery-confirm\""));
    Some(Calls {
        ring_timeout: ring_timeout?,
        max_attempts: max_attempts?,
        retry_after: retry_after?,
        lead: lead?,
        default_country: default_country?,
        default_plan: plan?.to_owned(),
    })
}
