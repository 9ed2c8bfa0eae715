//! Two telephones on our SIP stack, with a socket and without media: one that answers every call, one that places calls.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callahead::engine::signalling::{Inbound, Signalling, Unclaimed, Unreachable};
use callahead::sdp::{self, Direction, MediaPolicy, SessionOrigin};
use callahead::sip::Hop;
use callahead::sip::endpoint::{Accept, EndpointConfig};
use callahead::sip::message::{Address, Uri};
use callahead::sip::session::{Failure, OutgoingInvite, Session, SessionEvent, SessionOutput};
use callahead::sip::transaction::Timing;
use tokio::sync::mpsc;

/// How calls ended.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered: the caller heard of it, or the callee heard the ACK (a BYE may overtake a lost one).
    pub answered: AtomicUsize,
    /// Ended by a BYE after the answer.
    pub ended: AtomicUsize,
    /// Never set up, and why.
    pub failures: Mutex<Vec<Failure>>,
    /// The last transaction over.
    pub finished: AtomicUsize,
}

/// What a telephone listens on and takes.
pub fn endpoint(max_sessions: usize) -> EndpointConfig {
    EndpointConfig {
        user_agent: "phones/1".to_owned(),
        accept: Accept::All,
        incoming: true,
        registrar: false,
        max_sessions,
    }
}

/// Answers every call at once; the caller hangs up.
pub async fn answer_calls(
    signalling: Arc<Signalling>,
    mut unclaimed: mpsc::Receiver<Unclaimed>,
    tally: Arc<Tally>,
) {
    while let Some(arrival) = unclaimed.recv().await {
        let Unclaimed::Incoming(call, inbox) = arrival else { continue };
        let (signalling, tally) = (signalling.clone(), tally.clone());
        tokio::spawn(async move {
            let local = signalling.local_addr();
            let contact = Uri::parse(&format!("sip:phone@{local}")).unwrap();
            let id = call.seed.id;
            let mut session = Session::incoming(Instant::now(), *call, contact, Timing::default());
            let answer = session.remote_offer().map(|offer| {
                let origin = SessionOrigin { id: 1, version: 1 };
                let rtp = SocketAddr::new(local.ip(), 40_000);
                sdp::answer(offer, &MediaPolicy::default(), origin, rtp, Direction::SendRecv).unwrap().0
            });
            session.accept(Instant::now(), answer.as_deref().unwrap_or(b"v=0\r\n"));
            run(&signalling, session, inbox, &tally, None).await;
            signalling.release(id);
        });
    }
}

/// Places a call to `target`, hangs up `hold` after the answer, and returns when its last transaction is over.
pub async fn place_call(signalling: Arc<Signalling>, target: SocketAddr, hold: Duration, tally: Arc<Tally>) {
    let local = signalling.local_addr();
    let uri = |text: String| Uri::parse(&text).unwrap();
    let (seed, inbox) = signalling.connect();
    let id = seed.id;
    let offer = sdp::offer(
        &MediaPolicy::default(),
        SessionOrigin { id: 1, version: 1 },
        SocketAddr::new(local.ip(), 40_000),
        Direction::SendRecv,
    );
    let invite = OutgoingInvite {
        target: uri(format!("sip:service@{target}")),
        from: Address::new(uri(format!("sip:phone@{local}"))),
        to: Address::new(uri(format!("sip:service@{target}"))),
        contact: uri(format!("sip:phone@{local}")),
        hops: vec![Hop::udp(target)],
        local,
        credentials: None,
        sdp_offer: offer,
        extra_headers: Vec::new(),
        timing: Timing::default(),
    };
    let session = Session::invite(Instant::now(), seed, invite);
    run(&signalling, session, inbox, &tally, Some(hold)).await;
    signalling.release(id);
}

async fn run(
    signalling: &Signalling,
    mut session: Session,
    mut inbox: mpsc::Receiver<Inbound>,
    tally: &Tally,
    hold: Option<Duration>,
) {
    let mut hang_up_at: Option<Instant> = None;
    loop {
        while let Some(output) = session.poll_output() {
            match output {
                SessionOutput::Transmit(transmit) => {
                    if let Err(Unreachable(hop)) = signalling.send(&transmit).await {
                        session.handle_unreachable(Instant::now(), hop);
                    }
                }
                SessionOutput::Event(SessionEvent::Answered { .. } | SessionEvent::Acknowledged { .. }) => {
                    tally.answered.fetch_add(1, Relaxed);
                    hang_up_at = hold.map(|hold| Instant::now() + hold);
                }
                SessionOutput::Event(SessionEvent::Ended { .. }) => {
                    tally.ended.fetch_add(1, Relaxed);
                }
                SessionOutput::Event(SessionEvent::Failed(failure)) => {
                    tally.failures.lock().unwrap().push(failure)
                }
                SessionOutput::Event(SessionEvent::Finished) => {
                    tally.finished.fetch_add(1, Relaxed);
                    return;
                }
                SessionOutput::Event(_) => {}
            }
        }
        let next = [session.poll_timeout(), hang_up_at].into_iter().flatten().min();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(inbound) = inbox.recv() => session.handle_message(Instant::now(), inbound.source, inbound.message),
            () = timer => {
                let now = Instant::now();
                session.handle_timeout(now);
                if hang_up_at.is_some_and(|at| at <= now) {
                    hang_up_at = None;
                    session.hang_up(now, None);
                }
            }
        }
    }
}
