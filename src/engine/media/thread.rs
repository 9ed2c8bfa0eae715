//! One media thread: slots of legs, absolute deadlines.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::ports::Ports;
use super::statistics::ThreadStatistics;
use super::{LegCommand, LegEvent};
use crate::media::{Statistics, Stream};

/// Slots in a turn.
const SLOTS: u64 = 10;
/// The distance of slots; [`SLOTS`] of them make the 20 ms of a frame.
const SLOT: Duration = Duration::from_millis(2);
/// One turn.
const TURN: Duration = Duration::from_millis(20);
/// Turns that a late thread makes up for by sending at once; more are skipped.
const CATCH_UP: u32 = 5;
/// Datagrams read from one leg's socket in one tick; the rest wait in the kernel.
const READS: usize = 32;
/// Commands taken in one tick.
const TAKES: usize = 16;
/// More than an Ethernet frame carries.
const DATAGRAM: usize = 2048;
/// The priority asked for: below the kernel's own threads, above everything ordinary.
const NICE: i32 = -11;

/// One leg as its thread holds it.
pub(super) struct Task {
    socket: UdpSocket,
    port: u16,
    stream: Stream,
    commands: Receiver<LegCommand>,
    events: mpsc::Sender<LegEvent>,
    /// Events that the full queue did not take; later findings wait in the stream.
    waiting: VecDeque<LegEvent>,
    summary: Arc<OnceLock<Statistics>>,
    closing: bool,
}

/// Starts thread `number`; it ends when `incoming` is closed and its last leg as well.
pub(super) fn spawn(
    number: usize,
    incoming: Receiver<Task>,
    statistics: Arc<ThreadStatistics>,
    ports: Arc<Mutex<Ports>>,
) -> io::Result<()> {
    let run = move || {
        raise_priority();
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Clock { incoming, slots, legs: 0, origin: Instant::now(), turn: 0, statistics, ports }.run();
    };
    thread::Builder::new().name(format!("media-{number}")).spawn(run).map(|_| ())
}

struct Clock {
    incoming: Receiver<Task>,
    slots: Vec<Vec<Task>>,
    legs: usize,
    origin: Instant,
    /// The slot to run next, counted from the origin.
    turn: u64,
    statistics: Arc<ThreadStatistics>,
    ports: Arc<Mutex<Ports>>,
}

impl Clock {
    fn run(mut self) {
        loop {
            if self.legs == 0 {
                // Without legs there is no clock to keep: sleep until one comes.
                let Ok(task) = self.incoming.recv() else { return };
                (self.origin, self.turn) = (Instant::now(), 0);
                self.adopt(task);
            }
            while let Ok(task) = self.incoming.try_recv() {
                self.adopt(task);
            }
            self.step();
        }
    }

    /// Puts a leg into the emptiest slot.
    fn adopt(&mut self, task: Task) {
        if let Some(slot) = self.slots.iter_mut().min_by_key(|slot| slot.len()) {
            slot.push(task);
            self.legs += 1;
        }
    }

    /// Waits for the next slot that has legs, and runs it.
    fn step(&mut self) {
        while self.slots[(self.turn % SLOTS) as usize].is_empty() {
            self.turn += 1;
        }
        let deadline = self.deadline();
        let now = Instant::now();
        thread::sleep(deadline.saturating_duration_since(now));
        let missed = (now.saturating_duration_since(deadline).as_millis() / TURN.as_millis()) as u32;
        if missed > CATCH_UP {
            self.slots.iter_mut().flatten().for_each(|task| task.stream.skip(missed));
            self.turn += u64::from(missed) * SLOTS;
        }
        self.run_slot(self.deadline());
        self.turn += 1;
    }

    fn deadline(&self) -> Instant {
        self.origin + Duration::from_micros(SLOT.as_micros() as u64 * self.turn)
    }

    fn run_slot(&mut self, deadline: Instant) {
        let slot = &mut self.slots[(self.turn % SLOTS) as usize];
        let mut traffic = Traffic::default();
        let mut closing = false;
        for task in slot.iter_mut() {
            let now = Instant::now();
            self.statistics.tick(now.saturating_duration_since(deadline));
            task.tick(now, &mut traffic);
            closing |= task.closing;
        }
        self.statistics.packets(traffic.packets_in, traffic.packets_out, traffic.send_errors);
        if closing {
            for task in slot.extract_if(.., |task| task.closing) {
                task.close(&self.ports);
                self.statistics.closed();
                self.legs -= 1;
            }
        }
    }
}

#[derive(Default)]
struct Traffic {
    packets_in: u64,
    packets_out: u64,
    send_errors: u64,
}

impl Task {
    pub fn new(
        socket: UdpSocket,
        port: u16,
        stream: Stream,
        commands: Receiver<LegCommand>,
        events: mpsc::Sender<LegEvent>,
        summary: Arc<OnceLock<Statistics>>,
    ) -> Self {
        Self { socket, port, stream, commands, events, waiting: VecDeque::new(), summary, closing: false }
    }

    /// Closes a leg that no thread took.
    pub fn abandon(self, ports: &Mutex<Ports>) {
        self.close(ports);
    }

    fn tick(&mut self, now: Instant, traffic: &mut Traffic) {
        self.take_commands(now);
        self.read(now, traffic);
        if let Some(transmit) = self.stream.tick(now) {
            match self.socket.send_to(transmit.bytes, transmit.destination) {
                Ok(_) => traffic.packets_out += 1,
                Err(_) => traffic.send_errors += 1,
            }
        }
        self.report();
    }

    fn take_commands(&mut self, now: Instant) {
        for _ in 0..TAKES {
            if self.waiting.len() >= TAKES {
                return; // the caller does not fetch the refusals of its last commands
            }
            match self.commands.try_recv() {
                Ok(command) => self.obey(now, command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.closing = true;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, now: Instant, command: LegCommand) {
        let refused = match command {
            LegCommand::Connect(connection) => {
                self.stream.connect(now, connection);
                None
            }
            LegCommand::Play { id, samples } => {
                let played = self.stream.play(id, samples);
                played.err().map(|error| LegEvent::PlayRefused { id, error })
            }
            LegCommand::SendDigits(digits) => {
                self.stream.send_digits(&digits).err().map(LegEvent::DigitsRefused)
            }
            LegCommand::StopPlay => {
                self.stream.stop();
                None
            }
            LegCommand::Listen(on) => {
                self.stream.listen(on);
                None
            }
            LegCommand::WatchTone(frequency) => {
                self.stream.watch_tone(frequency);
                None
            }
            LegCommand::StartRecording(tap) => {
                self.stream.start_recording(now, tap);
                None
            }
            LegCommand::StopRecording => {
                self.stream.stop_recording();
                None
            }
        };
        self.waiting.extend(refused);
    }

    fn read(&mut self, now: Instant, traffic: &mut Traffic) {
        let mut datagram = [0; DATAGRAM];
        for _ in 0..READS {
            // Would block: nothing more. Any other error concerns one datagram, and the next tick tries again.
            let Ok((length, source)) = self.socket.recv_from(&mut datagram) else { return };
            traffic.packets_in += 1;
            self.stream.handle_packet(now, source, &datagram[..length]);
        }
    }

    /// Passes events on, in order, as far as the queue takes them.
    fn report(&mut self) {
        while let Some(event) =
            self.waiting.pop_front().or_else(|| self.stream.poll_event().map(LegEvent::Stream))
        {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
        }
    }

    /// The summary is set before the event queue ends, which is what [`super::Leg::close`] waits for.
    fn close(mut self, ports: &Mutex<Ports>) {
        self.stream.stop_recording();
        // Nobody else sets it.
        let _ = self.summary.set(self.stream.statistics());
        drop(self.socket);
        ports.lock().unwrap_or_else(PoisonError::into_inner).release(self.port, Instant::now());
    }
}

/// Asks the system to run this thread before ordinary ones. Without the right to it (CAP_SYS_NICE) calls work as
/// well, until the machine is busy.
fn raise_priority() {
    // SAFETY: setpriority takes three integers and touches no memory of ours; who = 0 names the calling thread.
    #[allow(unsafe_code)] // no crate of ours wraps setpriority(2)
    let result = unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, NICE) };
    if result != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "media threads run at ordinary priority");
    }
}
