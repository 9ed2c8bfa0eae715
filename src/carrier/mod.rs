//! The practice trunk: a simulated carrier on this machine, with customers who answer, speak, press digits, are busy or
//! never pick up. It speaks real SIP and RTP over real sockets, asks for the trunk's password, and lets an admin or a test
//! make calls without a telephone network.
//!
//! | file | what it is |
//! |---|---|
//! | [`customers`] | who lives behind the trunk: `customers.toml`, or a file of one's own |
//! | `script` | what a customer does after picking up, as a machine without I/O |
//! | `customer` | one call at a customer's end: SIP session, media leg, script |

mod customer;
pub mod customers;
mod script;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::engine::media::MediaPool;
use crate::engine::signalling::{self, Inbound, Signalling, Unclaimed};
use crate::pii::{Redacted, Secret};
use crate::sip::auth::{Algorithm, Challenger, Verdict};
use crate::sip::endpoint::{Accept, EndpointConfig};
use crate::sip::Hop;
use crate::sip::message::{Header, HeaderName, Message, Method, Uri};
use crate::sip::session::{IncomingCall, Session};
use crate::sip::transaction::Timing;
use customer::Answering;
use customers::Customer;

/// The realm of the carrier's challenges.
const REALM: &str = "practice.callahead";

/// How long a nonce may be used.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// The longest registration that is granted, in seconds.
const MAX_EXPIRES: u32 = 3600;

/// The most calls at once.
const MAX_CALLS: usize = 4096;

/// What the carrier is told.
pub struct CarrierConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The one account that may call and register.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Who can be called, by number in E.164.
    pub customers: HashMap<String, Arc<Customer>>,
}

/// A running carrier.
pub struct Carrier {
    signalling: Arc<Signalling>,
    media: Arc<MediaPool>,
    username: String,
    password: Secret,
    /// REGISTER is challenged with 401, INVITE with 407, as carriers do.
    registrar: Mutex<Challenger>,
    proxy: Mutex<Challenger>,
    customers: HashMap<String, Arc<Customer>>,
}

impl Carrier {
    /// Binds the socket.
    ///
    /// # Errors
    /// The address is in use or not this machine's.
    pub async fn bind(config: CarrierConfig, media: Arc<MediaPool>) -> io::Result<Self> {
        let endpoint = EndpointConfig {
            user_agent: concat!("Callahead practice trunk/", env!("CARGO_PKG_VERSION")).to_owned(),
            accept: Accept::All,
            incoming: true,
            registrar: true,
            max_sessions: MAX_CALLS,
        };
        let signalling = Signalling::bind(config.listen, endpoint, rand::random()).await?;
        let challenger = |proxy| {
            Mutex::new(Challenger::new(REALM, &[Algorithm::SHA_256, Algorithm::MD5], NONCE_LIFETIME, proxy, rand::random()))
        };
        Ok(Self {
            signalling,
            media,
            username: config.username,
            password: config.password,
            registrar: challenger(false),
            proxy: challenger(true),
            customers: config.customers,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.signalling.local_addr()
    }

    /// Serves until the future is dropped.
    pub async fn run(self: Arc<Self>) {
        let (sender, mut unclaimed) = Signalling::unclaimed();
        let serve = async {
            while let Some(arrival) = unclaimed.recv().await {
                match arrival {
                    Unclaimed::Incoming(call, inbox) => {
                        tokio::spawn(self.clone().take_call(*call, inbox));
                    }
                    Unclaimed::Request(request) => self.answer_request(*request).await,
                }
            }
        };
        tokio::join!(self.signalling.run(sender), serve);
    }

    async fn take_call(self: Arc<Self>, call: IncomingCall, inbox: mpsc::Receiver<Inbound>) {
        let (id, now) = (call.seed.id, Instant::now());
        let number = called_number(&call.request);
        let verdict = self.check(&self.proxy, now, &call.request);
        let source = call.source;
        let contact = match self.contact(source) {
            Some(contact) => contact,
            None => return self.signalling.release(id),
        };
        let session = Session::incoming(now, call, contact, Timing::default());
        let customer = number.as_ref().and_then(|number| self.customers.get(number));
        let answering = match (verdict, customer) {
            (Verdict::Accepted { .. }, Some(customer)) => {
                info!(number = %Redacted::new(customer.number.clone()), "call for {}", customer.name);
                Answering::Customer(customer.clone())
            }
            (Verdict::Accepted { .. }, None) => Answering::Refuse(404, Vec::new()),
            (Verdict::Challenge(fields) | Verdict::Wrong(fields), _) => Answering::Refuse(407, fields),
        };
        customer::run(&self.signalling, &self.media, session, answering, inbox).await;
        self.signalling.release(id);
    }

    /// REGISTER, the only request outside of calls that a carrier takes.
    async fn answer_request(&self, request: Inbound) {
        let now = Instant::now();
        if request.message.method() != Some(&Method::Register) {
            return self.signalling.respond(now, &request, 405, &[]).await;
        }
        match self.check(&self.registrar, now, &request.message) {
            Verdict::Accepted { .. } => {
                let fields = granted(&request.message);
                info!("the trunk's account has registered");
                self.signalling.respond(now, &request, 200, &fields).await;
            }
            Verdict::Challenge(fields) => self.signalling.respond(now, &request, 401, &fields).await,
            Verdict::Wrong(_) => {
                warn!("a registration with wrong credentials was refused");
                self.signalling.respond(now, &request, 403, &[]).await;
            }
        }
    }

    fn check(&self, challenger: &Mutex<Challenger>, now: Instant, request: &Message) -> Verdict {
        let password = |user: &str| (user == self.username).then(|| self.password.clone());
        challenger.lock().unwrap_or_else(PoisonError::into_inner).verify(now, request, password)
    }

    fn contact(&self, peer: Hop) -> Option<Uri> {
        let local = self.signalling.address_towards(peer).ok()?;
        signalling::contact("carrier", local, peer.transport).ok()
    }
}

/// The number of the Request-URI in E.164, whether it was written with a plus sign or without.
fn called_number(request: &Message) -> Option<String> {
    let user = request.uri()?.number()?.to_owned();
    Some(format!("+{}", user.trim_start_matches('+')))
}

/// Contact and Expires of a 200 to REGISTER: what was asked for, at most [`MAX_EXPIRES`].
fn granted(request: &Message) -> Vec<Header> {
    let asked = request.header(HeaderName::Expires).and_then(|value| value.trim().parse().ok());
    let expires = asked.unwrap_or(MAX_EXPIRES).min(MAX_EXPIRES);
    let contact = request.contact().map(|uri| {
        Header::new(HeaderName::Contact, &format!("<{}>;expires={expires}", uri.as_str()))
    });
    contact.into_iter().chain([Header::new(HeaderName::Expires, &expires.to_string())]).collect()
}
