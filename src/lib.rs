//! Callahead calls a customer ahead of a delivery through a SIP trunk, plays prompts, takes digits and speech, records,
//! transcribes on the same box, and hands the driver what the customer said. One crate, one binary, SQLite, no cloud.
//!
//! # The map
//!
//! The crate has two halves. The **core** has no async, no clock, no sockets, no files and no randomness of its own:
//! time, seeds and bytes are arguments, so that a whole call with its lost packets and its dialplan runs in a test
//! without a socket or a sleep. The **shell** does the I/O and nothing clever.
//!
//! ```text
//!   people, order systems                     carriers (SIP trunks)                  customers
//!        │ HTTP                                     │ SIP                                │ RTP
//!  ┌─────▼─────┐   calls, deliveries  ┌─────────────▼───────────────┐        ┌───────────▼──────────┐
//!  │   http    ├──────────┐           │  engine: signalling, calls  ├────────►  engine::media       │
//!  └─────┬─────┘          │           │  scheduler, reload, drain   │ queues │  threads, 20 ms ticks│
//!        │                │           └──┬──────────┬────────────┬──┘        └───────────┬──────────┘
//!  ┌─────▼────────────────▼────┐         │          │            │                       │ tap
//!  │  store (SQLite)           ◄─────────┘   ┌──────▼──────┐  ┌──▼─────┐          ┌──────▼──────┐
//!  └─────▲─────────────────────┘             │ call: Call  │  │ speech │          │   record    │
//!        │ jobs                              └──┬───┬───┬──┘  └────────┘          │ journal, WAV│
//!  ┌─────┴──────┐  JSON lines  ┌────────┐       │   │   │                         └─────────────┘
//!  │ transcribe ├──────────────► worker │     sip dialplan media ── rtp, audio
//!  └────────────┘              │whisper │       │
//!                              └────────┘      sdp            route, schedule: pure decisions
//! ```
//!
//! | module | half | what it is |
//! |---|---|---|
//! | [`sip`] | core | messages, digest authentication, transactions, dialogs, sessions, registrations, demultiplexing |
//! | [`sdp`] | core | offer and answer |
//! | [`rtp`] | core | packets, sequence numbers, telephone-event |
//! | [`audio`] | core | G.711, tones, voice activity, PCM |
//! | [`media`] | core | `Stream`: one leg's receive and send pipeline |
//! | [`dialplan`] | core | TOML to plan, plan to actions; one file a verb |
//! | [`route`] | core | numbers, trunks, limits |
//! | [`schedule`] | core | what is due, what is tried again |
//! | [`call`] | core | `Call`: session, media state and interpreter as one machine; words for states and causes |
//! | [`trace`] | core | the SIP messages of a call: bounded, masked, as a ladder, as a capture |
//! | [`diagnostic`] | core | an error in an admin's file: file, line, column, the line itself, what to write |
//! | [`config`] | shell | `callahead.toml` and the trunk files |
//! | [`engine`] | shell | sockets, call tasks, media threads, scheduler, drain |
//! | [`record`] | shell | the crash-safe journal and its finishing into WAV |
//! | [`transcribe`] | shell | the model, the worker process, the durable queue |
//! | [`speech`] | shell | text to speech, audio files, the prompt cache |
//! | [`store`] | shell | SQLite; all SQL is here |
//! | [`metrics`] | shell | what is counted, for Prometheus |
//! | [`http`] | shell | the API and the embedded page |
//! | [`carrier`] | shell | the practice trunk: customers who answer, speak, press digits, are busy |
//! | [`commands`] | shell | one file a command of the command line |
//! | [`pii`] | both | redaction by type |
//! | [`words`] | both | closed sets of words, as enums |
//!
//! Arrows point down only; `tests/tidy.rs` holds the table of who may use whom.
//!
//! # The run loop of a core machine
//!
//! Every machine has the same four verbs, after quinn and str0m: `handle_input(now, …)` (or a named command),
//! `poll_output()`, `poll_timeout()` and `handle_timeout(now)`. One mutation, then drain the outputs:
//!
//! ```text
//! loop {
//!     while let Some(output) = machine.poll_output() { carry it out }
//!     wait for input or machine.poll_timeout()
//!     machine.handle_…(now, …)
//! }
//! ```
//!
//! # A call from end to end
//!
//! 1. The scheduler finds a due call in the [`store`], asks [`route`] for a trunk with room, renders the plan's prompts,
//!    opens a media leg and a recording journal, and makes the attempt durable as `dialing`.
//! 2. The call task drives [`call::Call`]: it emits the INVITE; answers, media events and timers go in; transmissions,
//!    media commands and progress come out.
//! 3. At the end, [`record`] finishes the journal into a WAV file with the customer on the left channel and our side on
//!    the right, the attempt's end and a transcription job are written in one transaction, and the page hears of it.
//!
//! # Invariants
//!
//! - **Dial exactly once or say unknown.** The attempt is durable as `dialing` before the first INVITE leaves. An attempt
//!   found in `dialing` at start-up becomes `unknown`, and nothing redials it.
//! - **A disk, a subscriber or a transcription never moves the media clock.** Threads that tick talk to the rest through
//!   bounded queues that drop and count.
//! - **A callee's own no is final** for the trunk choice: `busy`, `rejected` and `invalid_number` never fail over.
//! - **Bounded.** Queues, bodies, digits, calls, steps of a plan, seconds of a recording.
//! - **Numbers, names and secrets** are wrapped in [`pii`] types and cannot be logged by accident.
//! - A panic in this crate means a bug; nothing that comes from outside may cause one.
//!
//! # Why an own SIP stack
//!
//! The parser that this project would have liked to use, `rsip`, fails on much that real trunks send: IPv6 in URIs,
//! folded headers, compact names, several Vias in one line, `tel:` numbers, quoted parameters, `qop="auth,auth-int"`. It
//! serves our tests as an oracle: what it accepts, we accept, and agree on.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used))]

pub mod audio;
pub mod call;
pub mod diagnostic;
pub mod dialplan;
pub mod media;
pub mod pii;
pub mod route;
pub mod rtp;
pub mod schedule;
pub mod sdp;
pub mod sip;
pub mod trace;
pub mod words;

/// Declares the modules of the shell, which read the clock, files and sockets for the core.
macro_rules! shell {
    ($($module:ident)+) => {
        $(
            #[allow(clippy::disallowed_methods, reason = "the shell does the I/O")]
            pub mod $module;
        )+
    };
}

shell! { carrier commands config engine http metrics record speech store transcribe }
