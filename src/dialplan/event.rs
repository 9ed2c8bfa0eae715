//! What happens to a call, as the interpreter hears of it.

/// One thing that happened on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The callee answered: the plan begins.
    Answered,
    /// The last [`super::Action::Play`] was heard to its end. Never sent for a prompt that was stopped.
    PlayDone,
    /// A key was pressed: `0`-`9`, `*`, `#`, `A`-`D`. Anything else is ignored.
    Digit(char),
    /// The time of the last [`super::Action::SetTimer`] is over. Never sent once the timer was cleared.
    Timer,
    /// The recording begun by [`super::Action::StartRecord`] is over, for whatever reason. Also sent after `HungUp`.
    RecordDone {
        /// Why it ended.
        reason: RecordEnd,
        /// True when somebody spoke in it.
        spoke: bool,
    },
    /// The callee hung up, or the line is lost.
    HungUp,
    /// The call has lasted as long as any call may: say no more and hang up.
    TimeUp,
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordEnd {
    /// It reached the longest time allowed.
    Max,
    /// Nothing was said for the time allowed.
    Silence,
    /// [`super::Action::StopRecord`] was obeyed (the finish key, or the end of the call).
    Stopped,
    /// The callee hung up.
    HungUp,
    /// It could not be begun or continued: no space, or a disk error.
    Failed,
}
