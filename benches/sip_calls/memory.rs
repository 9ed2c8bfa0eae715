//! What a standing dialog and a registered telephone keep in memory, by the growth of this process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callahead::pii::Secret;
use callahead::sdp::{self, Direction, MediaPolicy, SessionOrigin};
use callahead::sip::Hop;
use callahead::sip::auth::{Credentials, DigestClient};
use callahead::sip::endpoint::{Endpoint, Received};
use callahead::sip::identity::Identity;
use callahead::sip::message::{Address, HeaderName, Message, Method, Uri};
use callahead::sip::registrar::{Account, Answer, Registrar};
use callahead::sip::session::{OutgoingInvite, Session, SessionEvent, SessionOutput};
use callahead::sip::transaction::Timing;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Dialogs and telephones at once.
const COUNT: usize = 10_000;

/// Measures and prints both.
pub fn print() -> Result<()> {
    let (before, now) = (resident()?, Instant::now());
    let mut endpoint = Endpoint::new(super::phones::endpoint(COUNT), 1);
    let sessions = (0..COUNT).map(|_| stand(&mut endpoint, now)).collect::<Result<Vec<_>>>()?;
    println!("a standing dialog            {:>8.2} kB", per_one(before)?);
    // All is kept until the end: what is given back would be taken again, unseen.
    let before = resident()?;
    let registrar = register(now)?;
    println!("a registered telephone       {:>8.2} kB", per_one(before)?);
    drop((sessions, endpoint, registrar));
    Ok(())
}

/// A call that was answered half a minute ago.
fn stand(endpoint: &mut Endpoint, now: Instant) -> Result<Session> {
    let (local, peer) = (address("192.0.2.1:5060")?, address("198.51.100.1:5060")?);
    let uri = |text: &str| Uri::parse(text);
    let sdp =
        sdp::offer(&MediaPolicy::default(), SessionOrigin { id: 1, version: 1 }, local, Direction::SendRecv);
    let invite = OutgoingInvite {
        target: uri("sip:+12025550101@198.51.100.1")?,
        from: Address::new(uri("sip:+12025550100@198.51.100.1")?),
        to: Address::new(uri("sip:+12025550101@198.51.100.1")?),
        contact: uri("sip:depot@192.0.2.1:5060")?,
        hops: vec![Hop::udp(peer)],
        routes: Vec::new(),
        identity: Identity::default(),
        local,
        credentials: None,
        sdp_offer: sdp.clone(),
        extra_headers: Vec::new(),
        timing: Timing::default(),
    };
    let mut session = Session::invite(now, endpoint.connect(), invite);
    let mut answered = false;
    while let Some(output) = session.poll_output() {
        match output {
            SessionOutput::Transmit(transmit) => {
                let request = Message::parse(&transmit.bytes)?;
                if request.method() != Some(&Method::Invite) {
                    continue;
                }
                let mut answer = Message::response(request.headers(), 200, Some("far"), Hop::udp(local));
                answer.push(HeaderName::Contact, "<sip:+12025550101@198.51.100.1:5060>");
                answer.set_body(Some(("application/sdp", &sdp)));
                let received = endpoint.handle_message(now, Hop::udp(peer), local, &answer.to_bytes());
                let Received::Session(_, message) = received else { anyhow::bail!("{received:?}") };
                session.handle_message(now, Hop::udp(peer), *message);
            }
            SessionOutput::Event(event) => answered |= matches!(event, SessionEvent::Answered { .. }),
        }
    }
    ensure!(answered, "the call does not stand");
    session.handle_timeout(now + Duration::from_secs(33));
    Ok(session)
}

fn register(now: Instant) -> Result<Registrar> {
    let mut registrar = Registrar::new("depot", 3);
    let account = |index| {
        let password = Secret::new(format!("password-{index}"));
        (format!("phone{index}"), Account { password, max_contacts: 2, md5_only: false })
    };
    registrar.set_accounts((0..COUNT).map(account).collect::<HashMap<_, _>>());
    let mut rng = StdRng::seed_from_u64(4);
    for index in 0..COUNT {
        let source = Hop::udp(address(&format!("10.0.{}.{}:5060", index / 250, index % 250 + 1))?);
        let credentials = Credentials {
            username: format!("phone{index}"),
            password: Secret::new(format!("password-{index}")),
        };
        let mut client = DigestClient::new(Some(credentials));
        let mut request = request(index)?;
        let Answer::Respond(401, fields) = registrar.handle(now, source, true, &request) else {
            anyhow::bail!("no challenge")
        };
        let mut challenge = Message::response(request.headers(), 401, Some("r"), source);
        fields.into_iter().for_each(|field| challenge.push_header(field));
        ensure!(client.take_challenges(&challenge), "the challenge is not understood");
        client.authorize(&mut request, &mut rng);
        let answer = registrar.handle(now, source, true, &request);
        ensure!(matches!(answer, Answer::Respond(200, _)), "{answer:?}");
    }
    Ok(registrar)
}

fn request(index: usize) -> Result<Message> {
    let text = format!(
        "REGISTER sip:depot SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{index}\r\nFrom: <sip:phone{index}@depot>;tag=1\r\nTo: <sip:phone{index}@depot>\r\nCall-ID: {index}\r\nCSeq: 1 REGISTER\r\nContact: <sip:phone{index}@10.0.0.1:5060>\r\nExpires: 3600\r\n\r\n"
    );
    Ok(Message::parse(text.as_bytes())?)
}

fn address(text: &str) -> Result<SocketAddr> {
    Ok(text.parse()?)
}

fn per_one(before: f64) -> Result<f64> {
    Ok((resident()? - before) / COUNT as f64)
}

/// kB.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
