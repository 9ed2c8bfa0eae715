//! What an end cause means and what to do about it, in a sentence each.

use crate::call::EndCause;

/// A sentence for the person who asks why a call ended. `sip_status` is the final status of a refusal.
pub fn cause(cause: EndCause, sip_status: Option<u16>) -> &'static str {
    match (cause, sip_status) {
        (EndCause::Human, _) => "The call was answered and ended in the ordinary way.",
        (EndCause::Machine, _) => "Voicemail or another machine answered.",
        (EndCause::Screener, _) => "A call screener answered.",
        (EndCause::NoAnswer, Some(_)) => "The network says that nobody answers.",
        (EndCause::NoAnswer, None) => "It rang until our limit (`ring_timeout`), and we gave up with CANCEL.",
        (EndCause::Busy, _) => {
            "The callee is on the phone. Another trunk would hear the same, so none was tried."
        }
        (EndCause::Rejected, _) => {
            "The callee declined. Another trunk would hear the same, so none was tried."
        }
        (EndCause::InvalidNumber, _) => "The network says that this number does not exist or is incomplete.",
        (EndCause::TrunkError, Some(401 | 403 | 407)) => {
            "The trunk refused us: check username, password and caller_id in its file, and whether it knows our address."
        }
        (EndCause::TrunkError, Some(488 | 415 | 606)) => {
            "The trunk cannot use what our SDP offers: compare `codecs` in its file with what it allows."
        }
        (EndCause::TrunkError, Some(503 | 500 | 502)) => "The trunk has no capacity or a fault of its own.",
        (EndCause::TrunkError, Some(200)) => "The trunk answered with an SDP that cannot be used.",
        (EndCause::TrunkError, _) => "The trunk refused or failed.",
        (EndCause::NetworkError, None) => {
            "Nothing came back, or the sound stopped: check the trunk's host and port, firewalls and the advertised address."
        }
        (EndCause::NetworkError, Some(_)) => "The network behind the trunk did not answer in time.",
        (EndCause::Cancelled, _) => "A person or a system of ours cancelled the call.",
        (EndCause::Unknown, _) => "The engine died during this attempt: whether the phone rang is not known.",
    }
}
