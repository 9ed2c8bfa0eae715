//! Whether an attempt that ended is followed by another.

use std::time::Duration;

use jiff::Timestamp;

use crate::call::EndCause;

/// How often and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts of one call, the first included.
    pub max_attempts: u32,
    /// The time from the end of an attempt to the next.
    pub retry_after: Duration,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Another one.
    Retry {
        /// Not before.
        at: Timestamp,
    },
    /// None.
    GiveUp {
        /// Why.
        why: GiveUp,
    },
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GiveUp {
    /// Somebody answered, or said no, or it is not known whether the phone rang.
    #[error("an attempt that ended with `{0}` is not repeated")]
    NotRetriable(EndCause),
    /// The policy allows no more.
    #[error("all {0} attempts were made")]
    AttemptsUsed(u32),
    /// The next attempt would come after the delivery.
    #[error("the next attempt would be too late")]
    TooLate,
}

/// True for causes after which the same call may be made again: nobody has answered and nobody has said no.
pub fn is_retriable(cause: EndCause) -> bool {
    match cause {
        EndCause::NoAnswer | EndCause::Busy | EndCause::NetworkError | EndCause::TrunkError => true,
        EndCause::Human
        | EndCause::Machine
        | EndCause::Screener
        | EndCause::Rejected
        | EndCause::InvalidNumber
        | EndCause::Cancelled
        | EndCause::Unknown => false,
    }
}

/// Decides what follows an attempt that ended now with `cause`. `attempts_made` includes it; `not_after` is when the call loses
/// its sense.
pub fn next_attempt(
    now: Timestamp,
    attempts_made: u32,
    cause: EndCause,
    policy: &RetryPolicy,
    not_after: Option<Timestamp>,
) -> NextAttempt {
    let give_up = |why| NextAttempt::GiveUp { why };
    if !is_retriable(cause) {
        return give_up(GiveUp::NotRetriable(cause));
    }
    if attempts_made >= policy.max_attempts {
        return give_up(GiveUp::AttemptsUsed(attempts_made));
    }
    match now.checked_add(policy.retry_after) {
        Ok(at) if not_after.is_none_or(|end| at < end) => NextAttempt::Retry { at },
        _ => give_up(GiveUp::TooLate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_what_may_be_repeated() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let policy = RetryPolicy { max_attempts: 3, retry_after: Duration::from_secs(300) };
        let at = Timestamp::from_second(1_800_000_300).unwrap();
        let retried = [EndCause::NoAnswer, EndCause::Busy, EndCause::NetworkError, EndCause::TrunkError];
        for cause in EndCause::ALL {
            let expected = match retried.contains(cause) {
                true => NextAttempt::Retry { at },
                false => NextAttempt::GiveUp { why: GiveUp::NotRetriable(*cause) },
            };
            assert_eq!(next_attempt(now, 1, *cause, &policy, None), expected, "{cause}");
        }
        let busy = |made, end| next_attempt(now, made, EndCause::Busy, &policy, end);
        assert_eq!(busy(2, None), NextAttempt::Retry { at });
        assert_eq!(busy(3, None), NextAttempt::GiveUp { why: GiveUp::AttemptsUsed(3) });
        assert_eq!(busy(1, Some(at)), NextAttempt::GiveUp { why: GiveUp::TooLate });
        let endless = RetryPolicy { max_attempts: 3, retry_after: Duration::MAX };
        assert_eq!(
            next_attempt(now, 1, EndCause::Busy, &endless, None),
            NextAttempt::GiveUp { why: GiveUp::TooLate }
        );
    }
}
