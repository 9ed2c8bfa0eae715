//! `callahead call NUMBER`: one call now, through the engine that serves this data folder.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::user::open_store;
use super::{Places, load_config, runtime};
use crate::config::Config;
use crate::pii::Redacted;
use crate::route::Number;
use crate::store::{self, CallState, RecordingState, Store, TranscriptState, Vars, calls, recordings, transcripts};
use crate::transcribe::model;

/// Arguments of `call`.
#[derive(Debug, Args)]
pub struct Call {
    /// The number, in E.164 (+442071838750) or as it is dialled in `default_country`.
    number: String,

    /// The dialplan.
    #[arg(long)]
    plan: Option<String>,

    /// A variable of the dialplan, such as name=Ada; repeatable.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_pair)]
    vars: Vec<(String, String)>,

    /// The customer's language, such as en or es; without it, the plan's first.
    #[arg(long, default_value = "")]
    language: String,

    /// How often to try.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    attempts: u32,

    /// Print the call's identifier and return without waiting for the outcome.
    #[arg(long)]
    no_wait: bool,
}

/// How long a call may wait to begin before it is given up.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// How often the database is looked at for news.
const LOOK: Duration = Duration::from_millis(250);

impl Call {
    /// Places the call and, unless told otherwise, waits for its end and its transcript.
    ///
    /// # Errors
    /// The number or plan is wrong, or no engine serves the data folder.
    pub fn run(self, places: &Places) -> Result<()> {
        let config = load_config(places)?;
        let number = Number::parse(&self.number, Some(config.calls.default_country))
            .with_context(|| format!("`{}` cannot be called", self.number))?;
        let new = self.new_call(&config, &number)?;
        runtime()?.block_on(async {
            let store = open_store(places).await?;
            if store::engine::current(&store, Timestamp::now()).await?.is_none() {
                bail!("no engine serves {}; start one with `callahead serve`", config.data.display());
            }
            let (call, _) = calls::create(&store, Timestamp::now(), new).await?;
            if self.no_wait {
                println!("{}", call.id);
                return Ok(());
            }
            let model = model::locate(&places.models, &config.whisper.model);
            follow(&store, call.id, model.is_ok()).await
        })
    }

    fn new_call(&self, config: &Config, number: &Number) -> Result<calls::NewCall> {
        let name = self.plan.as_deref().unwrap_or(&config.calls.default_plan);
        let plan = config.plans.get(name).with_context(|| {
            let known: Vec<&str> = config.plans.keys().map(String::as_str).collect();
            format!("there is no dialplan `{name}`; there are: {}", known.join(", "))
        })?;
        let mut vars: Vars = Vars::default();
        vars.0.extend(self.vars.iter().cloned());
        plan.prompts(vars.0.clone(), &self.language).with_context(|| format!("add or mend --set for the dialplan `{name}`"))?;
        let now = Timestamp::now();
        Ok(calls::NewCall {
            number: Redacted::new(number.e164().to_owned()),
            plan: name.to_owned(),
            vars,
            language: self.language.clone(),
            delivery_id: None,
            due_at: now,
            not_after: now.saturating_add(WINDOW)?,
            max_attempts: self.attempts,
            idempotency_key: None,
        })
    }
}

/// Prints each step until the call is done and, with a model, its recording is transcribed.
async fn follow(store: &Store, id: Uuid, model: bool) -> Result<()> {
    let mut said = String::new();
    let call = loop {
        let (call, attempts) = calls::get_with_attempts(store, id).await?;
        let state = match (&call.waiting, attempts.last()) {
            (Some(reason), _) if call.state == CallState::Pending => format!("waiting: {reason}"),
            (_, Some(attempt)) => format!("{} over {}", attempt.state, attempt.trunk),
            (_, None) => call.state.to_string(),
        };
        if state != said {
            println!("{state}");
            said = state;
        }
        if call.state == CallState::Done {
            break call;
        }
        tokio::time::sleep(LOOK).await;
    };
    let (_, attempts) = calls::get_with_attempts(store, id).await?;
    if let Some(attempt) = attempts.last() {
        let reason = attempt.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        println!("cause: {}{reason}", attempt.cause.map_or("", |cause| cause.as_str()));
    }
    println!("outcome: {}", call.outcome.as_deref().unwrap_or("unknown"));
    for recording in recordings::of_call(store, id).await? {
        println!("recording: {}", recording.path);
        if model {
            println!("transcript: {}", transcript(store, recording.id).await?);
        } else {
            println!("transcript: (waits for a model; see `callahead model --help`)");
        }
    }
    Ok(())
}

async fn transcript(store: &Store, recording: Uuid) -> Result<String> {
    loop {
        let Some(transcript) = transcripts::of_recording(store, recording).await? else {
            if recordings::get(store, recording).await?.state == RecordingState::Failed {
                return Ok("(the recording failed)".to_owned());
            }
            tokio::time::sleep(LOOK).await;
            continue;
        };
        match transcript.state {
            TranscriptState::Queued | TranscriptState::Running => tokio::time::sleep(LOOK).await,
            TranscriptState::Done => return Ok(transcript.text.into_inner()),
            TranscriptState::NoSpeech => return Ok("(no speech)".to_owned()),
            TranscriptState::Failed => return Ok(format!("(failed: {})", transcript.reason.unwrap_or_default())),
        }
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE, such as name=Ada".to_owned()),
    }
}
