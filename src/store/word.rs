//! The words of the store's own states. The words for attempts are in `call::state`.

use crate::words::words;

words! {
    /// Where a call (the wish to reach a customer) is.
    CallState {
        /// Waiting until it is due, or for its next attempt.
        Pending = "pending",
        /// An attempt is being dialled or talks.
        Active = "active",
        /// Over; the outcome says how.
        Done = "done",
    }
}

words! {
    /// Who called whom.
    Direction {
        /// We call a customer.
        Outbound = "outbound",
        /// Somebody calls us.
        Inbound = "inbound",
    }
}

words! {
    /// Where a recording is.
    RecordingState {
        /// The row exists before the answer; sound may be arriving.
        Recording = "recording",
        /// The file is whole.
        Ready = "ready",
        /// There is no usable sound; the reason says why.
        Failed = "failed",
    }
}

words! {
    /// Where a transcript is.
    TranscriptState {
        /// Waiting for the worker.
        Queued = "queued",
        /// The worker has it, or had it when it died.
        Running = "running",
        /// The text is there.
        Done = "done",
        /// Nobody spoke.
        NoSpeech = "no_speech",
        /// Given up; the reason says why.
        Failed = "failed",
    }
}

words! {
    /// Where a background job is.
    JobState {
        /// Waiting for its time.
        Queued = "queued",
        /// Claimed, until its lease ends.
        Running = "running",
        /// Finished.
        Done = "done",
        /// Given up after its last try.
        Dead = "dead",
    }
}

words! {
    /// What a user or an API key may do. The order is the order of power.
    Role {
        /// A driver: sees and hears the deliveries that carry their username.
        Agent = "agent",
        /// Sees all deliveries, creates and cancels calls.
        Dispatcher = "dispatcher",
        /// Also edits users and keys.
        Admin = "admin",
    }
}
