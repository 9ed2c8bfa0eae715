//! REFER in a call, both ways, with the NOTIFYs that report on it (RFC 3515), and the calls that Replaces names (RFC 3891).
//!
//! One REFER at a time each way. The reports end with the call: whoever hangs up after REFER does not want them.

use std::time::{Duration, Instant};

use super::requests::{Ask, Asker};
use super::{CannotRequest, Failure, Phase, Session, SessionEvent};
use crate::sip::Hop;
use crate::sip::body::essence;
use crate::sip::exchange::Outcome;
use crate::sip::message::{Header, HeaderName, Message, Method, NameAddr};
use crate::sip::refer::{About, FRAGMENT, ReferTo, Replaces, SubscriptionState, fragment, read_fragment};
use crate::sip::transaction::ServerKey;

/// How long reports are waited for, and promised, when nobody says: as long as a phone may ring.
const EXPIRES: Duration = Duration::from_secs(180);
/// The longest that the other side may make us wait for a report.
const MAX_EXPIRES: Duration = Duration::from_secs(600);

/// How a transfer that we asked for goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referral {
    /// The other side will try.
    Accepted {
        /// Reports follow. `false`: it keeps the outcome to itself (RFC 4488), and this event is the last one.
        reported: bool,
    },
    /// The other side does not do it; nothing follows.
    Refused(Failure),
    /// The new call has come this far.
    Progress {
        /// 100 to 199.
        status: u16,
    },
    /// The new call was answered or has failed; nothing follows.
    Finished {
        /// 200 to 699; `None`: the reports ended before there was an outcome.
        status: Option<u16>,
    },
}

/// Transfers under way in this call.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// Their REFER that waits for our decision.
    asked: Option<Asked>,
    /// Their REFER that we report on.
    reporting: Option<Reporting>,
    /// How many of their REFERs we took: from the second on, reports name theirs (RFC 3515 §2.4.6).
    taken: u32,
    /// Ours.
    referring: Option<Referring>,
}

#[derive(Debug)]
struct Asked {
    request: Message,
    source: Hop,
    give_up: Instant,
}

#[derive(Debug)]
struct Reporting {
    event: String,
    until: Instant,
}

#[derive(Debug)]
struct Referring {
    /// The sequence number of our REFER, when it was answered.
    number: Option<u32>,
    /// By a 2xx, or by a report that overtook it.
    accepted: bool,
    give_up: Instant,
}

impl Transfers {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let asked = self.asked.as_ref().map(|asked| asked.give_up);
        let reporting = self.reporting.as_ref().map(|reporting| reporting.until);
        let referring = self.referring.as_ref().map(|referring| referring.give_up);
        [asked, reporting, referring].into_iter().flatten().min()
    }

    /// Whether a REFER waits for its answer.
    pub(super) fn is_busy(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn waits_for(&self, key: &ServerKey) -> bool {
        self.asked.as_ref().is_some_and(|asked| ServerKey::of(&asked.request) == *key)
    }
}

impl Session {
    /// Asks the other side to call somebody: [`SessionEvent::Referral`] tells how it goes. The call goes on until somebody
    /// hangs up; after a blind transfer that is ours to do.
    ///
    /// # Errors
    /// The call does not stand, a REFER of ours is under way, or too many requests wait.
    pub fn refer(&mut self, now: Instant, refer_to: &ReferTo) -> Result<(), CannotRequest> {
        if self.transfers.referring.is_some() {
            return Err(CannotRequest);
        }
        let headers = vec![
            Header::new(HeaderName::ReferTo, &refer_to.to_string()),
            Header::new(HeaderName::ReferredBy, &format!("<{}>", self.contact)),
        ];
        self.enqueue(now, Ask::new(Asker::Refer, Method::Refer, headers, None))?;
        self.transfers.referring = Some(Referring { number: None, accepted: false, give_up: now + EXPIRES });
        Ok(())
    }

    /// Takes the REFER of [`SessionEvent::Refer`] with 202, and reports 100. Without effect when none waits.
    pub fn accept_refer(&mut self, now: Instant) {
        let Some(Asked { request, source, .. }) = self.transfers.asked.take() else { return };
        let unwanted = is_unreported(&request);
        let mut headers = vec![Header::new(HeaderName::Contact, &format!("<{}>", self.contact))];
        if unwanted {
            headers.push(Header::new(HeaderName::ReferSub, "false"));
        }
        self.serve(now, source, &request, 202, &headers);
        self.transfers.taken += 1;
        if !unwanted {
            let number = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
            let event =
                if self.transfers.taken == 1 { "refer".to_owned() } else { format!("refer;id={number}") };
            self.transfers.reporting = Some(Reporting { event, until: now + EXPIRES });
            self.report_refer(now, 100);
        }
        self.settle();
    }

    /// Refuses the REFER of [`SessionEvent::Refer`]: 603 mostly. Without effect when none waits.
    pub fn decline_refer(&mut self, now: Instant, status: u16) {
        if let Some(Asked { request, source, .. }) = self.transfers.asked.take() {
            self.serve(now, source, &request, status.clamp(300, 699), &[]);
        }
        self.settle();
    }

    /// Reports how the call goes that an accepted REFER asked for: 100 to 199 as often as there is news, then 200 to 699 once.
    /// Without effect when nobody wants reports (any more).
    pub fn report_refer(&mut self, now: Instant, status: u16) {
        let last = status >= 200;
        let Some(reporting) = &mut self.transfers.reporting else { return };
        reporting.until = now + EXPIRES;
        let state = match last {
            true => "terminated;reason=noresource".to_owned(),
            false => format!("active;expires={}", EXPIRES.as_secs()),
        };
        let headers = vec![
            Header::new(HeaderName::Event, &reporting.event),
            Header::new(HeaderName::SubscriptionState, &state),
        ];
        let ask = Ask::new(Asker::Report, Method::Notify, headers, Some(fragment(status)));
        // Too many reports wait for a peer that answers none: it hears no more of them.
        if self.enqueue(now, ask).is_err() || last {
            self.transfers.reporting = None;
        }
        self.settle();
    }

    /// This call as an INVITE to the other side names it in Replaces: give it to a third party by [`Self::refer`], and that
    /// party's call takes this one's place. `None` until the call is answered.
    pub fn to_be_replaced(&self) -> Option<Replaces> {
        let tag = |tag: &str| if tag.is_empty() { "0".to_owned() } else { tag.to_owned() };
        let dialog = self.dialog.as_ref().filter(|_| self.phase == Phase::Established)?;
        Some(Replaces {
            call_id: self.seed.call_id.clone(),
            to_tag: tag(dialog.remote_tag()),
            from_tag: tag(&self.seed.local_tag),
            early_only: false,
        })
    }

    /// Whether a call that came in with `replaces` may take this one's place: accept that one, then hang up this one.
    ///
    /// # Errors
    /// The status that the INVITE gets: 481, another dialog; 486, answered though `early-only`; 603, over (RFC 3891 §3).
    pub fn may_be_replaced(&self, replaces: &Replaces) -> Result<(), u16> {
        let tag = if replaces.from_tag == "0" { "" } else { replaces.from_tag.as_str() };
        let named = self.dialog.as_ref().is_some_and(|dialog| dialog.remote_tag() == tag);
        match self.phase {
            // An early dialog may be replaced by who began it: the caller.
            Phase::Inviting => self.rings_at(tag).then_some(()).ok_or(481),
            Phase::Established if named && replaces.early_only => Err(486),
            Phase::Established if named => Ok(()),
            Phase::Over => Err(603),
            Phase::Ringing | Phase::Established => Err(481),
        }
    }

    /// The status that a REFER gets at once; 202: somebody has to decide.
    pub(super) fn judge_refer(&self, request: &Message) -> u16 {
        if self.phase != Phase::Established {
            return 603;
        }
        match ReferTo::of(request) {
            Err(status) => status,
            Ok(_) if self.transfers.asked.is_some() || self.transfers.reporting.is_some() => 491,
            Ok(_) => 202,
        }
    }

    pub(super) fn take_refer(&mut self, now: Instant, source: Hop, request: &Message) {
        let Ok(ReferTo { target, replaces }) = ReferTo::of(request) else { return };
        let referred_by = request.header(HeaderName::ReferredBy);
        let referred_by = referred_by.and_then(|value| NameAddr::parse(&value)?.to_uri().ok());
        // Before the other side's Timer F, so that it learns that nobody decided.
        let give_up = now + self.timing.transaction_limit() / 2;
        self.transfers.asked = Some(Asked { request: request.clone(), source, give_up });
        self.tell(SessionEvent::Refer { target, replaces, referred_by });
    }

    /// What came of our REFER.
    pub(super) fn refer_answered(&mut self, outcome: Outcome) {
        let Some(referring) = &mut self.transfers.referring else { return };
        let failure = match outcome {
            Outcome::Unanswered(failure) => failure,
            Outcome::Answered { response, .. } => {
                referring.number = response.cseq().map(|cseq| cseq.number);
                match response.status() {
                    Some(200..300) => return self.refer_accepted(!is_unreported(&response)),
                    Some(401 | 407) => Failure::Unauthorized,
                    _ => super::refusal(&response),
                }
            }
        };
        // With a report it was accepted, whatever became of the answer.
        if !referring.accepted {
            self.transfers.referring = None;
            self.tell(SessionEvent::Referral(Referral::Refused(failure)));
        }
    }

    fn refer_accepted(&mut self, reported: bool) {
        let told = self.transfers.referring.as_mut().map(|one| std::mem::replace(&mut one.accepted, true));
        if told == Some(false) {
            self.tell(SessionEvent::Referral(Referral::Accepted { reported }));
        }
        if !reported {
            self.transfers.referring = None;
        }
    }

    /// A report of ours was answered: who refuses it wants no more (RFC 6665 §4.2.2).
    pub(super) fn report_answered(&mut self, outcome: &Outcome) {
        let taken = match outcome {
            Outcome::Answered { response, .. } => matches!(response.status(), Some(200..300)),
            Outcome::Unanswered(_) => false,
        };
        if !taken {
            self.transfers.reporting = None;
        }
    }

    /// The status that a NOTIFY gets, with a field for the answer.
    pub(super) fn judge_notify(&self, request: &Message) -> (u16, Option<Header>) {
        let about = match About::of(request) {
            About::Other => return (489, Some(Header::new(HeaderName::AllowEvents, "refer"))),
            About::Refer => None,
            About::ReferNumber(number) => Some(number),
        };
        // A report may overtake the 202.
        let sent = self
            .transfers
            .referring
            .as_ref()
            .and_then(|referring| referring.number.or_else(|| self.asking.number_of(&Method::Refer)));
        if sent.is_none_or(|sent| about.is_some_and(|about| about != sent)) {
            return (481, None);
        }
        let kind = essence(&request.header(HeaderName::ContentType).unwrap_or_default());
        match request.body() {
            [] => (200, None),
            _ if kind != FRAGMENT => (415, Some(Header::new(HeaderName::Accept, FRAGMENT))),
            body => (if read_fragment(body).is_some() { 200 } else { 400 }, None),
        }
    }

    /// Takes a NOTIFY that was answered with 200.
    pub(super) fn take_notify(&mut self, now: Instant, request: &Message) {
        self.refer_accepted(true);
        let Some(referring) = &mut self.transfers.referring else { return };
        let status = read_fragment(request.body());
        let state = SubscriptionState::of(request);
        let over = state == SubscriptionState::Terminated || status.is_some_and(|status| status >= 200);
        if let SubscriptionState::Active(expires) = state {
            referring.give_up = now + expires.unwrap_or(EXPIRES).min(MAX_EXPIRES);
        }
        if let Some(status) = status.filter(|status| *status < 200) {
            self.tell(SessionEvent::Referral(Referral::Progress { status }));
        }
        if over {
            self.transfers.referring = None;
            let status = status.filter(|status| *status >= 200);
            self.tell(SessionEvent::Referral(Referral::Finished { status }));
        }
    }

    pub(super) fn time_transfers(&mut self, now: Instant) {
        if self.transfers.asked.as_ref().is_some_and(|asked| asked.give_up <= now) {
            self.decline_refer(now, 603);
        }
        self.transfers.reporting.take_if(|reporting| reporting.until <= now);
        if self.transfers.referring.take_if(|referring| referring.give_up <= now).is_some() {
            self.tell(SessionEvent::Referral(Referral::Finished { status: None }));
        }
    }

    /// The call is over, and nobody reports any more. A REFER that waits for a decision still gets its answer.
    pub(super) fn drop_transfers(&mut self) {
        self.transfers.reporting = None;
        self.transfers.referring = None;
    }
}

/// Whether a REFER wants no reports, or its answer promises none (RFC 4488 §4).
fn is_unreported(message: &Message) -> bool {
    message.header(HeaderName::ReferSub).is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}
