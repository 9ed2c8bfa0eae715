//! Answering challenges.

use rand::rngs::StdRng;

use super::Credentials;
use super::digest::{Challenge, Question};
use crate::sip::message::{HeaderName, Message, lex};
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
        let mut strongest: Vec<Challenge> = Vec::new();
        for line in response.lines(asked) {
            for challenge in Challenge::parse(&line) {
                // Of several for one realm the strongest is answered, and of equals the first: whoever could add or remove
                // a challenge on the way must not get an MD5 out of us (RFC 8760 §2.4 leaves the choice to the client).
                match strongest.iter_mut().find(|known| known.realm == challenge.realm) {
                    Some(known) if known.algorithm.strength() < challenge.algorithm.strength() => {
                        *known = challenge;
                    }
                    Some(_) => {}
                    None => strongest.push(challenge),
                }
            }
        }
        strongest.into_iter().filter_map(|challenge| self.take(challenge, &field).then_some(())).count() > 0
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
    let nc = format!("{:08x}", realm.nc);
    // Hashed as it stands between the quotes, like realm and nonce (RFC 7616 §3.4.2).
    let quoted = lex::quote(&credentials.username);
    let username = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let uri = request.uri().map(|uri| uri.as_str()).unwrap_or_default();
    let question = Question {
        algorithm: challenge.algorithm,
        username,
        realm: &challenge.realm,
        password: credentials.password.reveal(),
        nonce: &challenge.nonce,
        cnonce,
        nc: &nc,
        qop: challenge.qop,
        method: request.method().map(|method| method.as_str()).unwrap_or_default(),
        uri,
        body: request.body(),
    };
    let shown = match challenge.userhash {
        true => challenge.algorithm.user_hash(username, &challenge.realm),
        false => username.to_owned(),
    };
    let mut value = format!(
        "Digest username=\"{shown}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{}\"",
        challenge.realm,
        challenge.nonce,
        question.response()
    );
    if let Some(algorithm) = &challenge.algorithm_token {
        value.push_str(&format!(", algorithm={algorithm}"));
    }
    if let Some(qop) = challenge.qop {
        value.push_str(&format!(", qop={}, nc={nc}, cnonce=\"{cnonce}\"", qop.as_str()));
    } else if challenge.algorithm.as_str().ends_with("-sess") {
        value.push_str(&format!(", cnonce=\"{cnonce}\""));
    }
    if challenge.userhash {
        value.push_str(", userhash=true");
    }
    if let Some(opaque) = &challenge.opaque {
        value.push_str(&format!(", opaque=\"{opaque}\""));
    }
    value
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::pii::Secret;
    use crate::sip::Hop;
    use crate::sip::message::{Method, Uri};

    fn answers(username: &str, challenges: &[&str]) -> Vec<String> {
        let credentials = Credentials { username: username.into(), password: Secret::new("secret") };
        let mut client = DigestClient::new(Some(credentials));
        let mut refusal = Message::response(&[], 401, None, Hop::udp("192.0.2.1:5060".parse().unwrap()));
        challenges.iter().for_each(|challenge| refusal.push(HeaderName::WwwAuthenticate, challenge));
        let mut request = Message::request(Method::Register, Uri::parse("sip:example.com").unwrap());
        if client.take_challenges(&refusal) {
            client.authorize(&mut request, &mut StdRng::seed_from_u64(1));
        }
        request.lines(HeaderName::Authorization).map(|line| line.into_owned()).collect()
    }

    #[test]
    fn the_strongest_of_one_realm_is_answered_and_every_realm_is() {
        let given = answers(
            "ada",
            &[
                r#"Digest realm="a", nonce="1", algorithm=MD5, Digest realm="b", nonce="2", qop="auth-int, auth""#,
                r#"Digest realm="a", nonce="3", algorithm="SHA-512-256", qop="auth""#,
                r#"Digest realm="a", nonce="4", algorithm=SHA-256, qop="auth""#,
                r#"Digest realm="a", nonce="5", algorithm=SHA-1024"#,
                r#"Basic realm="c""#,
            ],
        );
        assert_eq!(given.len(), 2, "{given:?}");
        assert!(given[0].contains(r#"nonce="3""#) && given[0].contains("algorithm=SHA-512-256"));
        assert!(given[1].contains(r#"realm="b", nonce="2""#) && given[1].contains("qop=auth, nc=00000001"));
        assert!(!given[1].contains("algorithm="), "not named where the server names none");
    }

    #[test]
    fn names_are_quoted_or_hashed() {
        let given = answers("a\"d", &[r#"Digest realm="a", nonce="1""#]);
        assert!(given[0].starts_with(r#"Digest username="a\"d", realm="a""#), "{given:?}");
        let given = answers("ada", &[r#"Digest realm="a", nonce="1", userhash=true, algorithm=SHA-256"#]);
        let hash = Challenge::parse(r#"Digest realm="a", nonce="1", algorithm=SHA-256"#)[0]
            .algorithm
            .user_hash("ada", "a");
        assert!(given[0].contains(&hash) && given[0].contains("userhash=true") && !given[0].contains("ada"));
    }

    #[test]
    fn realms_are_bounded() {
        let challenges: Vec<String> =
            (0..100).map(|realm| format!("Digest realm=\"{realm}\", nonce=\"1\"")).collect();
        let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
        assert_eq!(answers("ada", &challenges).len(), MAX_REALMS);
    }
}
