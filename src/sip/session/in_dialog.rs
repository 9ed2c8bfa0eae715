//! Requests other than INVITE within the call: our CANCEL and BYE, their BYE, OPTIONS, INFO and the unknown.

use std::time::Instant;

use super::{Failure, MAX_TRANSACTIONS, Phase, Session, Side, unsupported};
use crate::sip::dialog::{Dialog, via};
use crate::sip::hops::Hops;
use crate::sip::message::{Header, HeaderName, Message, Method};
use crate::sip::transaction::{ClientNonInvite, Fired, ServerKey, ServerNonInvite};
use crate::sip::{Hop, Transport, branch};

/// A CANCEL or BYE of ours.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) transaction: ClientNonInvite,
    hops: Hops,
    /// What a challenged BYE needs to be sent again; taken when it is.
    retry: Option<(Dialog, Option<String>)>,
}

impl Session {
    /// Starts a request that is not sent again when challenged.
    pub(super) fn start_request(&mut self, now: Instant, request: Message, destination: Hop) {
        self.carry_request(now, request, Hops::one(destination), None);
    }

    pub(super) fn send_bye(&mut self, now: Instant, mut dialog: Dialog, reason: Option<&str>) {
        let mut bye = dialog.request(Method::Bye, &branch(&mut self.rng));
        if !self.seed.user_agent.is_empty() {
            bye.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        if let Some(reason) = reason {
            bye.push(HeaderName::Reason, reason);
        }
        self.auth.authorize(&mut bye, &mut self.rng);
        bye.set_body(None);
        let hops = Hops::one(dialog.destination());
        self.carry_request(now, bye, hops, Some((dialog, reason.map(str::to_owned))));
    }

    fn carry_request(
        &mut self,
        now: Instant,
        mut request: Message,
        hops: Hops,
        retry: Option<(Dialog, Option<String>)>,
    ) {
        let hop = hops.carry(&mut request);
        let (transaction, transmit) = ClientNonInvite::new(now, request, hop, self.timing);
        self.requests.push(Request { transaction, hops, retry });
        self.send(transmit);
    }

    /// Requests that could not be sent to `hop`: a large one that went by TCP is tried by UDP, the others are over.
    pub(super) fn lose_requests(&mut self, now: Instant, hop: Hop) {
        let lost =
            |request: &Request| request.transaction.is_trying() && request.transaction.destination() == hop;
        let (lost, kept) = std::mem::take(&mut self.requests).into_iter().partition::<Vec<_>, _>(lost);
        self.requests = kept;
        for Request { transaction, mut hops, retry } in lost {
            if hops.give_up(hop) {
                let mut request = transaction.request().clone();
                request.set(HeaderName::Via, &via(Transport::Udp, self.local, &branch(&mut self.rng)));
                self.carry_request(now, request, hops, retry);
            }
        }
    }

    pub(super) fn handle_request_response(&mut self, now: Instant, response: &Message) {
        if self.handle_update_response(now, response) || self.handle_prack_response(now, response) {
            return;
        }
        let Some(request) = self.requests.iter_mut().find(|request| request.transaction.matches(response))
        else {
            return;
        };
        let taken = request.transaction.handle_response(now, response);
        let challenged = matches!(response.status(), Some(401 | 407));
        if taken.pass
            && challenged
            && let Some((dialog, reason)) = request.retry.take()
            && self.requests.len() < MAX_TRANSACTIONS
            && self.auth.take_challenges(response)
        {
            self.send_bye(now, dialog, reason.as_deref());
        }
    }

    pub(super) fn time_requests(&mut self, now: Instant) {
        let mut again = Vec::new();
        for request in &mut self.requests {
            while request.transaction.poll_timeout().is_some_and(|at| at <= now) {
                // A BYE or CANCEL that nobody answers: the call is over all the same (RFC 3261 §15.1.1).
                if let Fired::Send(transmit) = request.transaction.handle_timeout(now) {
                    again.push(transmit);
                }
            }
        }
        again.into_iter().for_each(|transmit| self.send(transmit));
    }

    /// Answers a request once; its retransmissions get the same answer.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        source: Hop,
        request: &Message,
        status: u16,
        headers: &[Header],
    ) {
        self.serve_with(now, source, request, status, headers, None);
    }

    /// [`Self::serve`] with an answer to an offer.
    pub(super) fn serve_with(
        &mut self,
        now: Instant,
        source: Hop,
        request: &Message,
        status: u16,
        headers: &[Header],
        sdp: Option<&[u8]>,
    ) {
        let key = ServerKey::of(request);
        if let Some(known) = self.served.iter().find(|served| *served.key() == key) {
            let transmit = known.handle_retransmission();
            self.send(transmit);
            return;
        }
        if self.served.len() >= MAX_TRANSACTIONS {
            return;
        }
        let mut response = self.respond_to(request, source, status);
        headers.iter().for_each(|header| response.push_header(header.clone()));
        response.set_body(sdp.map(|sdp| ("application/sdp", sdp)));
        let (transaction, transmit) = ServerNonInvite::new(now, request, source, &response, self.timing);
        self.served.push(transaction);
        self.send(transmit);
    }

    pub(super) fn handle_in_dialog(&mut self, now: Instant, source: Hop, method: &Method, request: &Message) {
        let key = ServerKey::of(request);
        let known = self.served.iter().any(|served| *served.key() == key);
        if known {
            return self.serve(now, source, request, 200, &[]);
        }
        if self.is_asked(request) {
            return;
        }
        let (status, header) = self.judge(method, request);
        match method {
            Method::Update if status == 200 => return self.take_update(now, source, request),
            Method::Prack if status == 200 => return self.take_prack(now, source, request),
            _ => {}
        }
        self.serve(now, source, request, status, header.as_slice());
        if *method == Method::Bye && status == 200 {
            self.take_bye(now, request);
        }
    }

    /// The status that a new request in the call gets.
    fn judge(&mut self, method: &Method, request: &Message) -> (u16, Option<Header>) {
        let tag = request.from_tag().unwrap_or_default();
        // An early dialog is ended with a final response, not with BYE (RFC 3261 §15).
        let early_bye = *method == Method::Bye && self.phase == Phase::Inviting;
        let Some(dialog) = self.dialog_with(&tag).filter(|_| !early_bye) else {
            return (481, None);
        };
        let in_order = dialog.take_cseq(request.cseq().map(|cseq| cseq.number).unwrap_or_default());
        // A PRACK that was overtaken is still known by its RAck.
        if !in_order && *method != Method::Prack {
            return (500, None);
        }
        if let Some(names) = unsupported(request) {
            return (420, Some(Header::new(HeaderName::Unsupported, &names)));
        }
        match method {
            Method::Bye | Method::Options | Method::Info | Method::Update | Method::Prack => (200, None),
            Method::Other(_) => (501, None),
            _ => (405, None),
        }
    }

    fn take_bye(&mut self, now: Instant, request: &Message) {
        // The other side has hung up, so our 2xx needs no ACK and our BYE, if one waited, is superfluous.
        self.unacked = None;
        self.answer_finally(now, 487, &[]);
        self.close_offers(now);
        if self.phase == Phase::Ringing {
            self.fail(Failure::Cancelled);
        } else {
            self.end(Side::Remote, request.header(HeaderName::Reason).map(|reason| reason.into_owned()));
        }
        self.dialog = None;
    }
}
