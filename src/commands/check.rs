//! `callahead check`: everything that `serve` would validate, without starting anything.

use anyhow::{Result, bail};
use clap::Args;

use super::{Places, load_config};
use crate::route::Prefix;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {}

impl Check {
    /// Prints what is there, or everything that is wrong.
    ///
    /// # Errors
    /// Something is wrong: each finding is printed with file, line, column and remedy.
    pub fn run(self, places: &Places) -> Result<()> {
        let config = load_config(places)?;
        println!("trunks are chosen by {}; never called: {}", config.routing.strategy, list(&config.routing.forbidden, "no prefix"));
        for trunk in config.trunks.values() {
            let serves = list(&trunk.serves, "all numbers");
            let (calls, cps) = (trunk.max_calls, trunk.max_cps);
            println!("trunk {}: {serves}; {calls} calls at once, {cps} a second", trunk.name);
        }
        for plan in config.plans.values() {
            let steps = plan.steps().count();
            println!("dialplan {}: {} ({steps} steps; {})", plan.name(), plan.title(), plan.languages().join(", "));
        }
        for (number, did) in &config.numbers {
            println!("number {}: answered by the plan {}", number.e164(), did.plan);
        }
        for phone in config.phones.values() {
            println!("phone {}: {}, {} devices at most", phone.name, phone.number.e164(), phone.max_contacts);
        }
        if config.plans.is_empty() {
            bail!("there is no dialplan in {}", config.dialplans.display());
        }
        println!("all good");
        Ok(())
    }
}

fn list(prefixes: &[Prefix], none: &str) -> String {
    let all: Vec<_> = prefixes.iter().map(Prefix::as_str).collect();
    if all.is_empty() { none.to_owned() } else { all.join(" ") }
}
