//! The live table: number, state, outcome, seconds, transcript.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::Value;

use super::Expected;
use super::stage::Stage;

/// One customer's call as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    name: &'static str,
    number: &'static str,
    state: String,
    outcome: String,
    seconds: Option<i64>,
    transcript: String,
    over: bool,
}

impl Row {
    /// Asks the API how `customer`'s call stands.
    pub fn fetch(stage: &Stage, customer: &Expected) -> Result<Self> {
        let found = stage.get(&format!("/api/v1/deliveries?q={}", customer.order))?;
        let delivery = &found["items"][0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let call = match delivery["call"]["id"].as_str() {
            Some(id) => stage.get(&format!("/api/v1/calls/{id}"))?,
            None => Value::Null,
        };
        let attempt = call["attempts"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        let call_state = text(&delivery["call"]["state"]);
        let state = match attempt["state"].as_str() {
            Some(state) => state.to_owned(),
            None => call_state.clone(),
        };
        let transcript = &delivery["transcript"];
        let (written, words) = match transcript["state"].as_str() {
            None => (delivery["recording"].is_null(), String::new()),
            Some("done") => (true, text(&transcript["text"])),
            Some("no_speech") => (true, "(no speech)".to_owned()),
            Some("failed") => (true, "(failed)".to_owned()),
            Some(_) => (false, "…".to_owned()),
        };
        Ok(Self {
            name: customer.name,
            number: customer.number,
            state,
            outcome: text(&delivery["call"]["outcome"]),
            seconds: seconds(&attempt),
            transcript: words,
            over: call_state == "done" && written,
        })
    }

    /// Whether nothing more will happen to it.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What is not as the customer's behaviour makes it, if anything.
    pub fn mismatch(&self, expected: &Expected) -> Option<String> {
        let said = self.transcript.to_lowercase().replace(['-', ',', '.'], " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let missing = expected.words.iter().find(|spellings| !spellings.iter().any(|words| said.contains(words)));
        if self.outcome != expected.outcome {
            return Some(format!("{}: outcome `{}`, expected `{}`", self.name, self.outcome, expected.outcome));
        }
        if let Some(missing) = missing {
            return Some(format!("{}: the transcript `{}` lacks `{}`", self.name, self.transcript, missing[0]));
        }
        let silent = self.transcript.is_empty() || self.transcript == "(no speech)";
        (expected.words.is_empty() && !silent)
            .then(|| format!("{}: the transcript has `{}`, but nobody spoke", self.name, self.transcript))
    }
}

/// Seconds from dialling to the end, or to now.
fn seconds(attempt: &Value) -> Option<i64> {
    let time = |name: &str| attempt[name].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let end = time("ended_at").unwrap_or_else(Timestamp::now);
    Some(end.duration_since(time("dialing_at")?).as_secs())
}

/// What stands on the screen.
#[derive(Debug, Default)]
pub struct Drawn {
    rows: Vec<Row>,
    lines: usize,
}

impl Drawn {
    /// Draws over what was drawn before on a terminal; elsewhere prints what has changed, a line each.
    pub fn draw(&mut self, rows: &[Row]) {
        if rows == self.rows {
            return;
        }
        let mut out = std::io::stdout().lock();
        let written = if out.is_terminal() {
            let text = table(rows).to_string();
            let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
            self.lines = text.lines().count();
            writeln!(out, "{up}{text}")
        } else {
            let changed = rows.iter().enumerate().filter(|(at, row)| {
                self.rows.get(*at).is_none_or(|old| (&old.state, &old.outcome, &old.transcript) != (&row.state, &row.outcome, &row.transcript))
            });
            changed.map(|(_, row)| line(row)).try_for_each(|line| writeln!(out, "{line}"))
        };
        drop(written.and_then(|()| out.flush()));
        self.rows = rows.to_vec();
    }
}

fn line(row: &Row) -> String {
    let seconds = row.seconds.map(|seconds| format!("{seconds} s")).unwrap_or_default();
    format!("{:5} {}  {:9} {:13} {seconds:>5}  {}", row.name, row.number, row.state, row.outcome, row.transcript)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["customer", "number", "state", "outcome", "seconds", "transcript"]);
    for row in rows {
        let colour = match row.outcome.as_str() {
            "" => Color::Reset,
            "instructions" | "confirmed" => Color::Green,
            _ => Color::Yellow,
        };
        table.add_row([
            Cell::new(row.name),
            Cell::new(row.number),
            Cell::new(&row.state),
            Cell::new(&row.outcome).fg(colour),
            Cell::new(row.seconds.map(|seconds| seconds.to_string()).unwrap_or_default()),
            Cell::new(&row.transcript),
        ]);
    }
    table
}
