//! Answering challenges.

use rand::rngs::StdRng;

use super::Credentials;
use super::digest::{Challenge, Question};
use crate::sip::message::{HeaderName, Message};
use crate::sip::token;

/// The most realms answered in one session.
const MAX_REALMS: usize = 8;

/// The challenges met so far, so that a request carries answers to all of them: a 401 after a 407 must not lose the first.
#[derive(Debug)]
pub struct DigestClient {
    credentials: Option<Credentials>,
    realms: Vec<Realm>,
}

#[derive(Debug)]
struct Realm {
    challenge: Challenge,
    /// Where the answer goes: Authorization or Proxy-Authorization.
    field: HeaderName,
    /// How often this nonce was used.
    nc: u32,
    /// How often a stale nonce was replaced in a row.
    renewals: u8,
}

impl DigestClient {
    /// Without credentials every challenge is refused.
    pub fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials, realms: Vec::new() }
    }

    /// Takes the challenges of a 401 or 407. `true`: sending again with [`Self::authorize`] is worth it. `false`: there are no
    /// credentials, nothing that we can answer, or the answer to this very challenge was refused.
    pub fn take_challenges(&mut self, response: &Message) -> bool {
        let (asked, field) = match response.status() {
            Some(401) => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            Some(407) => (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
            _ => return false,
        };
        if self.credentials.is_none() {
            return false;
        }
        let mut seen: Vec<String> = Vec::new();
        let mut useful = false;
        for line in response.lines(asked) {
            for challenge in Challenge::parse(&line) {
                // The first that we can do is the server's favourite (RFC 8760 §2.4).
                if !seen.contains(&challenge.realm) {
                    seen.push(challenge.realm.clone());
                    useful |= self.take(challenge, &field);
                }
            }
        }
        useful
    }

    fn take(&mut self, challenge: Challenge, field: &HeaderName) -> bool {
        let known = self
            .realms
            .iter_mut()
            .find(|realm| realm.challenge.realm == challenge.realm && realm.field == *field);
        let Some(realm) = known else {
            if self.realms.len() < MAX_REALMS {
                self.realms.push(Realm { challenge, field: field.clone(), nc: 0, renewals: 0 });
                return true;
            }
            return false;
        };
        // A refused first answer means wrong credentials, unless the server says that the nonce was stale. A nonce that
        // worked before and is replaced has aged, whether the server says so or not.
        let aged = challenge.stale || (realm.nc > 1 && realm.challenge.nonce != challenge.nonce);
        if !aged || realm.renewals >= 3 {
            return false;
        }
        *realm = Realm { challenge, field: field.clone(), nc: 0, renewals: realm.renewals + 1 };
        true
    }

    /// The credentials were taken: the next challenge starts counting anew.
    pub fn accepted(&mut self) {
        self.realms.iter_mut().for_each(|realm| realm.renewals = 0);
    }

    /// Puts an answer for every realm known into `request`, replacing older ones.
    pub fn authorize(&mut self, request: &mut Message, rng: &mut StdRng) {
        request.remove(&HeaderName::Authorization);
        request.remove(&HeaderName::ProxyAuthorization);
        let Some(credentials) = &self.credentials else { return };
        for realm in &mut self.realms {
            realm.nc = realm.nc.saturating_add(1);
            let value = answer(realm, credentials, request, &token(rng));
            request.push(realm.field.clone(), &value);
        }
    }
}

fn answer(realm: &Realm, credentials: &Credentials, request: &Message, cnonce: &str) -> String {
    let challenge = &realm.challenge;
    let uri = request.uri().map(|uri| uri.as_str()).unwrap_or_default();
    let question = Question {
        algorithm: challenge.algorithm,
        username: &credentials.username,
        realm: &challenge.realm,
        password: credentials.password.reveal(),
        nonce: &challenge.nonce,
        cnonce,
        nc: realm.nc,
        qop: challenge.qop,
        method: request.method().map(|method| method.as_str()).unwrap_or_default(),
        uri,
        body: request.body(),
    };
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{}\"",
        credentials.username,
        challenge.realm,
        challenge.nonce,
        question.response()
    );
    if let Some(algorithm) = &challenge.algorithm_token {
        value.push_str(&format!(", algorithm={algorithm}"));
    }
    if let Some(qop) = challenge.qop {
        value.push_str(&format!(", qop={}, nc={:08x}, cnonce=\"{cnonce}\"", qop.as_str(), realm.nc));
    } else if challenge.algorithm.as_str().ends_with("-sess") {
        value.push_str(&format!(", cnonce=\"{cnonce}\""));
    }
    if let Some(opaque) = &challenge.opaque {
        value.push_str(&format!(", opaque=\"{opaque}\""));
    }
    value
}
