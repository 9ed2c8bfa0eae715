//! One [`Call`] against a customer's phone: a [`Session`] at the far end of a seeded bad link, and a media leg that is a
//! list of things to be heard. Time jumps to the next thing that is due.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callahead::call::{Call, Conclusion, Limits, MediaCommand, Offered, Output, Progress, PromptAudio, Talk};
use callahead::dialplan::{Interpreter, Plan, Prompt};
use callahead::media::StreamEvent;
use callahead::pii::Secret;
use callahead::sdp::{self, Codec, Direction, MediaPolicy, SessionOrigin};
use callahead::sip::auth::{Algorithm, Challenger, Credentials, Verdict};
use callahead::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use callahead::sip::message::{Address, Header, HeaderName, Uri};
use callahead::sip::session::{IncomingCall, OutgoingInvite, Session, SessionEvent, SessionOutput};
use callahead::sip::transaction::Timing;
use callahead::sip::{Hop, SessionId, Transmit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What happens at some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    // At the phone.
    Ring,
    PickUp,
    PickUpWithout(&'static str),
    Reject(u16, Option<&'static str>),
    HangUp,
    /// A re-INVITE with this direction, such as `sendonly`.
    Reoffer(&'static str),
    /// A re-INVITE that asks for an offer.
    AskForOffer,
    // On the line.
    Packet,
    Press(char),
    Speak,
    FallSilent,
    LineDead,
    // At ours.
    WeHangUp,
    Hold,
    Resume,
}

/// What everybody does, and when: milliseconds since the INVITE arrived, since the answer, since listening began.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub on_start: Vec<(u64, Act)>,
    pub on_incoming: Vec<(u64, Act)>,
    pub on_answer: Vec<(u64, Act)>,
    pub on_listen: Vec<(u64, Act)>,
    /// The password that the trunk asks for, and the one that we have.
    pub passwords: Option<(&'static str, &'static str)>,
    pub deaf: bool,
    /// What the phone says to our re-INVITEs; otherwise it takes them.
    pub refuses: Option<u16>,
    /// How long it may last and ring.
    pub limits: Option<(u64, u64)>,
    /// What cannot be rendered when asked for in the call.
    pub mute: bool,
}

/// How bad the link is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub loss: f64,
    pub duplication: f64,
    pub delay: (u64, u64),
}

pub const CLEAR: Weather = Weather { loss: 0.0, duplication: 0.0, delay: (10, 10) };

/// How long every prompt lasts.
pub const PROMPT: u64 = 2000;

const OURS: &str = "192.0.2.1:5060";
const THEIRS: &str = "192.0.2.2:5070";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Due {
    Act(Act),
    PlayDone(u64),
}

pub struct Stage {
    pub now: Instant,
    pub start: Instant,
    pub lost: usize,
    pub steps: Vec<Progress>,
    pub commands: Vec<MediaCommand>,
    pub conclusions: Vec<(Instant, Conclusion)>,
    pub finished: usize,
    pub rendered: Vec<Prompt>,
    pub answered_at: Option<Instant>,
    /// The answers to the phone's re-INVITEs.
    pub reanswers: Vec<String>,
    /// How the phone's sessions ended.
    pub phone: Vec<SessionEvent>,
    script: Script,
    weather: Weather,
    rng: StdRng,
    flying: Vec<(Instant, SocketAddr, Transmit)>,
    agenda: Vec<(Instant, Due)>,
    endpoint: Endpoint,
    call: Option<Call>,
    call_id: SessionId,
    far: Endpoint,
    sessions: HashMap<SessionId, Session>,
    challenger: Option<Challenger>,
    /// Our offers as the phone saw them, re-INVITEs only.
    pub reoffers: Vec<String>,
    queue_ends: Instant,
    listening: bool,
}

fn policy() -> MediaPolicy {
    MediaPolicy { codecs: vec![Codec::Pcmu, Codec::Pcma], telephone_event: true, ptime_ms: 20 }
}

fn endpoint(incoming: bool, seed: u64) -> Endpoint {
    let config = EndpointConfig {
        user_agent: "stage/1".into(),
        accept: Accept::All,
        incoming,
        registrar: false,
        max_sessions: 100,
    };
    Endpoint::new(config, seed)
}

/// A plan out of the shipped folder.
pub fn shipped(name: &str) -> Arc<Plan> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dialplans/{name}.toml"));
    plan(name, &std::fs::read_to_string(path).unwrap())
}

pub fn plan(name: &str, text: &str) -> Arc<Plan> {
    let none = |_: &str| -> Result<PathBuf, String> { Err("no such file".into()) };
    Arc::new(Plan::parse(name, name, text, &none).unwrap())
}

pub fn vars() -> BTreeMap<String, String> {
    [("name", "Ada"), ("eta", "14:30"), ("depot", "Riverside")].map(|(a, b)| (a.into(), b.into())).into()
}

fn talk(plan: &Arc<Plan>) -> Talk {
    let samples: Arc<[i16]> = vec![0; PROMPT as usize * 8].into();
    let prompts: PromptAudio =
        plan.prompts(vars(), "en").unwrap().into_iter().map(|prompt| (prompt, samples.clone())).collect();
    Talk::new(Interpreter::new(plan.clone(), vars(), "en").unwrap(), prompts)
}

impl Stage {
    pub fn new(seed: u64, weather: Weather, plan: &Arc<Plan>, script: Script) -> Self {
        let now = Instant::now();
        let mut endpoint = self::endpoint(false, seed);
        let (ours, theirs): (SocketAddr, SocketAddr) = (OURS.parse().unwrap(), THEIRS.parse().unwrap());
        let uri = |user: &str, host: SocketAddr| Uri::parse(&format!("sip:{user}@{host}")).unwrap();
        let offered = Offered {
            media: policy(),
            origin: SessionOrigin { id: 7, version: 1 },
            local_rtp: "192.0.2.1:20000".parse().unwrap(),
        };
        let session_seed = endpoint.connect();
        let call_id = session_seed.id;
        let invite = OutgoingInvite {
            target: uri("+12025550101", theirs),
            from: Address::new(uri("depot", ours)),
            to: Address::new(uri("+12025550101", theirs)),
            contact: uri("depot", ours),
            hops: vec![Hop::udp(theirs)],
            local: ours,
            credentials: script
                .passwords
                .map(|(_, have)| Credentials { username: "depot".into(), password: Secret::new(have) }),
            sdp_offer: sdp::offer(&offered.media, offered.origin, offered.local_rtp, Direction::SendRecv),
            extra_headers: Vec::new(),
            timing: Timing::default(),
        };
        let session = Session::invite(now, session_seed, invite);
        let (duration, ring) = script.limits.unwrap_or((300_000, 30_000));
        let limits = Limits { ring: Duration::from_millis(ring), duration: Duration::from_millis(duration) };
        let call = Call::new(now, session, talk(plan), offered, limits);
        let hour = Duration::from_secs(3600);
        let challenger =
            script.passwords.map(|_| Challenger::new("stage", &[Algorithm::SHA_256], hour, false, seed));
        let mut stage = Self {
            now,
            start: now,
            lost: 0,
            steps: Vec::new(),
            commands: Vec::new(),
            conclusions: Vec::new(),
            finished: 0,
            rendered: Vec::new(),
            answered_at: None,
            reanswers: Vec::new(),
            phone: Vec::new(),
            script,
            weather,
            rng: StdRng::seed_from_u64(seed),
            flying: Vec::new(),
            agenda: Vec::new(),
            endpoint,
            call: Some(call),
            call_id,
            far: self::endpoint(true, seed + 1_000_000),
            sessions: HashMap::new(),
            challenger,
            reoffers: Vec::new(),
            queue_ends: now,
            listening: false,
        };
        let acts = stage.script.on_start.clone();
        stage.plan(&acts);
        stage.drain_call();
        stage
    }

    /// Runs until nothing is left to happen. Panics when that does not end.
    pub fn run(mut self) -> Self {
        for _ in 0..20_000 {
            let timers = self.sessions.values().filter_map(Session::poll_timeout);
            let own = self.call.as_ref().and_then(Call::poll_timeout);
            let flights = self.flying.iter().map(|(at, ..)| *at);
            let plans = self.agenda.iter().map(|(at, _)| *at);
            let Some(next) = timers.chain(own).chain(flights).chain(plans).min() else {
                assert!(self.call.is_none() && self.sessions.is_empty(), "something was left standing");
                return self;
            };
            assert!(next < self.start + Duration::from_secs(900), "the call goes on for ever");
            self.now = self.now.max(next);
            self.step();
        }
        panic!("something never settles");
    }

    /// The one conclusion; panics unless it came exactly once, and one `Finished` after it.
    pub fn conclusion(&self) -> &Conclusion {
        assert_eq!((self.conclusions.len(), self.finished), (1, 1), "{:?}", self.conclusions);
        &self.conclusions[0].1
    }

    /// When it was concluded, in milliseconds since the answer.
    pub fn concluded_ms(&self) -> u128 {
        (self.conclusions[0].0 - self.answered_at.unwrap()).as_millis()
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(at) = self.flying.iter().position(|(at, ..)| *at <= now) {
            let (_, source, transmit) = self.flying.remove(at);
            self.arrive(source, &transmit);
        }
        while let Some(at) = self.agenda.iter().position(|(at, _)| *at <= now) {
            let (_, due) = self.agenda.remove(at);
            self.happen(due);
        }
        if let Some(call) = self.call.as_mut()
            && call.poll_timeout().is_some_and(|at| at <= now)
        {
            call.handle_timeout(now);
            self.drain_call();
        }
        let due = |session: &Session| session.poll_timeout().is_some_and(|at| at <= now);
        let ids: Vec<_> = self.sessions.iter().filter(|(_, one)| due(one)).map(|(id, _)| *id).collect();
        for id in ids {
            self.sessions.get_mut(&id).unwrap().handle_timeout(now);
            self.drain_phone(id);
        }
    }

    fn plan(&mut self, acts: &[(u64, Act)]) {
        let at = |after: u64| self.now + Duration::from_millis(after);
        let due: Vec<_> = acts.iter().map(|(after, act)| (at(*after), Due::Act(*act))).collect();
        self.agenda.extend(due);
    }

    fn arrive(&mut self, source: SocketAddr, transmit: &Transmit) {
        let now = self.now;
        let (source, local) = (Hop::udp(source), transmit.destination.address);
        if local == OURS.parse().unwrap() {
            let got = self.endpoint.handle_message(now, source, local, &transmit.bytes);
            match (got, self.call.as_mut()) {
                (Received::Session(_, message), Some(call)) => {
                    call.handle_message(now, source, *message);
                    self.drain_call();
                }
                (Received::Reply(reply), _) => self.fly(local, reply),
                _ => {}
            }
            return;
        }
        if self.script.deaf {
            return;
        }
        match self.far.handle_message(now, source, local, &transmit.bytes) {
            Received::Session(id, message) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handle_message(now, source, *message);
                    self.drain_phone(id);
                }
            }
            Received::Incoming(call) => self.incoming(*call),
            Received::Reply(reply) => self.fly(local, reply),
            _ => {}
        }
    }

    fn incoming(&mut self, call: IncomingCall) {
        let (now, id) = (self.now, call.seed.id);
        let expected = self.script.passwords.map(|(expected, _)| Secret::new(expected));
        let verdict =
            self.challenger.as_mut().map(|one| one.verify(now, &call.request, |_| expected.clone()));
        let contact = Uri::parse(&format!("sip:bob@{THEIRS}")).unwrap();
        let mut session = Session::incoming(now, call, contact, Timing::default());
        match verdict {
            Some(Verdict::Challenge(fields) | Verdict::Wrong(fields)) => session.reject(now, 401, &fields),
            _ => {
                let acts = self.script.on_incoming.clone();
                self.plan(&acts);
            }
        }
        self.sessions.insert(id, session);
        self.drain_phone(id);
    }

    fn happen(&mut self, due: Due) {
        let now = self.now;
        let event = match due {
            Due::PlayDone(id) => StreamEvent::PlayDone { id },
            Due::Act(Act::Packet) => StreamEvent::FirstPacket { source: "192.0.2.2:30000".parse().unwrap() },
            Due::Act(Act::Press(key)) => StreamEvent::Digit(key),
            Due::Act(Act::Speak) if self.listening => StreamEvent::SpeechStarted { at: now },
            Due::Act(Act::FallSilent) if self.listening => StreamEvent::SpeechEnded { at: now },
            Due::Act(Act::Speak | Act::FallSilent) => return,
            Due::Act(Act::LineDead) => {
                StreamEvent::RtpTimeout { silent: Duration::from_secs(20), heard_before: false }
            }
            Due::Act(Act::WeHangUp) => {
                if let Some(call) = self.call.as_mut() {
                    call.hang_up(now);
                }
                return self.drain_call();
            }
            Due::Act(act @ (Act::Hold | Act::Resume)) => {
                match self.call.as_mut() {
                    Some(call) if act == Act::Hold => call.hold(now),
                    Some(call) => call.resume(now),
                    None => {}
                }
                return self.drain_call();
            }
            Due::Act(act) => return self.at_the_phone(act),
        };
        // The shell closes the leg when the call is concluded.
        if let Some(call) = self.call.as_mut().filter(|_| self.conclusions.is_empty()) {
            call.handle_media(now, event);
            self.drain_call();
        }
    }

    fn at_the_phone(&mut self, act: Act) {
        let now = self.now;
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let session = self.sessions.get_mut(&id).unwrap();
            match act {
                Act::Ring => session.ring(now, 180, None),
                Act::PickUp => {
                    let Some(offer) = session.remote_offer().map(<[u8]>::to_vec) else { continue };
                    let origin = SessionOrigin { id: 9, version: 1 };
                    let rtp = "192.0.2.2:30000".parse().unwrap();
                    let answer = sdp::answer(&offer, &policy(), origin, rtp, Direction::SendRecv).unwrap();
                    session.accept(now, &answer.0);
                }
                Act::PickUpWithout(sdp) => session.accept(now, sdp.as_bytes()),
                Act::Reject(status, reason) => {
                    let name = HeaderName::from_token("Reason");
                    let fields: Vec<_> = reason.map(|text| Header::new(name, text)).into_iter().collect();
                    session.reject(now, status, &fields);
                }
                Act::HangUp => session.hang_up(now, None),
                Act::Reoffer(direction) => {
                    let sdp = format!(
                        "v=0\r\no=- 9 2 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 30002 RTP/AVP 0\r\na={direction}\r\n"
                    );
                    session.reinvite(now, Some(sdp.as_bytes())).unwrap();
                }
                Act::AskForOffer => session.reinvite(now, None).unwrap(),
                _ => unreachable!("{act:?} is not the phone's"),
            }
            self.drain_phone(id);
        }
    }

    fn drain_phone(&mut self, id: SessionId) {
        while let Some(output) = self.sessions.get_mut(&id).and_then(Session::poll_output) {
            match output {
                SessionOutput::Transmit(transmit) => self.fly(THEIRS.parse().unwrap(), transmit),
                SessionOutput::Event(SessionEvent::Finished) => {
                    self.sessions.remove(&id);
                    self.far.remove(id);
                }
                SessionOutput::Event(event) => self.at_the_phones_session(id, event),
            }
        }
    }

    fn at_the_phones_session(&mut self, id: SessionId, event: SessionEvent) {
        let (now, origin) = (self.now, SessionOrigin { id: 9, version: 2 });
        let offer = match &event {
            SessionEvent::Offer { sdp: Some(offer) } => offer.clone(),
            SessionEvent::OfferAnswered { sdp: Some(answer) } => {
                self.reanswers.push(String::from_utf8(answer.clone()).unwrap());
                return self.phone.push(event);
            }
            _ => return self.phone.push(event),
        };
        self.reoffers.push(String::from_utf8(offer.clone()).unwrap());
        if let Some(session) = self.sessions.get_mut(&id) {
            let rtp = "192.0.2.2:30000".parse().unwrap();
            match self.script.refuses {
                Some(status) => session.reject_offer(now, status),
                None => {
                    let answer = sdp::answer(&offer, &policy(), origin, rtp, Direction::SendRecv).unwrap();
                    session.answer_offer(now, &answer.0);
                }
            }
        }
        self.phone.push(event);
    }

    fn drain_call(&mut self) {
        while let Some(output) = self.call.as_mut().and_then(Call::poll_output) {
            match output {
                Output::Transmit(transmit) => self.fly(OURS.parse().unwrap(), transmit),
                Output::Media(command) => self.media(command),
                Output::Render(prompt) => self.render(prompt),
                Output::Progress(progress) => {
                    self.steps.push(progress);
                    if progress == Progress::Answered {
                        self.answered_at = Some(self.now);
                        let acts = self.script.on_answer.clone();
                        self.plan(&acts);
                    }
                }
                Output::Concluded(conclusion) => self.conclusions.push((self.now, *conclusion)),
                Output::Finished => {
                    assert_eq!(self.conclusions.len(), 1, "finished before it was concluded");
                    self.finished += 1;
                    self.endpoint.remove(self.call_id);
                    self.call = None;
                }
            }
        }
    }

    fn render(&mut self, prompt: Prompt) {
        self.rendered.push(prompt.clone());
        let samples: Arc<[i16]> = vec![0; PROMPT as usize * 8].into();
        let samples = (!self.script.mute).then_some(samples);
        if let Some(call) = self.call.as_mut() {
            call.handle_rendered(self.now, prompt, samples);
        }
    }

    fn media(&mut self, command: MediaCommand) {
        match &command {
            MediaCommand::Play { id, samples } => {
                let length = Duration::from_millis(samples.len() as u64 / 8);
                self.queue_ends = self.queue_ends.max(self.now) + length;
                self.agenda.push((self.queue_ends, Due::PlayDone(*id)));
            }
            MediaCommand::StopPlay => {
                self.queue_ends = self.now;
                self.agenda.retain(|(_, due)| !matches!(due, Due::PlayDone(_)));
            }
            MediaCommand::Listen(on) => {
                self.listening = *on;
                if *on {
                    let acts = self.script.on_listen.clone();
                    self.plan(&acts);
                }
            }
            MediaCommand::Connect(_) => {}
        }
        self.commands.push(command);
    }

    fn fly(&mut self, source: SocketAddr, transmit: Transmit) {
        for _ in 0..1 + usize::from(self.rng.random_bool(self.weather.duplication)) {
            if self.rng.random_bool(self.weather.loss) {
                self.lost += 1;
                continue;
            }
            let delay = self.rng.random_range(self.weather.delay.0..=self.weather.delay.1);
            self.flying.push((self.now + Duration::from_millis(delay), source, transmit.clone()));
        }
    }
}
