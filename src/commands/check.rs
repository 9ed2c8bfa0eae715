//! `callahead check`: everything that `serve` would validate, without starting anything.

use anyhow::{Result, bail};
use clap::Args;

use super::{Places, load_config};

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
        for trunk in config.trunks.values() {
            println!("trunk {}: {} calls at once, {} a second", trunk.name, trunk.max_calls, trunk.max_cps);
        }
        for plan in config.plans.values() {
            let steps = plan.steps().count();
            println!("dialplan {}: {} ({steps} steps; {})", plan.name(), plan.title(), plan.languages().join(", "));
        }
        if config.plans.is_empty() {
            bail!("there is no dialplan in {}", config.dialplans.display());
        }
        println!("all good");
        Ok(())
    }
}
