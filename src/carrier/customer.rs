//! One call at a customer's end: SIP session, media leg and script.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::warn;

use super::customers::Customer;
use super::script::{Act, BEEP_HZ, Script};
use crate::engine::media::{Leg, LegCommand, LegConfig, LegEvent, MediaPool};
use crate::engine::signalling::{Inbound, Signalling, Unreachable};
use crate::media::Connection;
use crate::sdp::{self, Direction, MediaPolicy, SessionOrigin};
use crate::sip::message::Header;
use crate::sip::session::{Session, SessionEvent, SessionOutput};

/// What the carrier does with a call.
pub enum Answering {
    /// Refuse it with a status and these fields.
    Refuse(u16, Vec<Header>),
    /// Ring at a customer's.
    Customer(Arc<Customer>),
}

/// What the customer speaks: G.711 and telephone-events.
fn policy() -> MediaPolicy {
    MediaPolicy { codecs: vec![sdp::Codec::Pcmu, sdp::Codec::Pcma], telephone_event: true, ptime_ms: 20 }
}

struct Line<'a> {
    signalling: &'a Signalling,
    session: Session,
    customer: Option<Arc<Customer>>,
    /// Set while it rings and will be picked up.
    pick_up_at: Option<Instant>,
    leg: Option<Leg>,
    script: Option<Script>,
    next_clip: u64,
    finished: bool,
}

/// Plays the customer's part until the call is over.
pub async fn run(
    signalling: &Signalling,
    media: &MediaPool,
    session: Session,
    answering: Answering,
    mut inbox: mpsc::Receiver<Inbound>,
) {
    let mut line = Line {
        signalling,
        session,
        customer: None,
        pick_up_at: None,
        leg: None,
        script: None,
        next_clip: 0,
        finished: false,
    };
    line.begin(answering);
    let mut lost = signalling.lost();
    while !line.finished {
        line.settle().await;
        if line.finished {
            break;
        }
        let deadline = line.deadline();
        let timer = async {
            match deadline {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let heard = async {
            match line.leg.as_mut() {
                Some(leg) => leg.events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(inbound) = inbox.recv() => {
                line.session.handle_message(Instant::now(), inbound.source, inbound.message);
            }
            Some(event) = heard => {
                if let (LegEvent::Stream(event), Some(script)) = (event, line.script.as_mut()) {
                    script.handle_media(Instant::now(), &event);
                }
            }
            Ok(hop) = lost.recv() => line.session.handle_unreachable(Instant::now(), hop),
            () = timer => line.handle_timeout(media),
        }
    }
}

impl Line<'_> {
    fn begin(&mut self, answering: Answering) {
        let now = Instant::now();
        match answering {
            Answering::Refuse(status, fields) => self.session.reject(now, status, &fields),
            Answering::Customer(customer) => {
                if let Some(status) = customer.status {
                    self.session.reject(now, status, &[]);
                } else {
                    self.session.ring(now, 180, None);
                    self.pick_up_at = customer.answers.then(|| now + customer.ring);
                }
                self.customer = Some(customer);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let script = self.script.as_ref().and_then(Script::poll_timeout);
        [self.session.poll_timeout(), self.pick_up_at, script].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, media: &MediaPool) {
        let now = Instant::now();
        self.session.handle_timeout(now);
        if let Some(script) = self.script.as_mut() {
            script.handle_timeout(now);
        }
        if self.pick_up_at.is_some_and(|at| at <= now) {
            self.pick_up_at = None;
            if let Err(error) = self.pick_up(now, media) {
                warn!(error, "a customer could not pick up");
                self.session.reject(now, 488, &[]);
            }
        }
    }

    fn pick_up(&mut self, now: Instant, media: &MediaPool) -> Result<(), String> {
        let offer = self.session.remote_offer().ok_or("the INVITE has no offer")?.to_vec();
        let ip = self.signalling.local_addr().ip();
        let leg = media.open(&LegConfig::new(ip, None)).map_err(|error| error.to_string())?;
        let origin = SessionOrigin { id: 1, version: 1 };
        let answered = sdp::answer(&offer, &policy(), origin, leg.local_addr(), Direction::SendRecv);
        let (answer, negotiated) = answered.map_err(|error| error.to_string())?;
        self.session.accept(now, &answer);
        let orders = [
            LegCommand::Connect(Connection::from(&negotiated)),
            LegCommand::Listen(true),
            LegCommand::WatchTone(Some(BEEP_HZ)),
        ];
        for order in orders {
            leg.try_send(order).map_err(|error| error.to_string())?;
        }
        self.leg = Some(leg);
        let steps = self.customer.as_ref().map(|customer| customer.does.clone()).unwrap_or_default();
        self.script = Some(Script::start(now, steps));
        Ok(())
    }

    /// Carries out what script and session want, until both are quiet.
    async fn settle(&mut self) {
        loop {
            while let Some(act) = self.script.as_mut().and_then(Script::poll_act) {
                self.act(act);
            }
            match self.session.poll_output() {
                Some(SessionOutput::Transmit(transmit)) => {
                    if let Err(Unreachable(hop)) = self.signalling.send(&transmit).await {
                        self.session.handle_unreachable(Instant::now(), hop);
                    }
                }
                Some(SessionOutput::Event(event)) => self.on_session(event),
                None => return,
            }
        }
    }

    fn on_session(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Finished => self.finished = true,
            SessionEvent::Offer { .. } => self.session.reject_offer(Instant::now(), 488),
            SessionEvent::Failed(_) | SessionEvent::Ended { .. } => {
                self.pick_up_at = None;
                self.script = None;
                self.leg = None;
            }
            _ => {}
        }
    }

    fn act(&mut self, act: Act) {
        let order = match act {
            Act::Press(keys) => LegCommand::SendDigits(keys),
            Act::Say(samples) => {
                self.next_clip += 1;
                LegCommand::Play { id: self.next_clip, samples }
            }
            Act::HangUp => return self.session.hang_up(Instant::now(), None),
        };
        if let Some(Err(error)) = self.leg.as_ref().map(|leg| leg.try_send(order)) {
            warn!(%error, "a customer's leg does not take an order");
        }
    }
}
