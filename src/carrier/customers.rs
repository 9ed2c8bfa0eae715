//! Who lives behind the practice trunk: read from TOML, their words spoken once at the start.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::script::Step;
use crate::speech::{Engine, PromptCache, Voice, Voices};

/// The customers that come with the program.
pub const BUILT_IN: &str = include_str!("customers.toml");

/// The most customers in a file.
const MAX_CUSTOMERS: usize = 10_000;

/// Somebody who can be called.
#[derive(Debug)]
pub struct Customer {
    /// E.164.
    pub number: String,
    /// For the log: what they do.
    pub name: String,
    /// How long it rings before they pick up.
    pub ring: Duration,
    /// Whether they pick up at all.
    pub answers: bool,
    /// Refuse with this status instead.
    pub status: Option<u16>,
    /// What they do after picking up.
    pub does: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    customer: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    number: String,
    name: String,
    #[serde(default)]
    ring: Option<String>,
    #[serde(default = "yes")]
    answer: bool,
    status: Option<u16>,
    voice: Option<Voice>,
    #[serde(default)]
    does: Vec<Doing>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Doing {
    Wait(String),
    Press(String),
    Say(String),
    Hangup(bool),
}

fn yes() -> bool {
    true
}

/// Reads `text` (`file` is what errors call it) and renders what the customers say into `cache`.
///
/// # Errors
/// What is wrong, with line and column; or a voice that is not installed.
pub async fn read(file: &str, text: &str, cache: &Path) -> Result<HashMap<String, Arc<Customer>>> {
    let read: File = toml::from_str(text).with_context(|| format!("{file} is not a list of customers"))?;
    ensure!(read.customer.len() <= MAX_CUSTOMERS, "{file}: at most {MAX_CUSTOMERS} customers");
    let mut customers = HashMap::new();
    for entry in read.customer {
        let number = entry.number.clone();
        let customer = compile(entry, cache).await.with_context(|| format!("{file}: customer {number}"))?;
        if customers.insert(number.clone(), Arc::new(customer)).is_some() {
            bail!("{file}: customer {number} is listed twice");
        }
    }
    Ok(customers)
}

async fn compile(entry: Entry, cache: &Path) -> Result<Customer> {
    let digits = entry.number.strip_prefix('+').unwrap_or_default();
    ensure!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()), "write the number as +12025550101");
    let final_status = entry.status.is_none_or(|status| (300..=699).contains(&status));
    ensure!(final_status, "`status` is a final refusal, 300 to 699, such as 486");
    let mut voices = Voices::default();
    voices.set("en", entry.voice.unwrap_or_else(|| Voice::new(Engine::Flite, "rms")));
    let prompts = PromptCache::new(cache, voices)?;
    let mut does = Vec::with_capacity(entry.does.len());
    for doing in entry.does {
        does.push(step(doing, &prompts).await?);
    }
    Ok(Customer {
        number: entry.number,
        name: entry.name,
        ring: entry.ring.map_or(Ok(Duration::ZERO), |text| duration(&text))?,
        answers: entry.answer,
        status: entry.status,
        does,
    })
}

async fn step(doing: Doing, prompts: &PromptCache) -> Result<Step> {
    Ok(match doing {
        Doing::Wait(what) => match what.as_str() {
            "beep" => Step::WaitForBeep,
            "quiet" => Step::WaitForQuiet,
            time => Step::Wait(duration(time)?),
        },
        Doing::Press(keys) => {
            let good = !keys.is_empty() && keys.len() <= 32 && keys.chars().all(|key| "0123456789*#ABCD".contains(key));
            ensure!(good, "`press` takes 1 to 32 keys of 0-9, *, # and A-D, not `{keys}`");
            Step::Press(keys)
        }
        Doing::Say(words) => Step::Say(prompts.text("en", &words).await?),
        Doing::Hangup(true) => Step::HangUp,
        Doing::Hangup(false) => bail!("`hangup` is true or left out"),
    })
}

/// `300ms`, `2s` or `1m`.
fn duration(text: &str) -> Result<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let wrong = || format!("`{text}` is no time; write `300ms`, `2s` or `1m`");
    let number: u64 = number.parse().with_context(wrong)?;
    let milliseconds = match unit {
        "ms" => number,
        "s" => number.saturating_mul(1000),
        "m" => number.saturating_mul(60_000),
        _ => bail!(wrong()),
    };
    ensure!(milliseconds <= 3_600_000, "`{text}` is longer than an hour");
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration("300ms").unwrap(), Duration::from_millis(300));
        assert_eq!(duration("2s").unwrap(), Duration::from_secs(2));
        assert!(duration("2").is_err() && duration("s").is_err() && duration("61m").is_err());
    }

    #[tokio::test]
    async fn a_wrong_key_names_the_line() {
        let cache = tempfile::tempdir().unwrap();
        let text = "[[customer]]\nnumber = \"+12025550101\"\nname = \"x\"\nrings = \"1s\"\n";
        let error = format!("{:#}", read("c.toml", text, cache.path()).await.unwrap_err());
        assert!(error.contains("c.toml") && error.contains("line 4") && error.contains("rings"), "{error}");
    }

    #[test]
    fn the_built_in_customers_are_readable() {
        let file: File = toml::from_str(BUILT_IN).unwrap();
        assert_eq!(file.customer.len(), 5);
    }
}
