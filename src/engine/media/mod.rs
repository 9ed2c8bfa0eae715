//! The media threads: every leg's socket and its 20 ms clock.
//!
//! A few plain threads own many legs each. A leg lives in one of ten slots, 2 ms apart, of its thread's 20 ms turn, so
//! that packets leave spread over the turn. Deadlines are absolute: a late turn does not delay the next one. In its slot
//! a leg takes its commands, drains its socket, and sends one packet. The threads talk to call tasks through bounded
//! queues only; nothing in them blocks, or allocates or logs per packet.
//!
//! ```text
//! call task -- LegCommand --> [queue] --> thread --> [queue] -- LegEvent --> call task
//!                                           |  ^
//!                                         socket of the leg
//! ```

mod ports;
mod statistics;
mod thread;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;

pub use statistics::{LateTicks, Lateness, PoolStatistics};

use crate::media::{Connection, PlayError, Statistics, Stream, StreamConfig, StreamEvent, Tap};
use crate::rtp::telephone_event::DigitError;
use ports::Ports;
use statistics::ThreadStatistics;
use thread::Task;

/// Commands that may wait for a leg's next tick.
const COMMANDS: usize = 64;
/// Events that may wait for the call task; more wait in the stream, which is bounded as well.
const EVENTS: usize = 64;
/// Legs that may wait to be taken over by a thread.
const OPENINGS: usize = 1024;

/// How the media threads work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Threads, at least one; one for each core is plenty.
    pub threads: usize,
    /// The UDP ports for RTP; only even ones are used (RFC 3550 §11).
    pub ports: RangeInclusive<u16>,
    /// How long a closed port rests, so that the last call's packets do not reach the next one.
    pub quarantine: Duration,
}

impl Default for PoolConfig {
    /// Two threads, ports 10000-20000, 5 s of rest.
    fn default() -> Self {
        Self { threads: 2, ports: 10_000..=20_000, quarantine: Duration::from_secs(5) }
    }
}

/// What a leg needs to be opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LegConfig {
    /// The local address that reaches the peer, as the route selects it.
    pub ip: IpAddr,
    /// The stream.
    pub stream: StreamConfig,
}

impl LegConfig {
    /// A stream with random numbers to begin with (RFC 3550 §5.1) that gives up on a peer silent for `rtp_timeout`.
    pub fn new(ip: IpAddr, rtp_timeout: Option<Duration>) -> Self {
        let stream = StreamConfig {
            ssrc: rand::random(),
            sequence: rand::random(),
            timestamp: rand::random(),
            rtp_timeout,
            ..StreamConfig::default()
        };
        Self { ip, stream }
    }
}

/// What a call task asks of its leg; done at the leg's next tick, in order.
pub enum LegCommand {
    /// See [`Stream::connect`].
    Connect(Connection),
    /// See [`Stream::play`]; samples at 8 kHz.
    Play {
        /// Comes back in [`StreamEvent::PlayDone`].
        id: u64,
        /// The clip.
        samples: Arc<[i16]>,
    },
    /// See [`Stream::stop`].
    StopPlay,
    /// See [`Stream::send_digits`].
    SendDigits(String),
    /// See [`Stream::listen`].
    Listen(bool),
    /// See [`Stream::watch_tone`].
    WatchTone(Option<f32>),
    /// See [`Stream::start_recording`].
    StartRecording(Box<dyn Tap>),
    /// See [`Stream::stop_recording`].
    StopRecording,
}

/// What a leg reports.
#[derive(Clone, Debug, PartialEq)]
pub enum LegEvent {
    /// A finding of the stream.
    Stream(StreamEvent),
    /// A clip was refused; nothing follows for its id.
    PlayRefused {
        /// The clip.
        id: u64,
        /// Why.
        error: PlayError,
    },
    /// Digits were refused, all of them.
    DigitsRefused(DigitError),
}

/// A command that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LegError {
    /// The leg's queue is full: its thread hangs, or somebody floods it.
    #[error("{COMMANDS} commands wait for the leg already")]
    Busy,
    /// The media threads have ended.
    #[error("the leg is closed")]
    Closed,
}

/// The media threads. Dropping the pool lets them end when their last leg is closed.
pub struct MediaPool {
    threads: Vec<Worker>,
    ports: Arc<Mutex<Ports>>,
}

struct Worker {
    openings: SyncSender<Task>,
    statistics: Arc<ThreadStatistics>,
}

/// One open leg. Dropping it closes it, as [`Leg::close`] does without waiting.
pub struct Leg {
    local: SocketAddr,
    commands: SyncSender<LegCommand>,
    /// What the leg reports; ends when the leg is closed.
    pub events: mpsc::Receiver<LegEvent>,
    summary: Arc<OnceLock<Statistics>>,
}

impl MediaPool {
    /// Starts the threads, at a raised priority where the system allows it.
    pub fn start(config: &PoolConfig) -> io::Result<Self> {
        let ports = Arc::new(Mutex::new(Ports::new(&config.ports, config.quarantine)?));
        let worker = |number: usize| {
            let (openings, incoming) = sync_channel(OPENINGS);
            let statistics = Arc::new(ThreadStatistics::default());
            thread::spawn(number, incoming, statistics.clone(), ports.clone())?;
            Ok(Worker { openings, statistics })
        };
        let threads = (0..config.threads.max(1)).map(worker).collect::<io::Result<_>>()?;
        Ok(Self { threads, ports })
    }

    /// Opens a leg on the thread with the fewest: binds its port, and starts its clock.
    ///
    /// Fails when the address is not ours, no port is free, or a thread hangs.
    pub fn open(&self, config: &LegConfig) -> io::Result<Leg> {
        let least = self.threads.iter().min_by_key(|worker| worker.statistics.legs());
        let Some(worker) = least else { return Err(io::Error::other("no media thread")) };
        let now = Instant::now();
        let socket = self.ports.lock().unwrap_or_else(PoisonError::into_inner).bind(config.ip, now)?;
        let local = socket.local_addr()?;
        let (commands, command_queue) = sync_channel(COMMANDS);
        let (event_queue, events) = mpsc::channel(EVENTS);
        let summary = Arc::new(OnceLock::new());
        let stream = Stream::new(config.stream, now);
        let task = Task::new(socket, local.port(), stream, command_queue, event_queue, summary.clone());
        worker.statistics.opened();
        match worker.openings.try_send(task) {
            Ok(()) => Ok(Leg { local, commands, events, summary }),
            Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => {
                worker.statistics.closed();
                task.abandon(&self.ports);
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "the media threads do not take legs"))
            }
        }
    }

    /// The figures of all threads together.
    pub fn statistics(&self) -> PoolStatistics {
        PoolStatistics::of(self.threads.iter().map(|worker| worker.statistics.as_ref()))
    }
}

impl MediaPool {
    /// How many ticks there were, and how many late ones.
    pub fn late_ticks(&self) -> LateTicks {
        LateTicks::of(self.threads.iter().map(|worker| worker.statistics.as_ref()))
    }
}

impl Leg {
    /// The address for SDP.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Queues a command.
    pub fn try_send(&self, command: LegCommand) -> Result<(), LegError> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => LegError::Busy,
            TrySendError::Disconnected(_) => LegError::Closed,
        })
    }

    /// Closes the leg after its queued commands and returns its counters; `None` when its thread has died.
    pub async fn close(self) -> Option<Statistics> {
        let Self { commands, mut events, summary, .. } = self;
        drop(commands);
        while events.recv().await.is_some() {}
        summary.get().copied()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
