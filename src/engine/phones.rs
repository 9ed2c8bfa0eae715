//! The telephones of the house: who registers, and who of them calls.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::{debug, info};

use super::Engine;
use super::onnet::Device;
use super::signalling::Inbound;
use crate::config::Config;
use crate::sip::Hop;
use crate::sip::endpoint::House;
use crate::sip::message::{Message, Method};
use crate::sip::registrar::{Account, Answer, Registrar};

/// The realm of our challenges.
const REALM: &str = "callahead";

/// The registrar of the house.
pub(super) struct Phones {
    registrar: Mutex<Registrar>,
}

impl Phones {
    pub fn new(config: &Config) -> Self {
        let mut registrar = Registrar::new(REALM, rand::random());
        registrar.set_accounts(accounts(config));
        Self { registrar: Mutex::new(registrar) }
    }

    /// Takes over who may register, forgets what has expired, and tells the socket whom to hear.
    pub fn refresh(&self, engine: &Engine) {
        let (config, now) = (engine.config(), Instant::now());
        let mut registrar = self.lock();
        registrar.set_accounts(accounts(&config));
        registrar.sweep(now);
        let house = House { names: config.phones.keys().cloned().collect(), addresses: registrar.addresses(now) };
        drop(registrar);
        engine.signalling.set_house(house);
    }

    /// Answers a request outside of calls. `trusted`: it came from a trunk.
    pub async fn answer(&self, engine: &Engine, request: &Inbound, trusted: bool) {
        let now = Instant::now();
        if request.message.method() != Some(&Method::Register) {
            return engine.signalling.respond(now, request, 405, &[]).await;
        }
        let answer = self.lock().handle(now, request.source, trusted, &request.message);
        match answer {
            Answer::Respond(status, headers) => {
                if status == 200 {
                    info!(from = %request.source, "a telephone has registered");
                    self.refresh(engine);
                }
                engine.signalling.respond(now, request, status, &headers).await;
            }
            Answer::Silence => debug!(from = %request.source, "a REGISTER is not answered: too many wrong passwords"),
        }
    }

    /// The telephone that calls from `source`.
    ///
    /// # Errors
    /// What its INVITE gets instead.
    pub fn caller(&self, source: Hop, invite: &Message) -> Result<String, Answer> {
        self.lock().caller(Instant::now(), source, invite)
    }

    /// The device of the telephone `name` that was heard of last.
    pub fn device(&self, name: &str, now: Instant) -> Option<Device> {
        let registrar = self.lock();
        let binding = *registrar.bindings(now, name).first()?;
        let path = binding.path.iter().map(|proxy| proxy.to_string()).collect();
        Some(Device::new(binding.contact.clone(), binding.hop, path))
    }

    fn lock(&self) -> MutexGuard<'_, Registrar> {
        self.registrar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accounts(config: &Config) -> HashMap<String, Account> {
    let account = |phone: &crate::config::Phone| Account {
        password: phone.password.clone(),
        max_contacts: usize::try_from(phone.max_contacts).unwrap_or(1),
        md5_only: phone.md5_only,
    };
    config.phones.values().map(|phone| (phone.name.clone(), account(phone))).collect()
}
