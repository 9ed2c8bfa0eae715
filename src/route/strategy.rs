//! Which of the trunks that may carry a call is tried first.

use crate::words::words;

words! {
    /// What decides between the trunks that may carry a call.
    Strategy {
        /// The trunk's `priority`: lower comes first.
        Priority = "priority",
        /// The price of a minute to this number: cheaper comes first.
        Cost = "cost",
        /// How the trunk's last calls went: better comes first.
        Quality = "quality",
        /// Quality, price and free room together.
        Balanced = "balanced",
    }
}

impl Strategy {
    /// The words of `strategy` in `callahead.toml`.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("priority", Self::Priority),
        ("cost", Self::Cost),
        ("quality", Self::Quality),
        ("balanced", Self::Balanced),
    ];
}
