//! `callahead demo`: the practice trunk and the engine as processes of their own, five deliveries, a live table, and at the
//! end the address of the page with a sign-in.

mod stage;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::{Places, load_config, runtime, told_to_stop};
use stage::Stage;
use table::Row;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Stop when the calls are over, and fail unless every outcome and transcript is what the customers did.
    #[arg(long)]
    ci: bool,
}

/// What a customer of the practice trunk does, and what must come of it.
struct Expected {
    order: &'static str,
    number: &'static str,
    name: &'static str,
    stop: &'static str,
    outcome: &'static str,
    /// Words that the transcript must contain, each group in one of its spellings; none: nobody spoke.
    words: &'static [&'static [&'static str]],
}

const CUSTOMERS: &[Expected] = &[
    Expected {
        order: "D-1001",
        number: "+12025550101",
        name: "Ada",
        stop: "12 Mill Lane",
        outcome: "instructions",
        words: &[
            &["parcel"],
            &["neighbour", "neighbor"],
            &["gate code"],
            &["4417", "four four one seven", "44 17", "4 4 1 7", "double four one seven"],
        ],
    },
    Expected {
        order: "D-1002",
        number: "+12025550102",
        name: "Ben",
        stop: "3 Station Road",
        outcome: "confirmed",
        words: &[],
    },
    Expected {
        order: "D-1003",
        number: "+12025550103",
        name: "Cleo",
        stop: "44 High Street",
        outcome: "busy",
        words: &[],
    },
    Expected {
        order: "D-1004",
        number: "+12025550104",
        name: "Dan",
        stop: "7 Quay Street",
        outcome: "no_answer",
        words: &[],
    },
    Expected {
        order: "D-1005",
        number: "+12025550105",
        name: "Eve",
        stop: "29 Orchard Way",
        outcome: "no_response",
        words: &[],
    },
];

/// The longest that the five calls and their transcripts may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// How often the table is drawn.
const DRAW: Duration = Duration::from_millis(400);

impl Demo {
    /// Runs the demonstration.
    ///
    /// # Errors
    /// A port is taken, a program is missing, or (with `--ci`) something was not as expected.
    pub fn run(self, places: &Places) -> Result<()> {
        let config = load_config(places)?;
        let stage = Stage::set(places, &config)?;
        let created = stage.post("/api/v1/deliveries/bulk", &deliveries()?)?;
        let count = created["created"].as_u64().map_or(0, |count| usize::try_from(count).unwrap_or(0));
        if count != CUSTOMERS.len() {
            bail!("{} deliveries were sent, the engine took {count}: {created}", CUSTOMERS.len());
        }
        println!("\nFive deliveries are due; their customers are called now.\n");
        let rows = watch(&stage)?;
        let wrong: Vec<String> = rows.iter().zip(CUSTOMERS).filter_map(|(row, expected)| row.mismatch(expected)).collect();
        println!("\nThe page      {}", stage.address());
        println!("Sign in as    {}", stage.username);
        println!("Password      {}\n", stage.password.reveal());
        if self.ci {
            if !wrong.is_empty() {
                bail!("not as expected:\n{}\nlogs: {}", wrong.join("\n"), stage.logs());
            }
            println!("every outcome and transcript is what the customers did");
            return Ok(());
        }
        println!("The engine goes on serving. Ctrl-C stops it.");
        runtime()?.block_on(told_to_stop());
        Ok(())
    }
}

/// Five deliveries that are due in four minutes: a customer who is not reached is not tried again, so the demo ends.
fn deliveries() -> Result<Value> {
    let eta = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_mins(4)).context("the clock is wrong")?;
    let delivery = |customer: &Expected| {
        serde_json::json!({
            "order_ref": customer.order,
            "stop": customer.stop,
            "customer_name": customer.name,
            "phone": customer.number,
            "address": customer.stop,
            "eta": eta,
            "language": "en",
            "agent": "driver",
            "plan": "delivery-confirm",
        })
    };
    Ok(Value::Array(CUSTOMERS.iter().map(delivery).collect()))
}

/// Draws the table until every call is done and every recording has its text.
fn watch(stage: &Stage) -> Result<Vec<Row>> {
    let started = Instant::now();
    let mut drawn = table::Drawn::default();
    loop {
        let rows = CUSTOMERS.iter().map(|customer| Row::fetch(stage, customer)).collect::<Result<Vec<_>>>()?;
        drawn.draw(&rows);
        if rows.iter().all(Row::is_over) {
            return Ok(rows);
        }
        if started.elapsed() > PATIENCE {
            bail!("the calls are not over after {} s; logs: {}", PATIENCE.as_secs(), stage.logs());
        }
        stage.check_alive()?;
        std::thread::sleep(DRAW);
    }
}
