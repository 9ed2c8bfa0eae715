//! The machine that walks a plan: one [`Event`] in, then [`Action`]s out until there are none.
//!
//! ```text
//!            Answered           PlayDone               the verb's event
//! Waiting ------------> Prompt -----------> Verb ------------------------> next step's Prompt ... -> Ended
//!                          ^                  | (asked again: gather)
//!                          `------------------'
//! ```
//! After the customer hung up no prompt is played, but the walk goes on through steps that need nobody: somebody who speaks
//! an instruction and then hangs up has still left it, and gets the outcome of the step that follows.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::verb::{Doing, Verb};
use super::{Action, Event, Plan, StepId, VarError, vars};
use crate::pii::Redacted;

/// The most steps that one call may enter, repetitions included.
pub const MAX_STEPS: u32 = 1000;

/// How many keys pressed ahead of their question are kept.
const MAX_TYPED_AHEAD: usize = 32;

/// How the walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The plan came to its end and hung up.
    Done,
    /// The customer hung up first.
    HungUp,
    /// The call lasted too long.
    TimeUp,
    /// More than [`MAX_STEPS`] steps: the plan goes round in circles.
    TooManySteps,
}

/// One call's walk through a plan.
pub struct Interpreter {
    plan: Arc<Plan>,
    run: Run,
}

/// What a verb may see and change of the walk.
pub(super) struct Run {
    language: String,
    values: BTreeMap<String, String>,
    step: StepId,
    steps_taken: u32,
    state: State,
    /// What the verb of this step is in the middle of.
    pub(super) doing: Doing,
    /// How often this step's question was put and not answered.
    pub(super) unanswered: u32,
    /// Keys pressed before anybody asked.
    pub(super) typed: VecDeque<char>,
    pub(super) hung_up: bool,
    timer_set: bool,
    outcome: Option<String>,
    actions: VecDeque<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Prompt,
    Verb,
    Ended(Ending),
}

/// What a verb wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// An event.
    Wait,
    /// Another step.
    Go(StepId),
    /// This step's prompt once more.
    Again,
    /// The end of the call.
    Hangup,
}

impl Interpreter {
    /// Begins a walk; nothing happens before [`Event::Answered`]. `language` is the customer's; a plan that does not speak
    /// it uses its own first.
    ///
    /// # Errors
    /// When the plan cannot run with these variables.
    pub fn new(plan: Arc<Plan>, vars: BTreeMap<String, String>, language: &str) -> Result<Self, VarError> {
        let mut values = vars::resolve(plan.name(), plan.vars(), vars)?;
        let language = plan.language_for(language).to_owned();
        values.insert("language".to_owned(), language.clone());
        let run = Run {
            language,
            values,
            step: plan.start,
            steps_taken: 0,
            state: State::Waiting,
            doing: Doing::Nothing,
            unanswered: 0,
            typed: VecDeque::new(),
            hung_up: false,
            timer_set: false,
            outcome: None,
            actions: VecDeque::new(),
        };
        Ok(Self { plan, run })
    }

    /// Takes in what happened. Events that mean nothing at this point are ignored.
    pub fn handle(&mut self, event: Event) {
        let (plan, run) = (Arc::clone(&self.plan), &mut self.run);
        if matches!(run.state, State::Ended(_)) {
            return;
        }
        match event {
            Event::HungUp => return run.hang_up_received(&plan),
            Event::TimeUp => return run.end(Ending::TimeUp),
            Event::Timer => run.timer_set = false,
            Event::Digit(key) if !is_key(key) => return,
            _ => {}
        }
        let Some(step) = plan.step(run.step) else { return run.end(Ending::Done) };
        let flow = match (run.state, event) {
            (State::Waiting, Event::Answered) => Flow::Go(plan.start),
            (State::Waiting | State::Ended(_), _) => Flow::Wait,
            (State::Prompt, Event::PlayDone) => run.start_verb(&step.verb),
            (State::Prompt, Event::Digit(key)) => {
                run.type_ahead(key);
                if step.verb.takes_barge_in() {
                    run.actions.push_back(Action::StopPlay);
                    run.start_verb(&step.verb)
                } else {
                    Flow::Wait
                }
            }
            (State::Prompt, _) => Flow::Wait,
            (State::Verb, event) => step.verb.handle(run, event),
        };
        run.follow(&plan, flow);
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.run.actions.pop_front()
    }

    /// How the walk ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        match self.run.state {
            State::Ended(ending) => Some(ending),
            _ => None,
        }
    }

    /// The outcome so far.
    pub fn outcome(&self) -> Option<&str> {
        self.run.outcome.as_deref()
    }

    /// The values of all variables so far.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.run.values
    }

    /// The language spoken.
    pub fn language(&self) -> &str {
        &self.run.language
    }

    /// The step it is in, for a trace of the call.
    pub fn step(&self) -> &str {
        self.plan.step(self.run.step).map_or("", |step| step.name.as_str())
    }

    /// The plan it walks.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

/// Without the variables: they hold names, addresses and what was typed.
impl fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Interpreter");
        debug.field("plan", &self.plan.name()).field("step", &self.step()).field("state", &self.run.state);
        debug.field("outcome", &self.run.outcome).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn push(&mut self, action: Action) {
        match action {
            Action::SetTimer(_) => self.timer_set = true,
            Action::ClearTimer if !self.timer_set => return,
            Action::ClearTimer => self.timer_set = false,
            _ => {}
        }
        self.actions.push_back(action);
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        let value = vars::clean(&value);
        self.values.insert(name.to_owned(), value.clone());
        self.push(Action::SetVar { name: name.to_owned(), value: Redacted::new(value) });
    }

    pub(super) fn value(&self, name: &str) -> &str {
        self.values.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    pub(super) fn language(&self) -> &str {
        &self.language
    }

    pub(super) fn type_ahead(&mut self, key: char) {
        if self.typed.len() < MAX_TYPED_AHEAD {
            self.typed.push_back(key);
        }
    }

    /// Follows the verbs' wishes until one waits or the walk ends; every round enters a step, so the bound holds.
    fn follow(&mut self, plan: &Plan, mut flow: Flow) {
        loop {
            let again = flow == Flow::Again;
            match flow {
                Flow::Wait => return,
                Flow::Hangup => return self.end(Ending::Done),
                Flow::Go(next) => {
                    self.step = next;
                    self.unanswered = 0;
                }
                Flow::Again => {}
            }
            self.steps_taken += 1;
            if self.steps_taken > MAX_STEPS {
                return self.end(Ending::TooManySteps);
            }
            flow = self.enter(plan, again);
        }
    }

    fn enter(&mut self, plan: &Plan, again: bool) -> Flow {
        let Some(step) = plan.step(self.step) else { return Flow::Hangup };
        self.doing = Doing::Nothing;
        self.push(Action::ClearTimer);
        if let Some(outcome) = step.outcome.as_ref().filter(|_| !again) {
            self.outcome = Some(outcome.clone());
            self.push(Action::SetOutcome(outcome.clone()));
        }
        let answered_ahead = step.verb.takes_barge_in() && !self.typed.is_empty();
        if !self.hung_up && !answered_ahead {
            let prompts = step.prompts.iter();
            let prompts: Vec<_> = prompts
                .filter_map(|prompt| prompt.render(&self.language, &plan.vars, &self.values))
                .collect();
            if !prompts.is_empty() {
                self.state = State::Prompt;
                self.push(Action::Play(prompts));
                return Flow::Wait;
            }
        }
        self.start_verb(&step.verb)
    }

    fn start_verb(&mut self, verb: &Verb) -> Flow {
        self.state = State::Verb;
        if self.hung_up && verb.needs_the_caller() { Flow::Hangup } else { verb.start(self) }
    }

    fn hang_up_received(&mut self, plan: &Plan) {
        if self.hung_up {
            return;
        }
        self.hung_up = true;
        if self.state == State::Verb && matches!(self.doing, Doing::Record { .. }) {
            // What was said counts: the walk goes on when the recording is finished.
            if let Some(step) = plan.step(self.step) {
                let flow = step.verb.handle(self, Event::HungUp);
                self.follow(plan, flow);
                return;
            }
        }
        self.end(Ending::HungUp);
    }

    fn end(&mut self, ending: Ending) {
        self.push(Action::ClearTimer);
        if !self.hung_up {
            match (self.state, self.doing) {
                (State::Prompt, _) if ending != Ending::Done => self.push(Action::StopPlay),
                (State::Verb, Doing::Record { .. }) if ending != Ending::Done => {
                    self.push(Action::StopRecord)
                }
                _ => {}
            }
            self.push(Action::Hangup);
        }
        self.state = State::Ended(if self.hung_up { Ending::HungUp } else { ending });
    }
}

fn is_key(key: char) -> bool {
    key.is_ascii_digit() || matches!(key, '*' | '#' | 'A'..='D')
}
