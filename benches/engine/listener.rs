//! A callee that says nothing and notes when each of the engine's packets came: the kernel's time stamp on arrival, which
//! on the loopback is the time of sending. It is no SIP user agent: it answers what the engine sends on a link that loses
//! nothing.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};

/// How long a socket is waited on before its thread looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// The thread that answers, and those that receive.
pub struct Listener {
    /// Where it receives INVITEs.
    pub port: u16,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Vec<Duration>>>>,
}

impl Listener {
    /// Begins to listen.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        let port = socket.local_addr()?.port();
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = over.clone();
            move || serve(&socket, &over)
        });
        Ok(Self { port, over, thread })
    }

    /// Ends; returns for each call when its packets came.
    pub fn finish(self) -> Result<Vec<Vec<Duration>>> {
        self.over.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the listener failed"))?
    }
}

/// One call: the answer that was given, and whoever receives its media until it is over.
struct Answered {
    reply: String,
    over: Arc<AtomicBool>,
    media: JoinHandle<Result<Vec<Duration>>>,
}

fn serve(socket: &UdpSocket, over: &AtomicBool) -> Result<Vec<Vec<Duration>>> {
    socket.set_read_timeout(Some(LOOK))?;
    let port = socket.local_addr()?.port();
    let mut calls: HashMap<String, Answered> = HashMap::new();
    let mut buffer = [0; 4096];
    while !over.load(Relaxed) {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let id = header(&text, "call-id").unwrap_or_default().to_owned();
        if text.starts_with("INVITE ") {
            let call = match calls.remove(&id) {
                Some(call) => call,
                None => answer(&text, port)?,
            };
            socket.send_to(call.reply.as_bytes(), peer)?;
            calls.insert(id, call);
        } else if text.starts_with("BYE ") {
            socket.send_to(reply(&text, port, "").as_bytes(), peer)?;
            if let Some(call) = calls.get(&id) {
                call.over.store(true, Relaxed);
            }
        }
    }
    calls.into_values().map(finish).collect()
}

fn finish(call: Answered) -> Result<Vec<Duration>> {
    call.over.store(true, Relaxed);
    call.media.join().map_err(|_| anyhow!("a listener failed"))?
}

fn answer(invite: &str, port: u16) -> Result<Answered> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    let media = socket.local_addr()?;
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\na=ptime:20\r\n",
        media.port()
    );
    let over = Arc::new(AtomicBool::new(false));
    let media = thread::spawn({
        let over = over.clone();
        move || receive(&socket, &over)
    });
    Ok(Answered { reply: reply(invite, port, &sdp), over, media })
}

/// 200 to a request.
fn reply(request: &str, port: u16, sdp: &str) -> String {
    let mut text = String::from("SIP/2.0 200 OK\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if ["via", "from", "call-id", "cseq"].contains(&name.as_str()) {
            text += &format!("{line}\r\n");
        } else if name == "to" {
            let tag = if line.contains(";tag=") { "" } else { ";tag=listener" };
            text += &format!("{line}{tag}\r\n");
        }
    }
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    text += &format!("Contact: <sip:127.0.0.1:{port}>\r\n{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len());
    text
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// When each packet came, since 1970.
fn receive(socket: &UdpSocket, over: &AtomicBool) -> Result<Vec<Duration>> {
    socket.set_read_timeout(Some(LOOK))?;
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    let mut arrivals = Vec::with_capacity(4000);
    let mut buffer = [0; 2048];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    while !over.load(Relaxed) {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags);
        let Ok(message) = message else { continue };
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(time) = control {
                arrivals.push(Duration::from(time));
            }
        }
    }
    Ok(arrivals)
}
