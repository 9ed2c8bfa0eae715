//! What prose cannot enforce: the arrows between modules, the core's purity, file sizes, and that every verb is
//! documented and exercised. Each rule names the file, the line and the remedy.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines, tests included.
const MAX_LINES: usize = 600;

/// Modules without async, clock, sockets, files or global randomness.
const CORE: &[&str] =
    &["sip", "sdp", "rtp", "audio", "media", "dialplan", "route", "schedule", "call", "trace"];

/// What each module may `use crate::…`; every module may also use itself and `pii`.
const ARROWS: &[(&str, &[&str])] = &[
    ("sdp", &[]),
    ("sip", &["sdp"]),
    ("rtp", &[]),
    ("audio", &[]),
    ("media", &["rtp", "audio", "sdp"]),
    ("dialplan", &["diagnostic"]),
    ("route", &[]),
    ("schedule", &["route", "call"]),
    ("call", &["dialplan", "sip", "sdp", "media", "audio"]),
    ("trace", &["sip", "call"]),
    ("diagnostic", &[]),
    ("config", &["diagnostic", "dialplan", "route", "schedule", "sdp", "speech"]),
    ("record", &["media", "audio"]),
    ("speech", &["audio"]),
    ("store", &["call", "sip", "trace"]),
    ("metrics", &["sip", "call", "trace", "store"]),
    ("transcribe", &["audio", "speech", "store"]),
    ("http", &["store", "engine", "trace", "metrics"]),
    ("carrier", &["sip", "sdp", "media", "audio", "speech", "engine", "diagnostic"]),
    (
        "engine",
        &[
            "call",
            "route",
            "schedule",
            "store",
            "record",
            "speech",
            "transcribe",
            "config",
            "sip",
            "sdp",
            "media",
            "audio",
            "rtp",
            "dialplan",
            "http",
            "diagnostic",
            "metrics",
            "trace",
        ],
    ),
];

/// Words that must not stand in the core's code.
const IMPURE: &[&str] = &[
    "Instant::now(",
    "SystemTime::now(",
    "Timestamp::now(",
    "Zoned::now(",
    "sleep(",
    "async fn",
    "tokio::",
    "std::fs",
    "UdpSocket",
    "TcpStream",
    "rand::rng()",
    "std::env",
];

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(module) = module_of(&path) else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else { continue };
        for (number, line) in code_lines(&text) {
            for target in line.split("crate::").skip(1) {
                let target: String =
                    target.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let free = target.is_empty()
                    || target == module
                    || ["pii", "words", "commands"].contains(&target.as_str());
                if !free && !allowed.contains(&target.as_str()) {
                    wrong.push(format!(
                        "{}:{number}: `{module}` must not use `crate::{target}`",
                        path.display()
                    ));
                }
            }
        }
    }
    report(
        "move the code to where the arrow allows it, or change the drawing in src/lib.rs and ARROWS here",
        wrong,
    );
}

#[test]
fn every_module_has_arrows() {
    let listed: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let wrong = sources("src")
        .iter()
        .filter_map(|(path, _)| module_of(path).map(|module| (path.clone(), module)))
        .filter(|(_, module)| !listed.contains(&module.as_str()))
        .filter(|(_, module)| !["main", "lib", "pii", "words", "commands"].contains(&module.as_str()))
        .map(|(path, module)| format!("{}: `{module}` has no row in ARROWS", path.display()))
        .collect();
    report("add the module to ARROWS", wrong);
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(module) = module_of(&path) else { continue };
        if !CORE.contains(&module.as_str()) || is_test(&path) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{}:{number}: `{word}` in the core", path.display()));
            }
        }
    }
    report("take time, randomness and bytes as arguments; I/O lives in the shell", wrong);
}

#[test]
fn files_stay_small() {
    let mut wrong = Vec::new();
    for root in ["src", "tests", "benches"] {
        for (path, text) in files(root, &["rs", "js", "mjs", "css", "html", "sql"]) {
            let lines = text.lines().count();
            if lines > MAX_LINES {
                wrong.push(format!("{}: {lines} lines, {MAX_LINES} allowed", path.display()));
            }
        }
    }
    report("split the file by what its parts are about", wrong);
}

#[test]
fn every_module_says_what_it_is() {
    let wrong = sources("src")
        .iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| format!("{}: no module doc comment on the first line", path.display()))
        .collect();
    report("begin the file with `//!` and what it is for", wrong);
}

#[test]
fn every_verb_has_a_fixture_and_a_reference() {
    let reference = fs::read_to_string("docs/dialplans.md").expect("docs/dialplans.md");
    let fixtures: String = files("dialplans", &["toml"])
        .into_iter()
        .chain(files("tests/data/dialplans", &["toml"]))
        .map(|(_, text)| text)
        .collect();
    let mut wrong = Vec::new();
    for (path, text) in sources("src/dialplan/verb") {
        let verb = path.file_stem().and_then(|stem| stem.to_str()).expect("a UTF-8 name").to_owned();
        if verb == "mod" || path.to_string_lossy().contains("tests") {
            continue;
        }
        if !reference.contains(&format!("`{verb}`")) {
            wrong.push(format!("{}: docs/dialplans.md has no section on `{verb}`", path.display()));
        }
        if !fixtures.lines().any(|line| line.trim_start().starts_with(&verb)) {
            wrong.push(format!("{}: no dialplan uses `{verb}`", path.display()));
        }
        if !text.contains("#[cfg(test)]") {
            wrong.push(format!("{}: no test of its own", path.display()));
        }
    }
    report("give the verb a fixture, a test and a reference text", wrong);
}

#[test]
fn no_unfinished_work_and_no_foreign_places() {
    let marks = ["todo!(", "unimplemented!(", "FIXME", "#[ignore", "dbg!("];
    let places = ["/work/", "/root/", "crates.io", "pypi.org", "npmjs.org", "deb.debian.org"];
    let mut wrong = Vec::new();
    for root in ["src", "tests", "benches", "docs", "dialplans", "sip-config", "models"] {
        for (path, text) in
            files(root, &["rs", "js", "mjs", "md", "toml", "json", "xml", "sh", "html", "css", "sql"])
        {
            if path.ends_with("tidy.rs") {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                // The half of a test that runs in a child process which the test kills.
                if line.contains("#[ignore = \"the child of") {
                    continue;
                }
                if let Some(word) = marks.iter().chain(&places).find(|word| line.contains(**word)) {
                    wrong.push(format!("{}:{}: `{word}`", path.display(), number + 1));
                }
            }
        }
    }
    report("finish it, or name no place outside the project", wrong);
}

fn report(remedy: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n\nremedy: {remedy}\n", wrong.join("\n"));
}

/// The top-level module that a source file belongs to: `src/sip/uri.rs` and `src/sip.rs` are both `sip`.
fn module_of(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").ok()?.iter().next()?.to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// A file of tests beside the code: it may read fixtures and begin its made time somewhere.
fn is_test(path: &Path) -> bool {
    path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.ends_with("tests"))
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// Lines that are code: comments are passed over, and so is everything after the file's `#[cfg(test)]`.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

fn sources(root: &str) -> Vec<(PathBuf, String)> {
    files(root, &["rs"])
}

fn files(root: &str, extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "node_modules" && name != "target" {
                folders.push(path);
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)) {
                let text =
                    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}
