//! The loop that carries out what a [`Call`] wants: datagrams to the SIP socket, commands to the media leg, progress to the
//! store, and time back in.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};
use tokio::time::sleep_until;
use tracing::{error, warn};
use uuid::Uuid;

use super::Engine;
use super::media::{Leg, LegCommand, LegEvent};
use super::routing::{self, OnTrunk};
use super::signalling::{Inbound, Unreachable};
use super::trace::CallTrace;
use crate::call::{Call, Conclusion, EndCause, MediaCommand, Output, Progress};
use crate::dialplan::Prompt;
use crate::media::{StreamEvent, Tap};
use crate::sip::{Hop, SessionId};
use crate::store::attempts;

/// What a person or system of ours can tell a running call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Hang up, or cancel while it rings.
    HangUp,
}

/// Everything that one call's loop owns.
pub(super) struct Drive {
    pub engine: Arc<Engine>,
    pub attempt: Uuid,
    pub session: SessionId,
    pub call: Call,
    /// Closed when the call is concluded.
    pub leg: Option<Leg>,
    pub tap: Option<Box<dyn Tap>>,
    pub inbox: mpsc::Receiver<Inbound>,
    /// Connections that broke.
    pub lost: broadcast::Receiver<Hop>,
    pub orders: mpsc::Receiver<Control>,
    /// Handed back when the call is concluded.
    pub on_trunk: Option<OnTrunk>,
    pub trace: CallTrace,
}

/// What the loop came to.
enum Step {
    GoOn,
    Concluded(Conclusion),
    Finished,
}

impl Drive {
    /// Runs the call to its conclusion; its last SIP transactions go on in a task of their own.
    pub async fn run(mut self) -> Option<Conclusion> {
        let running = self.engine.metrics.trunks.begun(self.trace.peer());
        let conclusion = self.until_concluded().await;
        drop(running);
        let cause = conclusion.as_ref().map_or(EndCause::Unknown, |conclusion| conclusion.cause);
        self.engine.metrics.trunks.ended(self.trace.peer(), cause);
        self.trace.flush();
        self.tap = None;
        let sound = match self.leg.take() {
            Some(leg) => leg.close().await,
            None => None,
        };
        if let Some((on_trunk, conclusion)) = self.on_trunk.take().zip(conclusion.as_ref()) {
            on_trunk.end(routing::verdict(conclusion, sound.as_ref()));
        }
        let engine = self.engine.clone();
        engine.lingering().spawn(self.linger());
        conclusion
    }

    /// `None` is a bug of the call machine: it finished without a conclusion.
    async fn until_concluded(&mut self) -> Option<Conclusion> {
        loop {
            while let Some(output) = self.call.poll_output() {
                match self.carry_out(output).await {
                    Step::GoOn => {}
                    Step::Concluded(conclusion) => return Some(conclusion),
                    Step::Finished => return None,
                }
            }
            self.wait().await;
        }
    }

    /// Answers and repeats what RFC 3261 §17 still asks for after the end.
    async fn linger(mut self) {
        loop {
            while let Some(output) = self.call.poll_output() {
                if matches!(self.carry_out(output).await, Step::Finished) {
                    self.trace.flush();
                    return self.engine.signalling.release(self.session);
                }
            }
            self.wait().await;
        }
    }

    async fn carry_out(&mut self, output: Output) -> Step {
        match output {
            Output::Transmit(transmit) => {
                self.trace.sent(&transmit);
                if let Err(Unreachable(hop)) = self.engine.signalling.send(&transmit).await {
                    self.call.handle_unreachable(Instant::now(), hop);
                }
            }
            Output::Media(command) => self.tell_leg(command),
            Output::Render(prompt) => self.render(prompt).await,
            Output::Progress(progress) => self.note(progress).await,
            Output::Concluded(conclusion) => return Step::Concluded(*conclusion),
            Output::Finished => return Step::Finished,
        }
        Step::GoOn
    }

    /// One input, whatever comes first.
    async fn wait(&mut self) {
        let timer = until(self.call.poll_timeout());
        let flush = until(self.trace.due());
        let heard = async {
            match self.leg.as_mut() {
                Some(leg) => leg.events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(inbound) = self.inbox.recv() => {
                self.trace.received(&inbound);
                self.call.handle_message(Instant::now(), inbound.source, inbound.message);
            }
            Some(event) = heard => self.on_leg(event),
            Ok(hop) = self.lost.recv() => self.call.handle_unreachable(Instant::now(), hop),
            Some(Control::HangUp) = self.orders.recv() => self.call.hang_up(Instant::now()),
            () = timer => self.call.handle_timeout(Instant::now()),
            () = flush => self.trace.flush(),
        }
    }

    fn on_leg(&mut self, event: LegEvent) {
        match event {
            LegEvent::Stream(event) => self.call.handle_media(Instant::now(), event),
            // The plan must not wait for a clip that will not be played.
            LegEvent::PlayRefused { id, error } => {
                warn!(attempt = %self.attempt, %error, "a prompt was not played");
                self.call.handle_media(Instant::now(), StreamEvent::PlayDone { id });
            }
            LegEvent::DigitsRefused(error) => warn!(attempt = %self.attempt, %error, "digits were not sent"),
        }
    }

    fn tell_leg(&mut self, command: MediaCommand) {
        let command = match command {
            MediaCommand::Connect(connection) => LegCommand::Connect(connection),
            MediaCommand::Play { id, samples } => LegCommand::Play { id, samples },
            MediaCommand::StopPlay => LegCommand::StopPlay,
            MediaCommand::Listen(on) => LegCommand::Listen(on),
        };
        if let Some(Err(error)) = self.leg.as_ref().map(|leg| leg.try_send(command)) {
            warn!(attempt = %self.attempt, %error, "the media leg does not take a command");
        }
    }

    /// A prompt with digits or words of this very call in it: it could not be rendered before dialling.
    async fn render(&mut self, prompt: Prompt) {
        let cache = self.engine.prompts();
        let rendered = match &prompt {
            Prompt::Text { language, text } => cache.text(language, text).await,
            Prompt::File(path) => cache.file(path).await,
        };
        let samples = rendered.map_err(|error| warn!(attempt = %self.attempt, %error, "a prompt is left out")).ok();
        self.call.handle_rendered(Instant::now(), prompt, samples);
    }

    async fn note(&mut self, progress: Progress) {
        let now = Timestamp::now();
        // Ringing or answered: either way the trunk works.
        if let Some(on_trunk) = &mut self.on_trunk {
            on_trunk.reached();
        }
        let noted = match progress {
            Progress::Ringing => attempts::ringing(&self.engine.store, now, self.attempt).await,
            Progress::Answered => {
                self.engine.metrics.trunks.answered(self.trace.peer());
                // The recording begins before the database is asked, so that no word of the customer is missed.
                if let (Some(tap), Some(leg)) = (self.tap.take(), &self.leg)
                    && let Err(error) = leg.try_send(LegCommand::StartRecording(tap))
                {
                    error!(attempt = %self.attempt, %error, "this call is not recorded");
                }
                attempts::answered(&self.engine.store, now, self.attempt).await
            }
        };
        if let Err(error) = noted {
            error!(attempt = %self.attempt, %error, "progress could not be stored; the call goes on");
        }
    }
}

/// Resolves at that time; never, if there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
