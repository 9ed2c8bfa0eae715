//! What happens between answer and hang-up: the dialplan's actions become media commands, media events become the
//! dialplan's events, and the recording step keeps its own time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{DigitSource, Presses};
use crate::audio::tones;
use crate::dialplan::{Action, Event, Interpreter, Prompt, RecordEnd};
use crate::media::{Connection, StreamEvent};

/// Rendered prompts at 8 kHz: one for each prompt that the plan can play in this call.
pub type PromptAudio = BTreeMap<Prompt, Arc<[i16]>>;

/// A customer who has not begun to speak gets at least this long, however short the plan's `silence` is.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// What the media leg must do.
#[derive(Debug, Clone)]
pub enum MediaCommand {
    /// Send to and receive from the peer, in this codec.
    Connect(Connection),
    /// Append to the play queue; [`StreamEvent::PlayDone`] carries the id back when the last sample has left.
    Play {
        /// Names the playback.
        id: u64,
        /// 8 kHz mono.
        samples: Arc<[i16]>,
    },
    /// Empty the play queue.
    StopPlay,
    /// Report speech (voice activity) or stop doing so.
    Listen(bool),
}

/// A stretch of the recording in which the customer answered, in milliseconds since the recording began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRange {
    /// First millisecond.
    pub start_ms: u64,
    /// One past the last millisecond.
    pub end_ms: u64,
}

/// A `record` step under way.
#[derive(Debug)]
struct RecordStep {
    max: Duration,
    silence: Duration,
    /// Set when the beep has been played: recording proper.
    since: Option<Instant>,
    spoke: bool,
    /// When it ends if the customer stays as quiet as they are now; `None` while they speak.
    quiet_until: Option<Instant>,
}

/// The talk of one answered call.
pub struct Talk {
    interpreter: Interpreter,
    prompts: PromptAudio,
    started: Option<Instant>,
    plan_timer: Option<Instant>,
    record: Option<RecordStep>,
    next_play: u64,
    /// The last playback that the dialplan waits for.
    awaited: Option<u64>,
    beep: Option<u64>,
    /// Prompts that wait until the one in `wanted` is rendered.
    unplayed: Vec<Prompt>,
    wanted: Option<Prompt>,
    outcome: Option<String>,
    answers: Vec<AnswerRange>,
    collected: BTreeMap<String, String>,
    hangup: bool,
    ended: bool,
    heard: bool,
    presses: Presses,
    commands: VecDeque<MediaCommand>,
}

impl Talk {
    /// A talk along `interpreter`'s plan, with every prompt it can play in `prompts`.
    pub fn new(interpreter: Interpreter, prompts: PromptAudio) -> Self {
        Self {
            interpreter,
            prompts,
            started: None,
            plan_timer: None,
            record: None,
            next_play: 0,
            awaited: None,
            beep: None,
            unplayed: Vec::new(),
            wanted: None,
            outcome: None,
            answers: Vec::new(),
            collected: BTreeMap::new(),
            hangup: false,
            ended: false,
            heard: false,
            presses: Presses::default(),
            commands: VecDeque::new(),
        }
    }

    /// The callee answered: the recording begins and the plan starts.
    pub(super) fn start(&mut self, now: Instant) {
        self.started = Some(now);
        self.tell(now, Event::Answered);
    }

    /// The customer hung up, or we are about to: an answer under way is kept.
    pub(super) fn end(&mut self, now: Instant) {
        self.ended = true;
        self.tell(now, Event::HungUp);
        self.finish_record(now, RecordEnd::HungUp);
    }

    /// The call has lasted as long as any may. Who is leaving an answer has left it, as if they had hung up.
    pub(super) fn time_up(&mut self, now: Instant) {
        if self.record.as_ref().is_some_and(|step| step.spoke) {
            return self.end(now);
        }
        self.tell(now, Event::TimeUp);
    }

    /// What the plan collected.
    pub(super) fn collected(&self) -> &BTreeMap<String, String> {
        &self.collected
    }

    /// The plan's word for what came of the call so far.
    pub(super) fn outcome(&self) -> Option<&str> {
        self.outcome.as_deref()
    }

    /// Where in the recording the answers are.
    pub(super) fn answers(&self) -> &[AnswerRange] {
        &self.answers
    }

    /// Whether the plan wants to hang up.
    pub(super) fn wants_hangup(&self) -> bool {
        self.hangup
    }

    /// Whether the customer's side ever sent anything.
    pub(super) fn heard_anything(&self) -> bool {
        self.heard
    }

    pub(super) fn poll_command(&mut self) -> Option<MediaCommand> {
        self.commands.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let record = self.record.as_ref().and_then(RecordStep::deadline);
        [self.plan_timer, record].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.plan_timer.is_some_and(|at| at <= now) {
            self.plan_timer = None;
            self.tell(now, Event::Timer);
        }
        if self.record.as_ref().and_then(RecordStep::deadline).is_some_and(|at| at <= now) {
            let end = self.record.as_ref().map_or(RecordEnd::Silence, |step| step.end_at(now));
            self.finish_record(now, end);
        }
    }

    pub(super) fn handle_media(&mut self, now: Instant, event: StreamEvent) {
        match event {
            StreamEvent::FirstPacket { .. } => self.heard = true,
            StreamEvent::PlayDone { id } if self.beep == Some(id) => self.begin_record(now),
            StreamEvent::PlayDone { id } if self.awaited == Some(id) => {
                self.awaited = None;
                self.tell(now, Event::PlayDone);
            }
            StreamEvent::Digit(digit) => self.handle_digit(now, DigitSource::Rtp, digit),
            StreamEvent::SpeechStarted { .. } => {
                if let Some(step) = self.record.as_mut().filter(|step| step.since.is_some()) {
                    step.spoke = true;
                    step.quiet_until = None;
                }
            }
            StreamEvent::SpeechEnded { .. } => {
                if let Some(step) = self.record.as_mut().filter(|step| step.spoke) {
                    step.quiet_until = Some(now + step.silence);
                }
            }
            _ => {}
        }
    }

    /// A key was pressed; who sends it both ways has pressed it once.
    pub(super) fn handle_digit(&mut self, now: Instant, source: DigitSource, digit: char) {
        self.heard = true;
        if self.presses.take(now, source, digit) {
            self.tell(now, Event::Digit(digit));
        }
    }

    /// One event in, every action out.
    fn tell(&mut self, now: Instant, event: Event) {
        self.interpreter.handle(event);
        while let Some(action) = self.interpreter.poll_action() {
            self.act(now, action);
        }
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Play(prompts) => self.play(now, &prompts),
            Action::StopPlay => {
                self.unplayed.clear();
                self.awaited = None;
                self.commands.push_back(MediaCommand::StopPlay);
            }
            Action::SetTimer(after) => self.plan_timer = Some(now + after),
            Action::ClearTimer => self.plan_timer = None,
            Action::StartRecord { max, silence, beep, .. } => {
                self.record = Some(RecordStep { max, silence, since: None, spoke: false, quiet_until: None });
                if beep {
                    let samples: Arc<[i16]> = tones::beep().into();
                    self.beep = Some(self.enqueue(samples));
                } else {
                    self.begin_record(now);
                }
            }
            Action::StopRecord if self.ended => self.finish_record(now, RecordEnd::HungUp),
            Action::StopRecord => self.finish_record(now, RecordEnd::Stopped),
            Action::SetOutcome(word) => self.outcome = Some(word),
            Action::SetVar { name, value } => {
                self.collected.insert(name, value.into_inner());
            }
            Action::Hangup => self.hangup = true,
        }
    }

    /// Plays `prompts`, or asks for the first one that is not rendered yet and comes back.
    fn play(&mut self, now: Instant, prompts: &[Prompt]) {
        if let Some(missing) = prompts.iter().find(|prompt| !self.prompts.contains_key(*prompt)) {
            self.wanted = Some(missing.clone());
            self.unplayed = prompts.to_vec();
            return;
        }
        let mut last = None;
        for prompt in prompts {
            if let Some(samples) = self.prompts.get(prompt).filter(|samples| !samples.is_empty()).cloned() {
                last = Some(self.enqueue(samples));
            }
        }
        self.awaited = last;
        if last.is_none() {
            self.tell(now, Event::PlayDone);
        }
    }

    pub(super) fn handle_rendered(&mut self, now: Instant, prompt: Prompt, samples: Option<Arc<[i16]>>) {
        self.prompts.insert(prompt, samples.unwrap_or_default());
        let prompts = std::mem::take(&mut self.unplayed);
        if !prompts.is_empty() {
            self.play(now, &prompts);
        }
    }

    pub(super) fn poll_render(&mut self) -> Option<Prompt> {
        self.wanted.take()
    }

    fn enqueue(&mut self, samples: Arc<[i16]>) -> u64 {
        let id = self.next_play;
        self.next_play += 1;
        self.commands.push_back(MediaCommand::Play { id, samples });
        id
    }

    fn begin_record(&mut self, now: Instant) {
        self.beep = None;
        if let Some(step) = self.record.as_mut() {
            step.since = Some(now);
            step.quiet_until = Some(now + step.silence.max(LEAST_PATIENCE));
            self.commands.push_back(MediaCommand::Listen(true));
        }
    }

    fn finish_record(&mut self, now: Instant, reason: RecordEnd) {
        let Some(step) = self.record.take() else { return };
        self.beep = None;
        self.commands.push_back(MediaCommand::Listen(false));
        if let (Some(started), Some(since), true) = (self.started, step.since, step.spoke) {
            let position = |at: Instant| u64::try_from((at - started).as_millis()).unwrap_or(u64::MAX);
            self.answers.push(AnswerRange { start_ms: position(since), end_ms: position(now) });
        }
        self.tell(now, Event::RecordDone { reason, spoke: step.spoke });
    }
}

impl RecordStep {
    fn deadline(&self) -> Option<Instant> {
        let since = self.since?;
        Some(self.quiet_until.map_or(since + self.max, |quiet| quiet.min(since + self.max)))
    }

    fn end_at(&self, now: Instant) -> RecordEnd {
        match self.since {
            Some(since) if since + self.max <= now => RecordEnd::Max,
            _ => RecordEnd::Silence,
        }
    }
}
