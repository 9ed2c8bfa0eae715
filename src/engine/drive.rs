//! The loop that carries out what a [`Call`] wants: datagrams to the SIP socket, commands to the media leg, progress to the
//! store, and time back in.

use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::{error, warn};
use uuid::Uuid;

use super::Engine;
use super::media::{Leg, LegCommand, LegEvent};
use super::signalling::Inbound;
use crate::call::{Call, Conclusion, MediaCommand, Output, Progress};
use crate::dialplan::Prompt;
use crate::media::{StreamEvent, Tap};
use crate::store::attempts;

/// What a person or system of ours can tell a running call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Hang up, or cancel while it rings.
    HangUp,
}

/// Everything that one call's loop owns.
pub(super) struct Drive<'a> {
    pub engine: &'a Engine,
    pub attempt: Uuid,
    pub call: Call,
    pub leg: &'a mut Leg,
    pub tap: Option<Box<dyn Tap>>,
    pub inbox: mpsc::Receiver<Inbound>,
    pub orders: mpsc::Receiver<Control>,
}

impl Drive<'_> {
    /// Runs the call to its end.
    pub async fn run(mut self) -> Conclusion {
        loop {
            while let Some(output) = self.call.poll_output() {
                if let Some(conclusion) = self.carry_out(output).await {
                    return conclusion;
                }
            }
            self.wait().await;
        }
    }

    async fn carry_out(&mut self, output: Output) -> Option<Conclusion> {
        match output {
            Output::Transmit(transmit) => self.engine.signalling.send(&transmit).await,
            Output::Media(command) => self.tell_leg(command),
            Output::Render(prompt) => self.render(prompt).await,
            Output::Progress(progress) => self.note(progress).await,
            Output::Finished(conclusion) => return Some(*conclusion),
        }
        None
    }

    /// One input, whatever comes first.
    async fn wait(&mut self) {
        let deadline = self.call.poll_timeout();
        let timer = async {
            match deadline {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(inbound) = self.inbox.recv() => {
                self.call.handle_message(Instant::now(), inbound.source, inbound.message);
            }
            Some(event) = self.leg.events.recv() => self.on_leg(event),
            Some(Control::HangUp) = self.orders.recv() => self.call.hang_up(Instant::now()),
            () = timer => self.call.handle_timeout(Instant::now()),
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
        if let Err(error) = self.leg.try_send(command) {
            warn!(attempt = %self.attempt, %error, "the media leg does not take a command");
        }
    }

    /// A prompt with digits or words of this very call in it: it could not be rendered before dialling.
    async fn render(&mut self, prompt: Prompt) {
        let rendered = match &prompt {
            Prompt::Text { language, text } => self.engine.prompts.text(language, text).await,
            Prompt::File(path) => self.engine.prompts.file(path).await,
        };
        let samples = rendered.map_err(|error| warn!(attempt = %self.attempt, %error, "a prompt is left out")).ok();
        self.call.handle_rendered(Instant::now(), prompt, samples);
    }

    async fn note(&mut self, progress: Progress) {
        let now = Timestamp::now();
        let noted = match progress {
            Progress::Ringing => attempts::ringing(&self.engine.store, now, self.attempt).await,
            Progress::Answered => {
                // The recording begins before the database is asked, so that no word of the customer is missed.
                if let Some(tap) = self.tap.take()
                    && let Err(error) = self.leg.try_send(LegCommand::StartRecording(tap))
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
