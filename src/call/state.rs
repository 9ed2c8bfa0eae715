//! The words for where an attempt is and why it ended, shared by the core, the store, the API and the page.

use crate::words::words;

words! {
    /// Where one INVITE to one trunk is. It only moves downwards in this list.
    AttemptState {
        /// Planned, nothing sent.
        Queued = "queued",
        /// Durable before the first INVITE leaves; found after a crash, it becomes `ended` with cause `unknown`.
        Dialing = "dialing",
        /// A 180 or 183 arrived.
        Ringing = "ringing",
        /// A 200 arrived and was acknowledged.
        Answered = "answered",
        /// Over; the cause says why.
        Ended = "ended",
    }
}

words! {
    /// Why an attempt ended. Every SIP status, timeout and media event maps to one of these, in `call::cause`.
    EndCause {
        /// A person answered.
        Human = "human",
        /// Voicemail or another machine answered.
        Machine = "machine",
        /// A call screener answered.
        Screener = "screener",
        /// It rang until the limit, or the network said that nobody answers.
        NoAnswer = "no_answer",
        /// The callee is on the phone.
        Busy = "busy",
        /// The callee declined.
        Rejected = "rejected",
        /// The number does not exist.
        InvalidNumber = "invalid_number",
        /// The trunk refused or failed (authentication, capacity, policy).
        TrunkError = "trunk_error",
        /// Nothing came back, or media stopped before anything was said.
        NetworkError = "network_error",
        /// Cancelled by a person or a system of ours, or by the caller of an incoming call before we answered.
        Cancelled = "cancelled",
        /// The engine died while dialling: whether the phone rang is not known, so it is never redialled by itself.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for cause in EndCause::ALL {
            assert_eq!(cause.as_str().parse(), Ok(*cause));
        }
        assert!("ringin".parse::<AttemptState>().is_err());
    }
}
