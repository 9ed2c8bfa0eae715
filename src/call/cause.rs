//! The one table from what the network said to why an attempt ended.
//!
//! Sources: RFC 3261 §21 for the SIP status codes, RFC 3398 §7.2.4.1 and RFC 3326 for the ISDN cause (Q.850) that a
//! gateway adds in a `Reason` header. A gateway often folds many ISDN causes into one SIP status, so that, for the
//! statuses that say little by themselves, the Q.850 cause wins.

use super::EndCause;

/// Why an attempt ended that was refused with `status` (300-699), and with the ISDN cause `q850` if the peer gave one.
pub fn from_refusal(status: u16, q850: Option<u16>) -> EndCause {
    if says_little(status)
        && let Some(cause) = q850.and_then(from_q850)
    {
        return cause;
    }
    from_status(status)
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
            assert_eq!(from_refusal(status, None), cause, "{status}");
        }
    }

    #[test]
    fn the_isdn_cause_speaks_where_the_status_says_little() {
        assert_eq!(from_refusal(480, Some(17)), EndCause::Busy);
        assert_eq!(from_refusal(503, Some(1)), EndCause::InvalidNumber);
        assert_eq!(from_refusal(500, Some(34)), EndCause::TrunkError);
        assert_eq!(from_refusal(486, Some(1)), EndCause::Busy, "486 says enough");
        assert_eq!(from_refusal(480, Some(127)), EndCause::NoAnswer, "interworking says nothing");
    }
}
