//! Reading the files of a configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Source, suggest};
use super::secret::Surroundings;
use super::{Config, Trunk, engine, numbers, phones};
use crate::diagnostic::{Diagnostic, document};
use crate::dialplan::{Plan, PromptFiles};

/// The largest file that is read as configuration, in bytes.
const LARGEST: u64 = 1 << 20;

impl Config {
    /// Reads the configuration in `dir`, its trunks and its dialplans.
    ///
    /// # Errors
    /// Everything that is wrong, in all files.
    pub fn load(dir: &Path) -> Result<Self, Vec<Diagnostic>> {
        load_with(dir, &|name| std::env::var(name).ok())
    }
}

/// As [`Config::load`], with `env` for the environment.
pub(super) fn load_with(dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Diagnostic>> {
    let surroundings = &Surroundings { env };
    let path = dir.join("callahead.toml");
    let file = path.display().to_string();
    let text = read_file(&path).map_err(|error| vec![error])?;
    let source = Source::new(&file, &text);
    let config = document::parse(&source, |root| engine::read(root, dir)).flatten();
    let mut findings = Vec::new();
    let (trunks, found) = read_trunks(&dir.join("trunks"), surroundings);
    findings.extend(found);
    let Some(mut config) = config else {
        let mut all = source.into_diagnostics();
        all.extend(findings);
        return Err(all);
    };
    let (plans, found) = load_plans(&config.dialplans);
    findings.extend(found);
    (config.trunks, config.plans) = (trunks, plans);
    findings.extend(read_house(&mut config, dir, surroundings));
    if findings.is_empty() {
        findings.extend(check_whole(&config, &file));
    }
    let mut all = source.into_diagnostics();
    all.extend(findings);
    if all.is_empty() { Ok(config) } else { Err(all) }
}

/// Our numbers and telephones: the two files may be absent.
fn read_house(config: &mut Config, dir: &Path, surroundings: &Surroundings<'_>) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if let Some((file, text)) = read_optional(&dir.join("numbers.toml"), &mut findings) {
        match numbers::parse(&file, &text, config) {
            Ok(numbers) => config.numbers = numbers,
            Err(found) => findings.extend(found),
        }
    }
    if let Some((file, text)) = read_optional(&dir.join("phones.toml"), &mut findings) {
        match phones::parse(&file, &text, dir, surroundings, &config.numbers) {
            Ok(phones) => config.phones = phones,
            Err(found) => findings.extend(found),
        }
    }
    findings
}

/// The name and the text of a file that may be absent.
fn read_optional(path: &Path, findings: &mut Vec<Diagnostic>) -> Option<(String, String)> {
    if !path.exists() {
        return None;
    }
    match read_file(path) {
        Ok(text) => Some((path.display().to_string(), text)),
        Err(error) => {
            findings.push(error);
            None
        }
    }
}

/// What only shows when all files are seen together.
fn check_whole(config: &Config, file: &str) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let plan = &config.calls.default_plan;
    if !config.plans.contains_key(plan) {
        let help = suggest(plan, config.plans.keys().map(String::as_str), "plans");
        findings.push(Diagnostic::whole_file(
            file,
            format!("`calls.default_plan`: there is no plan `{plan}`"),
            Some(help),
        ));
    }
    let mut silent: BTreeMap<&str, &str> = BTreeMap::new();
    for plan in config.plans.values() {
        for language in plan.languages().iter().filter(|language| config.voices.get(language).is_none()) {
            silent.entry(language).or_insert(plan.name());
        }
    }
    for (language, plan) in silent {
        let message = format!("the plan `{plan}` speaks `{language}`, for which there is no voice");
        let help =
            format!("add `{language} = {{ engine = \"espeak-ng\", voice = \"{language}\" }}` to [voices]");
        findings.push(Diagnostic::whole_file(file, message, Some(help)));
    }
    findings
}

fn read_trunks(dir: &Path, surroundings: &Surroundings<'_>) -> (BTreeMap<String, Trunk>, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    let mut trunks = BTreeMap::new();
    for (name, path, text) in read_directory(dir, &mut findings) {
        match Trunk::parse(&name, &path.display().to_string(), &text, dir, surroundings) {
            Ok(trunk) => {
                trunks.insert(name, trunk);
            }
            Err(found) => findings.extend(found),
        }
    }
    if trunks.is_empty() && findings.is_empty() {
        let help = "write a file `main.toml` there with the `host` of your provider".to_owned();
        findings.push(Diagnostic::whole_file(dir.display().to_string(), "there is no trunk", Some(help)));
    }
    (trunks, findings)
}

/// Reads the plans of a directory: the good ones, and what is wrong with the others.
pub fn load_plans(dir: &Path) -> (BTreeMap<String, Arc<Plan>>, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    let mut plans = BTreeMap::new();
    for (name, path, text) in read_directory(dir, &mut findings) {
        match Plan::parse(&name, &path.display().to_string(), &text, &prompts_in(dir)) {
            Ok(plan) => {
                plans.insert(name, Arc::new(plan));
            }
            Err(found) => findings.extend(found),
        }
    }
    (plans, findings)
}

/// The prompt files in and below `dir`.
pub fn prompts_in(dir: &Path) -> impl PromptFiles {
    let dir = dir.to_owned();
    move |name: &str| {
        let path = dir.join(name);
        match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => Ok(path),
            Ok(_) => Err("it is not a file".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The `*.toml` files of a directory by name, with their text, in the order of their names.
fn read_directory(dir: &Path, findings: &mut Vec<Diagnostic>) -> Vec<(String, PathBuf, String)> {
    let listed = std::fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = match listed {
        Ok(paths) => paths,
        Err(error) => {
            let message = format!("this directory cannot be read: {error}");
            findings.push(Diagnostic::whole_file(dir.display().to_string(), message, None));
            return Vec::new();
        }
    };
    paths.sort();
    let mut files = Vec::new();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
    {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.starts_with('.') {
            continue;
        }
        if !is_name(&name) {
            let help = "rename the file to small letters, digits and `-`".to_owned();
            let file = path.display().to_string();
            findings.push(Diagnostic::whole_file(
                file,
                format!("`{name}` cannot be used as a name"),
                Some(help),
            ));
            continue;
        }
        match read_file(&path) {
            Ok(text) => files.push((name, path, text)),
            Err(error) => findings.push(error),
        }
    }
    files
}

/// Names of trunks, plans and telephones appear in addresses of the API and in the database.
pub(super) fn is_name(name: &str) -> bool {
    (1..=60).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn read_file(path: &Path) -> Result<String, Diagnostic> {
    let wrong = |message: String, help: Option<&str>| {
        Diagnostic::whole_file(path.display().to_string(), message, help.map(str::to_owned))
    };
    let size = std::fs::metadata(path).map_err(|error| {
        wrong(format!("this file cannot be read: {error}"), Some("name the right directory with `--config`"))
    })?;
    if size.len() > LARGEST {
        return Err(wrong(format!("this file has {} bytes, which is too large", size.len()), None));
    }
    let bytes =
        std::fs::read(path).map_err(|error| wrong(format!("this file cannot be read: {error}"), None))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        wrong(format!("this file is not UTF-8: byte {at} is wrong"), Some("save it as UTF-8"))
    })
}
