//! SIP over raw connections: what a test writes and reads byte by byte, and an engine's signalling to talk to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callahead::engine::signalling::{Inbound, Listen, Signalling, Unclaimed};
use callahead::sip::endpoint::{Accept, EndpointConfig};
use callahead::sip::framing::{Framer, Piece};
use callahead::sip::message::{Message, Method, Uri};
use callahead::sip::session::{OutgoingInvite, Session, SessionEvent, SessionOutput};
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing here takes nearly as long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Signalling that runs until it is dropped.
pub struct Running {
    /// The signalling.
    pub signalling: Arc<Signalling>,
    /// What it hands up.
    pub unclaimed: mpsc::Receiver<Unclaimed>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts signalling that takes calls and registrations from whom `accept` says.
pub async fn start(listen: impl Into<Listen>, accept: Accept) -> Running {
    let config = EndpointConfig {
        user_agent: "test".to_owned(),
        accept,
        incoming: true,
        registrar: true,
        max_sessions: 100,
    };
    let signalling = Signalling::bind(listen, config, 7).await.unwrap();
    let (sender, unclaimed) = Signalling::unclaimed();
    let runner = signalling.clone();
    let task = tokio::spawn(async move { runner.run(sender).await });
    Running { signalling, unclaimed, task }
}

/// Any free port of this address.
pub fn any(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0)
}

/// A request outside of calls.
pub fn request(method: &str, transport: &str, number: u32) -> String {
    format!(
        "{method} sip:depot@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.9:5999;rport;branch=z9hG4bK{transport}{number}\r\n\
         From: <sip:a@example.net>;tag=f\r\nTo: <sip:depot@127.0.0.1>\r\nCall-ID: {transport}{number}@test\r\n\
         CSeq: {number} {method}\r\nMax-Forwards: 70\r\nContact: <sip:a@192.0.2.9:5999>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// One end of a connection, in messages.
pub struct Wire<S> {
    io: S,
    framer: Framer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Speaks over `io`.
    pub fn new(io: S) -> Self {
        Self { io, framer: Framer::default() }
    }

    /// Writes these bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Writes what there is room for, to a peer that may have closed.
    pub fn try_write(&self, bytes: &[u8])
    where
        S: AsRef<tokio::net::TcpStream>,
    {
        let _ = self.io.as_ref().try_write(bytes);
    }

    /// The next piece; `None` when the other side has closed.
    pub async fn piece(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.framer.poll_piece().unwrap() {
                return Some(piece);
            }
            let mut chunk = [0; 4096];
            let read = timeout(PATIENCE, self.io.read(&mut chunk)).await.expect("nothing came");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.framer.push(&chunk[..length]),
            }
        }
    }

    /// The next message; pings are answered.
    pub async fn message(&mut self) -> Option<Message> {
        loop {
            match self.piece().await? {
                Piece::Message(bytes) => return Some(Message::parse(&bytes).unwrap()),
                Piece::Ping => self.write("\r\n").await,
                Piece::Pong => {}
            }
        }
    }

    /// The next message, which must be a request of this method.
    pub async fn expect(&mut self, method: &Method) -> Message {
        let message = self.message().await.unwrap_or_else(|| panic!("closed before {method}"));
        assert_eq!(message.method(), Some(method), "{message:?}");
        message
    }

    /// Answers a request; a 200 to INVITE has an SDP.
    pub async fn answer(&mut self, request: &Message, status: u16, contact: Option<Hop>) {
        let source = Hop::tcp("127.0.0.1:9".parse().unwrap());
        let mut response = Message::response(request.headers(), status, Some("callee"), source);
        if let Some(contact) = contact {
            let Hop { transport, address } = contact;
            let value = format!("<sip:callee@{address};transport={transport}>");
            response.push(message::HeaderName::Contact, &value);
        }
        let sdp: Option<(&str, &[u8])> = match request.method() {
            Some(Method::Invite) if status == 200 => Some(("application/sdp", b"answer")),
            _ => None,
        };
        response.set_body(sdp);
        self.write(response.to_bytes()).await;
    }

    /// Takes a call: 200 and its ACK.
    pub async fn take_call(&mut self, contact: Hop) -> Message {
        let invite = self.expect(&Method::Invite).await;
        self.answer(&invite, 200, Some(contact)).await;
        self.expect(&Method::Ack).await;
        invite
    }
}

/// A caller's side of a call, driven as the engine drives it.
pub struct Caller<'s> {
    signalling: &'s Signalling,
    session: Session,
    inbox: mpsc::Receiver<Inbound>,
    lost: tokio::sync::broadcast::Receiver<Hop>,
}

impl<'s> Caller<'s> {
    /// Calls this hop.
    pub fn call(signalling: &'s Signalling, hop: Hop) -> Self {
        let (seed, inbox) = signalling.connect();
        let local = signalling.address_towards(hop).unwrap();
        let target = Uri::parse(&format!("sip:callee@{}", hop.address)).unwrap();
        let from = Uri::parse("sip:depot@example.net").unwrap();
        let invite = OutgoingInvite {
            to: message::Address::new(target.clone()),
            target,
            from: message::Address::new(from),
            contact: callahead::engine::signalling::contact("depot", local, hop.transport).unwrap(),
            hops: vec![hop],
            local,
            credentials: None,
            sdp_offer: b"offer".to_vec(),
            extra_headers: Vec::new(),
            timing: Timing::default(),
        };
        let session = Session::invite(Instant::now(), seed, invite);
        Self { signalling, session, inbox, lost: signalling.lost() }
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.session.hang_up(Instant::now(), None);
    }

    /// Goes on until the session tells of something for which `wanted` holds.
    pub async fn until(&mut self, wanted: impl Fn(&SessionEvent) -> bool) -> SessionEvent {
        timeout(PATIENCE, async {
            loop {
                while let Some(output) = self.session.poll_output() {
                    match output {
                        SessionOutput::Transmit(transmit) => {
                            if let Err(error) = self.signalling.send(&transmit).await {
                                self.session.handle_unreachable(Instant::now(), error.0);
                            }
                        }
                        SessionOutput::Event(event) if wanted(&event) => return event,
                        SessionOutput::Event(_) => {}
                    }
                }
                let timer = self.session.poll_timeout();
                let timer = async {
                    match timer {
                        Some(at) => tokio::time::sleep_until(at.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    Some(inbound) = self.inbox.recv() => {
                        self.session.handle_message(Instant::now(), inbound.source, inbound.message);
                    }
                    Ok(hop) = self.lost.recv() => self.session.handle_unreachable(Instant::now(), hop),
                    () = timer => self.session.handle_timeout(Instant::now()),
                }
            }
        })
        .await
        .expect("the call does not get there")
    }
}
