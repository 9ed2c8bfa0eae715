//! One connection over TCP or TLS: a task that reads messages from it and writes messages to it until either side ends it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::limits::count;
use super::table::{Activity, Entry};
use super::{Arrival, Shared};
use crate::sip::Hop;
use crate::sip::framing::{Framer, FramingError, Piece};
use crate::sip::message::{Malformed, Message, Method};

/// Bytes read at once. Most messages fit.
const CHUNK: usize = 4096;

/// A line break between messages answers a ping (RFC 5626 §3.5.1).
pub(super) const PONG: &[u8] = b"\r\n";
/// Two line breaks between messages are a ping.
pub(super) const PING: &[u8] = b"\r\n\r\n";

/// What a connection's task works with.
pub(super) struct Link {
    pub(super) hop: Hop,
    /// Our end.
    pub(super) local: std::net::SocketAddr,
    /// Whether we opened it: then we ping.
    pub(super) ours: bool,
    pub(super) outbox: mpsc::Receiver<Vec<u8>>,
    /// For pongs; weak, so that the connection closes when it is taken out of the table.
    pub(super) queue: mpsc::WeakSender<Vec<u8>>,
    pub(super) activity: Arc<Activity>,
    pub(super) shared: Arc<Shared>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the peer closed it")]
    Closed,
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    Framing(#[from] FramingError),
    #[error("{0}")]
    Stalled(&'static str),
    #[error("nothing was said on it")]
    Idle,
    #[error("it was not wanted any more")]
    Dropped,
}

impl Link {
    pub(super) fn new(
        hop: Hop,
        local: std::net::SocketAddr,
        ours: bool,
        entry: &Entry,
        outbox: mpsc::Receiver<Vec<u8>>,
        shared: Arc<Shared>,
    ) -> Self {
        let (queue, activity) = (entry.queue.downgrade(), entry.activity.clone());
        Self { hop, local, ours, outbox, queue, activity, shared }
    }

    /// Hands a message to the endpoint. Waits while that is busy, and the peer with it.
    pub(super) async fn arrive(&self, bytes: Vec<u8>) -> Result<(), End> {
        self.activity.touch();
        let arrival = Arrival { source: self.hop, local: self.local, bytes };
        self.shared.arrivals.send(arrival).await.map_err(|_| End::Dropped)
    }

    /// Counts the end, and says why.
    pub(super) fn note(&self, end: &End) {
        let (counters, said) = (&self.shared.counters, &self.shared.said);
        match end {
            End::Framing(error) => {
                count(&counters.unframeable);
                if let Some(unsaid) = said.unframeable.may_say() {
                    tracing::warn!(peer = %self.hop, %error, unsaid, "SIP connection closed: what came is no SIP");
                }
            }
            End::Stalled(why) => {
                count(&counters.stalled);
                if let Some(unsaid) = said.stalled.may_say() {
                    tracing::warn!(peer = %self.hop, why, unsaid, "SIP connection closed");
                }
            }
            End::Idle => count(&counters.idle),
            End::Broken(_) | End::Closed | End::Dropped => {}
        }
        tracing::debug!(peer = %self.hop, why = %end, "SIP connection ended");
    }
}

/// The pings of a connection that we opened. In milliseconds after `begun`; 0 is never.
struct Pings {
    begun: Instant,
    answered: AtomicU64,
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(io: S, mut link: Link) -> End
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut input, mut output) = tokio::io::split(io);
    let mut outbox = std::mem::replace(&mut link.outbox, mpsc::channel(1).1);
    let pings = Pings { begun: Instant::now(), answered: AtomicU64::new(0) };
    let end = tokio::select! {
        end = read(&mut input, &link, &pings) => end,
        end = write(&mut output, &link, &pings, &mut outbox) => end,
    };
    let farewell = async {
        if let End::Framing(error) = &end
            && let Some(answer) = refusal(error, link.hop)
        {
            output.write_all(&answer).await?;
        }
        output.shutdown().await
    };
    // The peer may be gone or deaf already; then there is nobody to take leave of.
    drop(timeout(std::time::Duration::from_secs(1), farewell).await);
    link.note(&end);
    end
}

async fn read(input: &mut (impl AsyncRead + Unpin), link: &Link, pings: &Pings) -> End {
    let (mut framer, mut chunk) = (Framer::default(), vec![0; CHUNK]);
    let mut begun: Option<Instant> = None;
    let limits = &link.shared.limits;
    loop {
        let deadline =
            begun.map_or_else(|| link.activity.idle_at(limits.idle), |begun| begun + limits.message);
        let length = match timeout_at(deadline.into(), input.read(&mut chunk)).await {
            Err(_) if begun.is_some() => return End::Stalled("a message took too long to come"),
            Err(_) if link.shared.is_kept(link.hop) => {
                link.activity.keep(Instant::now() + limits.idle);
                continue;
            }
            Err(_) if Instant::now() >= link.activity.idle_at(limits.idle) => return End::Idle,
            Err(_) => continue,
            Ok(Ok(0)) => return End::Closed,
            Ok(Ok(length)) => length,
            Ok(Err(error)) => return End::Broken(super::tls::describe(&error)),
        };
        framer.push(chunk.get(..length).unwrap_or_default());
        match drain(&mut framer, link, pings).await {
            Ok(true) => begun = None,
            Ok(false) => {}
            Err(end) => return end,
        }
        begun = framer.is_within_message().then(|| begun.unwrap_or_else(Instant::now));
    }
}

/// Takes what is complete. True: a message was.
async fn drain(framer: &mut Framer, link: &Link, pings: &Pings) -> Result<bool, End> {
    let mut complete = false;
    while let Some(piece) = framer.poll_piece()? {
        match piece {
            Piece::Message(bytes) => {
                complete = true;
                link.arrive(bytes).await?;
            }
            // A queue that is full has something to say that serves as well.
            Piece::Ping => drop(link.queue.upgrade().map(|queue| queue.try_send(PONG.to_vec()))),
            Piece::Pong => pings.answered.store(pings.milliseconds(), Ordering::Relaxed),
        }
    }
    Ok(complete)
}

async fn write(
    output: &mut (impl AsyncWrite + Unpin),
    link: &Link,
    pings: &Pings,
    outbox: &mut mpsc::Receiver<Vec<u8>>,
) -> End {
    let limits = &link.shared.limits;
    let (mut due, mut pinged) = (Instant::now() + limits.ping, None);
    loop {
        let bytes = tokio::select! {
            bytes = outbox.recv() => match bytes {
                Some(bytes) => bytes,
                None => return End::Dropped,
            },
            () = sleep_until(due.into()), if link.ours => match pinged.take() {
                None => {
                    pinged = Some(pings.milliseconds());
                    due = Instant::now() + limits.pong;
                    PING.to_vec()
                }
                Some(since) if pings.missing(since) => return End::Stalled("a ping was not answered"),
                Some(_) => {
                    due = Instant::now() + limits.ping.saturating_sub(limits.pong);
                    continue;
                }
            }
        };
        if bytes.len() > PING.len() {
            link.activity.touch();
        }
        let written = async {
            output.write_all(&bytes).await?;
            output.flush().await
        };
        match timeout(limits.write, written).await {
            Err(_) => return End::Stalled("the peer does not read"),
            Ok(Err(error)) => return End::Broken(super::tls::describe(&error)),
            Ok(Ok(())) => {}
        }
    }
}

impl Pings {
    fn milliseconds(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Whether a peer that answers pings has not answered the one of this time. One that never answered any does not know
    /// RFC 5626, and TCP itself will tell.
    fn missing(&self, since: u64) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        answered != 0 && answered < since
    }
}

/// The answer to a request that cannot be framed (RFC 3261 §18.3), where it can be told what was asked.
fn refusal(error: &FramingError, hop: Hop) -> Option<Vec<u8>> {
    let (head, status) = error.answerable()?;
    let headers = match Message::parse(head) {
        Ok(message) if message.method().is_some_and(|method| *method != Method::Ack) => {
            message.headers().to_vec()
        }
        Ok(_) => return None,
        Err(Malformed { answerable, .. }) => answerable?,
    };
    let tag = format!("{:016x}", rand::random::<u64>());
    let mut response = Message::response(&headers, status, Some(&tag), hop);
    response.set_body(None);
    Some(response.to_bytes())
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(super::tls::describe(&error))
    }
}
