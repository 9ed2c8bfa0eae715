//! Collects the SIP messages of calls and registrations without holding them up, and writes them into the store.
//!
//! A call's task notes each message in its own memory and hands what is new to the writer when half a second has passed; the
//! writer puts what many calls have handed over into one transaction. When the store is slow, the call keeps its messages a
//! little longer; when it refuses, they are lost and the log says so: no call waits for its trace.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tracing::{error, info};
use uuid::Uuid;

use super::Engine;
use super::signalling::Inbound;
use crate::metrics::SipMetrics;
use crate::sip::{Hop, Transmit};
use crate::store::sip_messages::{self, Head};
use crate::trace::{Batch, Direction, Recorder, Traced, mask};

/// Entries that wait for the writer.
const QUEUE: usize = 1024;

/// How long a message waits for company before it is handed to the writer.
const GATHER: Duration = Duration::from_millis(500);

/// How long the writer rests between transactions.
const REST: Duration = Duration::from_millis(200);

/// The most entries in one transaction.
const AT_ONCE: usize = 256;

/// How often old traces are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// How many fingerprints tell a registration's retransmissions.
const MARKS: usize = 32;

/// What the writer is told.
pub(super) enum Entry {
    /// A call has said more.
    Call(Head, Batch),
    /// Something was said with a trunk outside of calls.
    Trunk(Head, Traced),
}

/// The way to the writer, and its other end for [`run`].
pub(super) fn queue() -> (mpsc::Sender<Entry>, mpsc::Receiver<Entry>) {
    mpsc::channel(QUEUE)
}

/// The messages of one call.
pub(super) struct CallTrace {
    recorder: Recorder,
    head: Head,
    local: SocketAddr,
    /// `None`: the configuration keeps no traces.
    writer: Option<mpsc::Sender<Entry>>,
    counts: SipMetrics,
    due: Option<Instant>,
}

impl CallTrace {
    /// For the call whose attempt is `id`, with `peer`, under the Call-ID `sip_call_id`, from our address `local`.
    pub fn new(engine: &Engine, id: Uuid, peer: &str, sip_call_id: &str, local: SocketAddr) -> Self {
        let head = Head { id: id.to_string(), sip_call_id: sip_call_id.to_owned(), peer: peer.to_owned() };
        let writer = (!engine.config().sip.keep_trace.is_zero()).then(|| engine.traces.clone());
        let counts = engine.signalling.counts.clone();
        Self { recorder: Recorder::default(), head, local, writer, counts, due: None }
    }

    /// The other side's name.
    pub fn peer(&self) -> &str {
        &self.head.peer
    }

    /// Notes a message on its way out.
    pub fn sent(&mut self, transmit: &Transmit) {
        self.note(traced(Direction::Out, self.local, transmit.destination, transmit.bytes.clone()));
    }

    /// Notes a message that has come.
    pub fn received(&mut self, inbound: &Inbound) {
        self.note(traced(Direction::In, self.local, inbound.source, inbound.message.to_bytes()));
    }

    /// When [`CallTrace::flush`] wants to be called.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands what is new to the writer; when its queue is full, later.
    pub fn flush(&mut self) {
        self.due = None;
        let Some(writer) = self.writer.as_ref().filter(|_| self.recorder.has_news()) else { return };
        match writer.try_reserve() {
            Ok(permit) => permit.send(Entry::Call(self.head.clone(), self.recorder.take())),
            Err(mpsc::error::TrySendError::Full(())) => self.due = Some(Instant::now() + GATHER),
            Err(mpsc::error::TrySendError::Closed(())) => {}
        }
    }

    fn note(&mut self, message: Traced) {
        let direction = message.direction;
        if self.recorder.note(message) {
            self.counts.again(direction);
        }
        self.due.get_or_insert_with(|| Instant::now() + GATHER);
    }
}

/// What is said with one trunk outside of calls.
pub(super) struct TrunkTrace {
    head: Head,
    local: SocketAddr,
    writer: Option<mpsc::Sender<Entry>>,
    counts: SipMetrics,
    marks: VecDeque<u64>,
}

impl TrunkTrace {
    /// For what is said with `trunk` under the Call-ID `sip_call_id`, from our address `local`.
    pub fn new(engine: &Engine, trunk: &str, sip_call_id: &str, local: SocketAddr) -> Self {
        let id = sip_messages::trunk_id(trunk);
        let head = Head { id, sip_call_id: sip_call_id.to_owned(), peer: trunk.to_owned() };
        let writer = (!engine.config().sip.keep_trace.is_zero()).then(|| engine.traces.clone());
        Self { head, local, writer, counts: engine.signalling.counts.clone(), marks: VecDeque::new() }
    }

    /// Notes a message on its way out.
    pub fn sent(&mut self, transmit: &Transmit) {
        self.note(traced(Direction::Out, self.local, transmit.destination, transmit.bytes.clone()));
    }

    /// Notes a message that has come.
    pub fn received(&mut self, inbound: &Inbound) {
        self.note(traced(Direction::In, self.local, inbound.source, inbound.message.to_bytes()));
    }

    fn note(&mut self, mut message: Traced) {
        let mark = message.mark();
        if self.marks.contains(&mark) {
            self.counts.again(message.direction);
        } else {
            self.marks.push_back(mark);
            if self.marks.len() > MARKS {
                self.marks.pop_front();
            }
        }
        mask::secrets(&mut message.bytes);
        if let Some(writer) = &self.writer {
            // A full queue means a store that is slow or refuses; these messages are the least of its worries.
            drop(writer.try_send(Entry::Trunk(self.head.clone(), message)));
        }
    }
}

fn traced(direction: Direction, local: SocketAddr, peer: Hop, bytes: Vec<u8>) -> Traced {
    let at_us = Timestamp::now().as_microsecond();
    Traced { at_us, direction, transport: peer.transport, local, remote: peer.address, bytes }
}

/// Writes until the sockets are closed, then writes what is left.
pub(super) async fn run(engine: Arc<Engine>, mut entries: mpsc::Receiver<Entry>) {
    let mut stop = engine.sockets_stop.subscribe();
    let mut pruned: Option<Instant> = None;
    loop {
        let mut some = Vec::new();
        let stopped = tokio::select! {
            biased;
            _ = entries.recv_many(&mut some, AT_ONCE) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if !some.is_empty() {
            write(&engine, some).await;
        }
        if stopped {
            return;
        }
        if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
            pruned = Some(Instant::now());
            prune(&engine).await;
        }
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

async fn write(engine: &Engine, entries: Vec<Entry>) {
    let mut calls = Vec::new();
    let mut trunks: Vec<(Head, Vec<Traced>)> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Call(head, batch) => calls.push((head, batch)),
            Entry::Trunk(head, message) => match trunks.iter_mut().find(|(known, _)| *known == head) {
                Some((_, messages)) => messages.push(message),
                None => trunks.push((head, vec![message])),
            },
        }
    }
    let now = Timestamp::now();
    if !calls.is_empty()
        && let Err(error) = sip_messages::append(&engine.store, now, &calls).await
    {
        error!(%error, calls = calls.len(), "the SIP messages of calls could not be stored");
    }
    for (head, messages) in trunks {
        if let Err(error) = sip_messages::append_newest(&engine.store, now, &head, &messages).await {
            error!(%error, trunk = head.peer, "the SIP messages of a registration could not be stored");
        }
    }
}

async fn prune(engine: &Engine) {
    let keep = engine.config().sip.keep_trace;
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    match sip_messages::prune(&engine.store, Timestamp::now(), keep).await {
        Ok(0) => {}
        Ok(gone) => info!(gone, "old SIP traces removed"),
        Err(error) => error!(%error, "old SIP traces could not be removed"),
    }
}
