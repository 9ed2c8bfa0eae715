//! What the interpreter asks of the call.

use std::path::PathBuf;
use std::time::Duration;

use crate::pii::Redacted;

/// One thing to do. The interpreter waits for nothing by itself: what it awaits comes back as an [`super::Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Play these one after the other, without a gap; then send `PlayDone`. Never empty.
    Play(Vec<Prompt>),
    /// Stop what is playing; `PlayDone` is not sent for it.
    StopPlay,
    /// Send `Timer` once after this time. There is one timer: setting it replaces what was set before.
    SetTimer(Duration),
    /// Forget the timer.
    ClearTimer,
    /// Record the callee, and send `RecordDone` when it is over.
    StartRecord {
        /// The longest time.
        max: Duration,
        /// End after this much silence, at the beginning as well as after speech.
        silence: Duration,
        /// The key that ends it. The interpreter watches for it and asks for `StopRecord`; nothing needs to be done.
        finish: Option<char>,
        /// Play a short tone first.
        beep: bool,
    },
    /// End the recording; `RecordDone` still comes.
    StopRecord,
    /// What the call has come to so far. A later one replaces it.
    SetOutcome(String),
    /// A variable got a value: keep it with the call.
    SetVar {
        /// Its name.
        name: String,
        /// Its value; what a customer typed is personal data.
        value: Redacted,
    },
    /// Hang up.
    Hangup,
}

/// Something to be heard.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prompt {
    /// An audio file, where [`super::PromptFiles`] found it.
    File(PathBuf),
    /// A text to be spoken, with all variables filled in.
    Text {
        /// The language tag, as the plan writes it (`en`, `es-MX`).
        language: String,
        /// The words.
        text: String,
    },
}

/// Texts hold names and addresses, so only their length is shown.
impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text { language, text } => {
                write!(f, "Text({language}, {} characters)", text.chars().count())
            }
        }
    }
}
