//! Who asks: a person with a session cookie or a system with an API key.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use jiff::Timestamp;
use uuid::Uuid;

use super::AppState;
use super::problem::{Problem, Result};
use crate::pii::Secret;
use crate::store::users::User;
use crate::store::{Role, api_keys, sessions};

/// The cookie that holds the session's token.
pub(super) const COOKIE_NAME: &str = "callahead_session";

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum Principal {
    /// A person, signed in.
    Person(User),
    /// A system with an API key.
    System {
        /// What it may do.
        role: Role,
    },
}

impl Principal {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Person(user) => user.role,
            Self::System { role } => *role,
        }
    }

    /// The person's identifier, for listened marks.
    pub(super) fn user_id(&self) -> Option<Uuid> {
        match self {
            Self::Person(user) => Some(user.id),
            Self::System { .. } => None,
        }
    }

    /// The agent whose deliveries alone may be seen; `None`: all may be.
    pub(super) fn only_agent(&self) -> Option<&str> {
        match self {
            Self::Person(user) if user.role == Role::Agent => Some(&user.username),
            _ => None,
        }
    }

    /// Fails when the role is below `role`.
    pub(super) fn require(&self, role: Role) -> Result<()> {
        if self.role() >= role {
            return Ok(());
        }
        Err(Problem::forbidden(&format!("this needs the role {role}; yours is {}", self.role())))
    }

    /// Fails, as if the row were not there, when it belongs to another agent's delivery.
    pub(super) fn may_see(&self, agent: Option<&str>, what: &str) -> Result<()> {
        match self.only_agent() {
            Some(own) if agent != Some(own) => Err(Problem::not_found(what)),
            _ => Ok(()),
        }
    }
}

impl FromRequestParts<AppState> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        if let Some(key) = bearer(parts) {
            let key = api_keys::find(&state.store, &key).await?.ok_or_else(Problem::unauthenticated)?;
            return Ok(Self::System { role: key.role });
        }
        let token = session_token(&parts.headers).ok_or_else(Problem::unauthenticated)?;
        let user = sessions::find(&state.store, Timestamp::now(), &token).await?;
        user.map(Self::Person).ok_or_else(Problem::unauthenticated)
    }
}

fn bearer(parts: &Parts) -> Option<Secret> {
    let value = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(key.trim()))
}

/// The session's token in the request's cookies.
pub(super) fn session_token(headers: &HeaderMap) -> Option<Secret> {
    headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).find_map(|cookies| {
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, token)| Secret::new(token))
    })
}
