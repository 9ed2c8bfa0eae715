//! A call that comes in: it rings, is answered, and from the caller's ACK on is like any other.

use std::time::Instant;

use super::{Call, EndCause, Limits, Offered, Output, Phase, Progress, Talk};
use crate::media::Connection;
use crate::sdp::{Direction, SdpError};
use crate::sip::session::Session;

/// What our 200 will hold.
#[derive(Debug)]
pub(super) struct Reply {
    /// The answer; or our offer, when the INVITE had none.
    sdp: Vec<u8>,
    /// What was agreed; `None`: the caller's answer comes with the ACK (RFC 3261 §13.2.1).
    connection: Option<Connection>,
}

impl Call {
    /// A call that came in through `session`, which has not been answered. It rings for `limits.ring`, then we answer; the
    /// plan begins with the caller's ACK, for then the caller hears us. An offer that we cannot take is refused with 488.
    pub fn incoming(now: Instant, session: Session, talk: Talk, ours: Offered, limits: Limits) -> Self {
        let phase = Phase::Alerting { answer_at: now + limits.ring };
        let mut call = Self::begin(session, talk, ours, limits, phase);
        // A caller who has hung up meanwhile is not answered.
        call.settle(now);
        if matches!(call.phase, Phase::Alerting { .. }) {
            match call.prepare_reply() {
                Ok(reply) => {
                    call.reply = Some(reply);
                    call.session.ring(now, 180, None);
                    call.rang = true;
                    call.outputs.push_back(Output::Progress(Progress::Ringing));
                }
                Err(error) => {
                    let reason = format!("the caller's SDP offer: {error}");
                    call.close(now, EndCause::TrunkError, Some(488), Some(reason));
                    call.session.reject(now, 488, &[]);
                }
            }
        }
        call.settle(now);
        call
    }

    fn prepare_reply(&mut self) -> Result<Reply, SdpError> {
        let Some(offer) = self.session.remote_offer().map(<[u8]>::to_vec) else {
            let sdp = self.exchange.offer(Direction::SendRecv);
            return Ok(Reply { sdp, connection: None });
        };
        let (sdp, agreed) = self.exchange.answer(&offer, Direction::SendRecv)?;
        Ok(Reply { sdp, connection: Some(Connection::from(&agreed)) })
    }

    /// It has rung long enough.
    pub(super) fn pick_up(&mut self, now: Instant) {
        if let Some(reply) = &self.reply {
            self.phase = Phase::Confirming;
            self.session.accept(now, &reply.sdp);
        }
    }

    /// The caller has our 200: the call stands.
    pub(super) fn on_acknowledged(&mut self, now: Instant, answer: Option<&[u8]>) {
        if self.phase != Phase::Confirming {
            // Of a re-INVITE: with the answer, when that asked us for an offer.
            return if answer.is_some() {
                self.on_reanswer(answer)
            };
        }
        let agreed = self.reply.take().and_then(|reply| reply.connection);
        let late = || answer.ok_or(SdpError::NoAudio).and_then(|sdp| self.negotiate(sdp));
        match agreed.map_or_else(|| late().map(|agreed| Connection::from(&agreed)), Ok) {
            Ok(connection) => self.begin_talk(now, connection),
            Err(error) => {
                let reason = format!("the caller's SDP answer: {error}");
                self.close(now, EndCause::TrunkError, None, Some(reason));
                self.session.hang_up(now, None);
            }
        }
    }
}
