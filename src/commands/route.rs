//! `callahead route NUMBER`: which trunks would carry a call, in which order and why, and why the others would not; or which
//! telephone of the house it goes to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Places, load_config, runtime};
use crate::config::Config;
use crate::route::{Choice, Number, Routes, TrunkState};
use crate::store::{Store, engine};

/// Arguments of `route`.
#[derive(Debug, Args)]
pub struct Route {
    /// The number to call, as +442071838750 or as it is dialled in the default country. Nothing is dialled.
    #[arg(required = true, num_args = 1..)]
    number: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Route {
    /// Prints the trunks.
    ///
    /// # Errors
    /// The number is wrong or must not be called, or no trunk would carry it now.
    pub fn run(self, places: &Places) -> Result<()> {
        let config = load_config(places)?;
        let text = self.number.join(" ");
        let number = Number::parse(&text, Some(config.calls.default_country))
            .with_context(|| format!("`{text}` cannot be called"))?;
        let now = Instant::now();
        let mut routes = Routes::new(config.route_rules(), now);
        if let Some(prefix) = routes.forbidden(&number) {
            bail!(
                "{} is never called: `forbidden` in [routing] of callahead.toml has {prefix}",
                number.e164()
            );
        }
        if let Some(phone) = config.telephone(&number) {
            match self.json {
                true => println!("{}", json!({ "number": number.e164(), "on_net": phone.name })),
                false => println!("{}, {}", number.e164(), phone.on_net()),
            }
            return Ok(());
        }
        let live = runtime()?.block_on(live(&config))?;
        if let Some((states, age)) = &live {
            for (trunk, state) in states {
                routes.suppose(trunk, state, *age, now);
            }
        }
        let choice = routes.choose(&number, &[], now);
        if self.json {
            println!(
                "{}",
                serde_json::to_string_pretty(&as_json(&config, &number, &choice, live.is_some()))?
            );
        } else {
            print(&config, &number, &choice, live.is_some());
        }
        if choice.candidates.is_empty() {
            bail!("no trunk would carry this call now");
        }
        Ok(())
    }
}

/// How the trunks of the engine that serves the data folder stand, and how long ago that was.
async fn live(config: &Config) -> Result<Option<(BTreeMap<String, TrunkState>, Duration)>> {
    let path = config.data.join("callahead.db");
    if !path.exists() {
        return Ok(None);
    }
    let store =
        Store::open(&path).await.with_context(|| format!("cannot open the database {}", path.display()))?;
    let now = Timestamp::now();
    let Some(engine) = engine::current(&store, now).await? else { return Ok(None) };
    let states =
        serde_json::from_value(engine.trunks).context("the engine that runs is of another version")?;
    Ok(Some((states, now.duration_since(engine.seen_at).try_into().unwrap_or_default())))
}

/// What the trunk is told to dial, and what the customer sees.
fn as_seen(config: &Config, trunk: &str, number: &Number) -> (String, String) {
    let Some(trunk) = config.trunks.get(trunk) else { return (String::new(), String::new()) };
    let shown = match trunk.caller.anonymous {
        true => "anonymous".to_owned(),
        false => trunk.caller.number_for(number).e164().to_owned(),
    };
    (trunk.dialled(number), shown)
}

fn as_json(config: &Config, number: &Number, choice: &Choice, live: bool) -> Value {
    let mut value = json!({ "number": number.e164(), "live": live, "strategy": choice.strategy });
    let candidates = choice.candidates.iter().map(|candidate| {
        let (dials, shows) = as_seen(config, &candidate.trunk, number);
        let mut value = json!(candidate);
        (value["dials"], value["shows"]) = (dials.into(), shows.into());
        value
    });
    value["candidates"] = candidates.collect();
    value["skipped"] = json!(choice.skipped);
    value
}

fn print(config: &Config, number: &Number, choice: &Choice, live: bool) {
    let how = match live {
        true => "as the engine sees its trunks now",
        false => "by the configuration only: no engine runs, so that nothing is known of the trunks' health",
    };
    println!("{}, strategy {}, {how}\n", number.e164(), choice.strategy);
    if !choice.candidates.is_empty() {
        let mut table = plain(&["#", "trunk", "a minute", "quality", "why", "dials", "shows"]);
        for (at, candidate) in choice.candidates.iter().enumerate() {
            let (dials, shows) = as_seen(config, &candidate.trunk, number);
            let price = candidate.per_minute.map_or("-".to_owned(), |price| price.to_string());
            let place = (at + 1).to_string();
            let quality = candidate.quality.to_string();
            table.add_row([&place, &candidate.trunk, &price, &quality, &candidate.reason, &dials, &shows]);
        }
        println!("{table}\n");
    }
    if !choice.skipped.is_empty() {
        let mut table = plain(&["passed over", "why"]);
        for skip in &choice.skipped {
            let again = skip.ready_in_s.map(|seconds| format!("; again in {seconds} s")).unwrap_or_default();
            table.add_row([skip.trunk.clone(), format!("{}{again}", skip.reason)]);
        }
        println!("{table}\n");
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}
