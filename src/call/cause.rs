//! The one table from what the network said to why an attempt ended.
//!
//! Sources: RFC 3261 §21 for the SIP status codes, RFC 3398 §7.2.4.1 and RFC 3326 for the ISDN cause (Q.850) that a
//! gateway adds in a `Reason` header. A gateway often folds many ISDN causes into one SIP status, so that, for the
//! statuses that say little by themselves, the Q.850 cause wins.

use super::EndCause;
use crate::sip::reason::{Protocol, Reason};

/// Q.850: hung up in the ordinary way.
pub const NORMAL_CLEARING: u16 = 16;
/// Q.850: it rang and nobody answered.
pub const NO_ANSWER: u16 = 19;
/// Q.850: an ordinary end that no other cause describes.
pub const NORMAL_UNSPECIFIED: u16 = 31;
/// Q.850: something in between broke.
pub const TEMPORARY_FAILURE: u16 = 41;
/// Q.850: no common media.
pub const INCOMPATIBLE_DESTINATION: u16 = 88;

/// Why an attempt ended that was refused with `status` (300-699) and with these `reasons`. An ISDN cause tells most; a SIP
/// status is that of another leg, whose own refusal says more than the proxy's.
pub fn from_refusal(status: u16, reasons: &[Reason]) -> EndCause {
    if !says_little(status) {
        return from_status(status);
    }
    let of_other_leg = |reason: &Reason| {
        let status = reason.cause.filter(|_| reason.protocol == Protocol::Sip)?;
        (300..700).contains(&status).then_some(status).filter(|status| !says_little(*status)).map(from_status)
    };
    let isdn = Reason::isdn(reasons).and_then(from_q850);
    isdn.or_else(|| reasons.iter().find_map(of_other_leg)).unwrap_or_else(|| from_status(status))
}

/// Whether this ISDN cause of a BYE says that the network ended the call, not a person.
pub fn is_networks(q850: u16) -> bool {
    matches!(from_q850(q850), Some(EndCause::TrunkError | EndCause::NetworkError))
}

/// Whether the callee said no: another trunk would hear the same, so that such a cause never fails over.
pub fn is_callees_own(cause: EndCause) -> bool {
    matches!(cause, EndCause::Busy | EndCause::Rejected | EndCause::InvalidNumber)
}

/// Statuses that gateways use for many ISDN causes alike.
fn says_little(status: u16) -> bool {
    matches!(status, 403 | 404 | 408 | 480 | 487 | 500 | 502 | 503 | 504 | 603)
}

fn from_status(status: u16) -> EndCause {
    match status {
        486 | 600 => EndCause::Busy,
        // 433 anonymity disallowed (RFC 5079), 603 decline, 607 unwanted (RFC 8197), 608 rejected (RFC 8688).
        433 | 603 | 607 | 608 => EndCause::Rejected,
        404 | 410 | 484 | 485 | 604 => EndCause::InvalidNumber,
        408 | 480 | 487 => EndCause::NoAnswer,
        504 => EndCause::NetworkError,
        _ => EndCause::TrunkError,
    }
}

fn from_q850(cause: u16) -> Option<EndCause> {
    Some(match cause {
        // Unallocated number, no route to destination, number changed, invalid format.
        1 | 3 | 22 | 28 => EndCause::InvalidNumber,
        17 => EndCause::Busy,
        // No user responding, no answer from the user, subscriber absent.
        18..=20 => EndCause::NoAnswer,
        21 => EndCause::Rejected,
        // Out of order, no circuit, network failure, temporary failure, congestion, channel and resource unavailable.
        27 | 34 | 38 | 41 | 42 | 44 | 47 => EndCause::TrunkError,
        102 => EndCause::NetworkError,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let table = [
            (486, EndCause::Busy),
            (600, EndCause::Busy),
            (603, EndCause::Rejected),
            (404, EndCause::InvalidNumber),
            (484, EndCause::InvalidNumber),
            (480, EndCause::NoAnswer),
            (487, EndCause::NoAnswer),
            (403, EndCause::TrunkError),
            (488, EndCause::TrunkError),
            (302, EndCause::TrunkError),
            (503, EndCause::TrunkError),
            (504, EndCause::NetworkError),
        ];
        for (status, cause) in table {
            assert_eq!(from_refusal(status, &[]), cause, "{status}");
        }
    }

    #[test]
    fn the_isdn_cause_speaks_where_the_status_says_little() {
        let refused = |status, reason| from_refusal(status, &Reason::parse(reason));
        assert_eq!(refused(480, "Q.850;cause=17"), EndCause::Busy);
        assert_eq!(refused(503, "SIP;cause=480, Q.850;cause=1"), EndCause::InvalidNumber);
        assert_eq!(refused(500, "Q.850;cause=34"), EndCause::TrunkError);
        assert_eq!(refused(486, "Q.850;cause=1"), EndCause::Busy, "486 says enough");
        assert_eq!(refused(480, "Q.850;cause=127"), EndCause::NoAnswer, "interworking says nothing");
        assert_eq!(refused(480, "SIP;cause=486;text=\"Busy\""), EndCause::Busy);
        assert_eq!(refused(480, "SIP;cause=200"), EndCause::NoAnswer, "no refusal");
        assert_eq!(refused(480, "SIP;cause=503"), EndCause::NoAnswer, "it says as little");
        assert_eq!(refused(480, "X;cause=486"), EndCause::NoAnswer);
    }

    #[test]
    fn a_bye_tells_who_ended_the_call() {
        assert!([38, 41, 47, 102].into_iter().all(is_networks));
        assert!(![16, 17, 19, 31, 127].into_iter().any(is_networks));
    }
}
