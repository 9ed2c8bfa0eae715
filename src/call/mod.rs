//! One call: a SIP session, its media leg and its dialplan interpreter, as one machine without I/O.
//!
//! ```text
//!             input                                         Output
//!   SIP message ──────►┌──────────────────────────────┐──► Transmit     a datagram for the SIP socket
//!   media event ──────►│ Call                         │──► Media        a command for the media leg
//!   timeout     ──────►│  Session ◄─► Talk            │──► Progress     ringing, answered: for the store and the page
//!   command     ──────►└──────────────────────────────┘──► Concluded    how it ended, once; then Finished
//! ```
//!
//! Phases: `Dialing` until the callee answers or refuses (or `Alerting` and `Confirming` for a call that came in, until our
//! answer and until its ACK), `Talking` while the dialplan runs, `Closing` from our BYE or
//! CANCEL (or the peer's) until the session's last transaction is over. The call is concluded when `Closing` begins.

pub mod cause;
mod digits;
mod incoming;
pub mod state;
mod talk;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dialplan::Prompt;
use crate::media::{Connection, StreamEvent};
use crate::sdp::{Direction, Exchange, MediaPolicy, Negotiated, SdpError, SessionOrigin};
use crate::sip::message::{Message, Uri};
use crate::sip::reason::Reason;
use crate::sip::refer::ReferTo;
use crate::sip::session::{CannotRequest, Failure, Referral, Session, SessionEvent, SessionOutput, Side};
use crate::sip::{Hop, Transmit};

pub use digits::{DigitSource, Presses};
pub use state::{AttemptState, EndCause};
pub use talk::{AnswerRange, MediaCommand, PromptAudio, Talk};

/// The bounds of one call.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long it may ring before we give up and CANCEL; how long a call that came in rings before we answer.
    pub ring: Duration,
    /// How long it may last after the answer.
    pub duration: Duration,
}

/// What the INVITE's SDP offered, so that later offers and answers agree with it.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Codecs and digits.
    pub media: MediaPolicy,
    /// The `o=` line's numbers.
    pub origin: SessionOrigin,
    /// Where the media leg receives.
    pub local_rtp: SocketAddr,
}

/// What the shell must do.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// Tell the media leg.
    Media(MediaCommand),
    /// Render this prompt and hand it to [`Call::handle_rendered`]: it repeats what was said or typed in this call.
    Render(Prompt),
    /// Something that the store and the page want to know.
    Progress(Progress),
    /// [`Call::transfer`] came to nothing; the call goes on.
    TransferFailed {
        /// The status of the refusal: of the transfer itself, or of the call to its target. `None`: nobody said.
        status: Option<u16>,
    },
    /// The call is over for all who took part; only its last SIP transactions go on.
    Concluded(Box<Conclusion>),
    /// The last transaction is over too; drop the call.
    Finished,
}

/// A step forward, at most once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The phone rings.
    Ringing,
    /// Somebody or something answered; the recording begins.
    Answered,
}

/// How the call ended: the one thing that outlives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// The one cause.
    pub cause: EndCause,
    /// The final SIP status of a refusal.
    pub sip_status: Option<u16>,
    /// More about it, for a person.
    pub reason: Option<String>,
    /// The dialplan's word for what came of it.
    pub outcome: Option<String>,
    /// When the customer's answers were recorded, in milliseconds since the answer.
    pub answers: Vec<AnswerRange>,
    /// What the plan collected: digits and other variables that it set.
    pub collected: BTreeMap<String, String>,
    /// Whether the callee picked up.
    pub answered: bool,
    /// Whether the callee may have heard of the call: it rang, or was picked up even if only to fail. Otherwise another trunk
    /// may be tried.
    pub reached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dialing { give_up_at: Instant },
    Alerting { answer_at: Instant },
    Confirming,
    Talking { end_at: Instant },
    Closing,
    Finished,
}

/// One call. Contract: one input, then drain [`Call::poll_output`].
pub struct Call {
    session: Session,
    talk: Talk,
    exchange: Exchange,
    /// We hold the other side, or want to.
    holding: bool,
    /// Our last description holds.
    held: bool,
    limits: Limits,
    phase: Phase,
    /// The trunk has answered anything at all.
    heard: bool,
    rang: bool,
    /// For a call that came in, until its ACK.
    reply: Option<incoming::Reply>,
    outputs: VecDeque<Output>,
}

impl Call {
    /// A call whose INVITE `session` is about to send, with what that INVITE offered.
    pub fn new(now: Instant, session: Session, talk: Talk, offered: Offered, limits: Limits) -> Self {
        let phase = Phase::Dialing { give_up_at: now + limits.ring };
        let mut call = Self::begin(session, talk, offered, limits, phase);
        // What the INVITE says already.
        call.exchange.offer(Direction::SendRecv);
        call.settle(now);
        call
    }

    fn begin(session: Session, talk: Talk, offered: Offered, limits: Limits, phase: Phase) -> Self {
        let exchange = Exchange::new(offered.media, offered.origin, offered.local_rtp);
        Self {
            session,
            talk,
            exchange,
            holding: false,
            held: false,
            limits,
            phase,
            heard: false,
            rang: false,
            reply: None,
            outputs: VecDeque::new(),
        }
    }

    /// A SIP message of this call's session arrived.
    pub fn handle_message(&mut self, now: Instant, source: Hop, message: Message) {
        self.session.handle_message(now, source, message);
        self.settle(now);
    }

    /// The shell could not send to `hop`.
    pub fn handle_unreachable(&mut self, now: Instant, hop: Hop) {
        self.session.handle_unreachable(now, hop);
        self.settle(now);
    }

    /// Something happened on the media leg.
    pub fn handle_media(&mut self, now: Instant, event: StreamEvent) {
        if !matches!(self.phase, Phase::Talking { .. }) {
            return;
        }
        if matches!(event, StreamEvent::RtpTimeout { .. }) {
            // The customer may have spoken before the network died: what they left is kept, the cause stays honest.
            let cause = if self.talk.heard_anything() { EndCause::Human } else { EndCause::NetworkError };
            self.close(now, cause, None, Some("no RTP arrived from the customer's side".to_owned()));
            self.release(now, cause::TEMPORARY_FAILURE);
        } else {
            self.talk.handle_media(now, event);
        }
        self.settle(now);
    }

    /// A prompt that [`Output::Render`] asked for; `None`: it could not be rendered and is passed over.
    pub fn handle_rendered(&mut self, now: Instant, prompt: Prompt, samples: Option<Arc<[i16]>>) {
        self.talk.handle_rendered(now, prompt, samples);
        self.settle(now);
    }

    /// A person or a system of ours ends the call.
    pub fn hang_up(&mut self, now: Instant) {
        match self.phase {
            Phase::Dialing { .. } => {
                self.close(now, EndCause::Cancelled, None, None);
                self.release(now, cause::NORMAL_CLEARING);
            }
            Phase::Alerting { .. } | Phase::Confirming => {
                self.close(now, EndCause::Cancelled, None, Some("hung up by us".to_owned()));
                self.release(now, cause::NORMAL_CLEARING);
            }
            Phase::Talking { .. } => {
                self.close(now, EndCause::Human, None, Some("hung up by us".to_owned()));
                self.release(now, cause::NORMAL_CLEARING);
            }
            Phase::Closing | Phase::Finished => {}
        }
        self.settle(now);
    }

    /// Asks the other side to call `target` instead of us: a blind transfer (RFC 3515). When that call is answered, ours is hung
    /// up; when it fails, [`Output::TransferFailed`] says so and the call goes on as it was, dialplan and all. A transfer that
    /// the other side asks of us is declined: nobody but the dialplan decides whom we call.
    ///
    /// # Errors
    /// Nobody has answered yet, the call is over, or a transfer is under way.
    pub fn transfer(&mut self, now: Instant, target: Uri) -> Result<(), CannotRequest> {
        if !matches!(self.phase, Phase::Talking { .. }) {
            return Err(CannotRequest);
        }
        self.session.refer(now, &ReferTo::new(target))?;
        self.settle(now);
        Ok(())
    }

    /// Puts the other side on hold with a re-INVITE: it hears us and says nothing (RFC 3264 §8.4). When it holds us too,
    /// nobody sends. Begins as soon as an offer can be made; a refusal leaves the call as it was.
    pub fn hold(&mut self, now: Instant) {
        self.holding = true;
        self.settle(now);
    }

    /// Ends [`Call::hold`]; media flows again unless the other side holds us.
    pub fn resume(&mut self, now: Instant) {
        self.holding = false;
        self.settle(now);
    }

    /// Whether the other side has agreed to be on hold.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// When [`Call::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Dialing { give_up_at } => Some(give_up_at),
            Phase::Alerting { answer_at } => Some(answer_at),
            Phase::Talking { end_at } => Some(self.talk.poll_timeout().map_or(end_at, |at| at.min(end_at))),
            Phase::Confirming | Phase::Closing => None,
            Phase::Finished => return None,
        };
        [own, self.session.poll_timeout()].into_iter().flatten().min()
    }

    /// The time that [`Call::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        match self.phase {
            Phase::Dialing { give_up_at } if give_up_at <= now => {
                let seconds = self.limits.ring.as_secs();
                let (cause, reason) = match self.heard {
                    true => (EndCause::NoAnswer, format!("it rang for {seconds} s")),
                    false => (
                        EndCause::NetworkError,
                        format!("the trunk did not answer the INVITE for {seconds} s"),
                    ),
                };
                self.close(now, cause, None, Some(reason));
                self.release(now, cause::NO_ANSWER);
            }
            Phase::Alerting { answer_at } if answer_at <= now => self.pick_up(now),
            Phase::Talking { end_at } if end_at <= now => {
                self.talk.time_up(now);
                self.close(
                    now,
                    EndCause::Human,
                    None,
                    Some("the call reached its longest duration".to_owned()),
                );
                self.release(now, cause::NORMAL_UNSPECIFIED);
            }
            Phase::Talking { .. } => self.talk.handle_timeout(now),
            _ => {}
        }
        self.settle(now);
    }

    /// What the shell must do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Moves what session and talk want to say to where it goes, until both are quiet.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.session.poll_output() {
                match output {
                    SessionOutput::Transmit(transmit) => self.outputs.push_back(Output::Transmit(transmit)),
                    SessionOutput::Event(event) => self.on_session(now, event),
                }
            } else if let Some(command) = self.talk.poll_command() {
                self.outputs.push_back(Output::Media(command));
            } else if let Some(prompt) = self.talk.poll_render() {
                self.outputs.push_back(Output::Render(prompt));
            } else if self.talk.wants_hangup() && matches!(self.phase, Phase::Talking { .. }) {
                self.close(now, EndCause::Human, None, None);
                self.release(now, cause::NORMAL_CLEARING);
            } else if !self.offer_hold(now) {
                return;
            }
        }
    }

    fn on_session(&mut self, now: Instant, event: SessionEvent) {
        self.heard = true;
        match event {
            SessionEvent::Ringing { .. } => self.on_ringing(),
            SessionEvent::EarlyMedia { sdp } => {
                self.on_ringing();
                if let Ok(negotiated) = self.negotiate(&sdp) {
                    self.connect(&negotiated);
                }
            }
            SessionEvent::Answered { sdp } => self.on_answered(now, sdp.as_deref()),
            SessionEvent::Offer { sdp } => self.on_offer(now, sdp.as_deref()),
            SessionEvent::OfferAnswered { sdp } => self.on_reanswer(sdp.as_deref()),
            SessionEvent::OfferRefused { status } => self.on_offer_refused(status),
            SessionEvent::Failed(failure) => self.on_failed(now, failure),
            SessionEvent::Ended { by: Side::Remote, reason } => self.on_bye(now, reason.as_deref()),
            // What we end ourselves is concluded by then; otherwise the other side was lost.
            SessionEvent::Ended { by: Side::Local, reason } => {
                self.close(now, EndCause::NetworkError, None, reason);
            }
            SessionEvent::Finished => {
                self.phase = Phase::Finished;
                self.outputs.push_back(Output::Finished);
            }
            SessionEvent::Acknowledged { sdp } => self.on_acknowledged(now, sdp.as_deref()),
            SessionEvent::Refer { .. } => self.session.decline_refer(now, 603),
            SessionEvent::Referral(referral) => self.on_referral(now, &referral),
            SessionEvent::Digit { digit, .. } if matches!(self.phase, Phase::Talking { .. }) => {
                self.talk.handle_digit(now, DigitSource::Info, digit);
            }
            // Nobody in a dialplan reads.
            SessionEvent::Text(_)
            | SessionEvent::Digit { .. }
            | SessionEvent::Trying
            | SessionEvent::Answer { .. } => {}
        }
    }

    fn on_ringing(&mut self) {
        if !self.rang && matches!(self.phase, Phase::Dialing { .. }) {
            self.rang = true;
            self.outputs.push_back(Output::Progress(Progress::Ringing));
        }
    }

    fn on_answered(&mut self, now: Instant, answer: Option<&[u8]>) {
        if !matches!(self.phase, Phase::Dialing { .. }) {
            return; // it crossed our CANCEL; the session hangs up by itself
        }
        match answer.ok_or(SdpError::NoAudio).and_then(|sdp| self.negotiate(sdp)) {
            Ok(negotiated) => self.begin_talk(now, Connection::from(&negotiated)),
            Err(error) => {
                self.rang = true; // somebody has picked up a phone
                self.close(
                    now,
                    EndCause::TrunkError,
                    Some(200),
                    Some(format!("the trunk's SDP answer: {error}")),
                );
                self.release(now, cause::INCOMPATIBLE_DESTINATION);
            }
        }
    }

    fn begin_talk(&mut self, now: Instant, connection: Connection) {
        self.phase = Phase::Talking { end_at: now + self.limits.duration };
        self.outputs.push_back(Output::Media(MediaCommand::Connect(connection)));
        self.outputs.push_back(Output::Progress(Progress::Answered));
        self.talk.start(now);
    }

    /// A re-INVITE: the same policy answers it as offered the first time; one without an offer gets ours again.
    fn on_offer(&mut self, now: Instant, offer: Option<&[u8]>) {
        let wanted = self.wanted_direction();
        let Some(offer) = offer else {
            let ours = self.exchange.offer(wanted);
            return self.session.answer_offer(now, &ours);
        };
        match self.exchange.answer(offer, wanted) {
            Ok((answer, negotiated)) => {
                self.held = self.holding;
                self.session.answer_offer(now, &answer);
                self.connect(&negotiated);
            }
            Err(_) => self.session.reject_offer(now, 488),
        }
    }

    fn on_failed(&mut self, now: Instant, failure: Failure) {
        let (cause, status, reason) = match failure {
            Failure::Status { code, reason_phrase, reason, .. } => {
                let reasons = Reason::parse(reason.as_deref().unwrap_or_default());
                (cause::from_refusal(code, &reasons), Some(code), Some(format!("{code} {reason_phrase}")))
            }
            Failure::Timeout => {
                (EndCause::NetworkError, None, Some("the trunk did not answer the INVITE".to_owned()))
            }
            Failure::Unauthorized => {
                let remedy = "the trunk refused our username or password: see the trunk's file";
                (EndCause::TrunkError, Some(401), Some(remedy.to_owned()))
            }
            Failure::Cancelled if matches!(self.phase, Phase::Alerting { .. }) => {
                (EndCause::Cancelled, Some(487), Some("the caller hung up before we answered".to_owned()))
            }
            Failure::Cancelled => (EndCause::Cancelled, None, None),
            other => (EndCause::NetworkError, None, Some(other.to_string())),
        };
        self.close(now, cause, status, reason);
    }

    fn on_referral(&mut self, now: Instant, referral: &Referral) {
        match referral {
            Referral::Accepted { reported: false } | Referral::Finished { status: Some(200..300) } => {
                self.close(now, EndCause::Human, None, Some("transferred".to_owned()));
                self.release(now, cause::NORMAL_CLEARING);
            }
            Referral::Refused(Failure::Status { code, .. }) => self.transfer_failed(Some(*code)),
            Referral::Refused(_) => self.transfer_failed(None),
            Referral::Finished { status } => self.transfer_failed(*status),
            Referral::Accepted { reported: true } | Referral::Progress { .. } => {}
        }
    }

    fn transfer_failed(&mut self, status: Option<u16>) {
        self.outputs.push_back(Output::TransferFailed { status });
    }

    /// Their BYE. A gateway says in its Reason when it was not the customer who ended the call.
    fn on_bye(&mut self, now: Instant, reason: Option<&str>) {
        let isdn = Reason::isdn(&Reason::parse(reason.unwrap_or_default()));
        let Some(failure) = isdn.filter(|isdn| cause::is_networks(*isdn)) else {
            return self.close(now, EndCause::Human, None, Some("the customer hung up".to_owned()));
        };
        let cause = if self.talk.heard_anything() { EndCause::Human } else { EndCause::NetworkError };
        self.close(now, cause, None, Some(format!("the network ended the call: Q.850 cause {failure}")));
    }

    /// Ends the session whatever its state, with an ISDN cause for whoever bills or debugs.
    fn release(&mut self, now: Instant, isdn: u16) {
        self.session.hang_up(now, Some(&Reason::q850(isdn).to_string()));
    }

    fn wanted_direction(&self) -> Direction {
        if self.holding { Direction::SendOnly } else { Direction::SendRecv }
    }

    /// Sends the re-INVITE that hold or resume still needs; `false` when there is nothing to do now.
    fn offer_hold(&mut self, now: Instant) -> bool {
        let talking = matches!(self.phase, Phase::Talking { .. });
        if !talking || self.holding == self.held || !self.session.can_offer() {
            return false;
        }
        let offer = self.exchange.offer(self.wanted_direction());
        self.session.reinvite(now, Some(&offer)).is_ok()
    }

    fn on_reanswer(&mut self, answer: Option<&[u8]>) {
        // What was offered: another wish since then makes the next offer.
        self.held = self.exchange.offered() != Direction::SendRecv;
        if let Some(Ok(negotiated)) = answer.map(|sdp| self.negotiate(sdp)) {
            self.connect(&negotiated);
        }
    }

    /// After glare the offer is made again when it can be; anything else leaves the call as it was.
    fn on_offer_refused(&mut self, status: u16) {
        if status != 491 {
            self.holding = self.held;
        }
    }

    fn connect(&mut self, negotiated: &Negotiated) {
        self.outputs.push_back(Output::Media(MediaCommand::Connect(Connection::from(negotiated))));
    }

    fn negotiate(&self, answer: &[u8]) -> Result<Negotiated, SdpError> {
        self.exchange.accept(answer)
    }

    /// Fixes the conclusion; the first one counts.
    fn close(&mut self, now: Instant, cause: EndCause, sip_status: Option<u16>, reason: Option<String>) {
        let answered = match self.phase {
            Phase::Dialing { .. } | Phase::Alerting { .. } | Phase::Confirming => false,
            Phase::Talking { .. } => true,
            Phase::Closing | Phase::Finished => return,
        };
        if answered {
            self.talk.end(now);
        }
        self.phase = Phase::Closing;
        let cause = if answered || cause != EndCause::Human { cause } else { EndCause::NoAnswer };
        let conclusion = Conclusion {
            cause,
            sip_status,
            reason,
            outcome: self.talk.outcome().map(str::to_owned),
            answers: self.talk.answers().to_vec(),
            collected: self.talk.collected().clone(),
            answered,
            reached: answered || self.rang,
        };
        self.outputs.push_back(Output::Concluded(Box::new(conclusion)));
    }
}
