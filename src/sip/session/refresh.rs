//! Session timers (RFC 4028): a call whose other side vanished is noticed even when nobody speaks.

use std::time::{Duration, Instant};

use super::{Phase, Session, Side};
use crate::sip::message::{Header, HeaderName, Message, Method, delta_seconds, lex};

/// What we ask for, in seconds (RFC 4028 §4 recommends 1800).
const INTERVAL: u32 = 1800;
/// The least that anybody may ask for, in seconds (RFC 4028 §5).
const LEAST: u32 = 90;
/// The longest interval that a 422 may make us ask for, in seconds.
const LONGEST: u32 = 86_400;
/// How long a refresh waits when an offer is under way.
const BUSY: Duration = Duration::from_secs(2);
/// The Reason of our BYE.
const EXPIRED: &str = "SIP;cause=408;text=\"Session timer expired\"";

/// The timer of one call.
#[derive(Debug)]
pub(super) struct Refresh {
    /// What our requests ask for, in seconds; 422 raises it.
    interval: u32,
    /// Min-SE of our requests, in seconds.
    least: u32,
    running: Option<Running>,
}

impl Default for Refresh {
    fn default() -> Self {
        Self { interval: INTERVAL, least: LEAST, running: None }
    }
}

#[derive(Debug)]
struct Running {
    interval: u32,
    /// We refresh.
    ours: bool,
    /// When; `None`: the other side does, or a refresh is under way.
    refresh_at: Option<Instant>,
    /// When the call is hung up, a little before the session expires (RFC 4028 §10).
    end_at: Instant,
}

impl Running {
    fn new(now: Instant, interval: u32, ours: bool) -> Self {
        let whole = Duration::from_secs(u64::from(interval));
        let margin = (whole / 3).min(Duration::from_secs(32));
        Self { interval, ours, refresh_at: ours.then(|| now + whole / 2), end_at: now + (whole - margin) }
    }
}

/// Session-Expires: seconds, and who refreshes: `Some(true)` for `uac`.
fn session_expires(message: &Message) -> Option<(u32, Option<bool>)> {
    let value = message.header(HeaderName::SessionExpires)?;
    let (seconds, params) = value.split_at(value.find(';').unwrap_or(value.len()));
    let refresher = lex::Params::new(params).get("refresher").flatten().map(str::trim);
    let uac = refresher.and_then(|who| match who {
        who if who.eq_ignore_ascii_case("uac") => Some(true),
        who if who.eq_ignore_ascii_case("uas") => Some(false),
        _ => None,
    });
    Some((delta_seconds(seconds)?, uac))
}

fn knows_timers(message: &Message) -> bool {
    message.list(HeaderName::Supported).iter().any(|name| name.eq_ignore_ascii_case("timer"))
}

/// Min-SE for the 422 that a request deserves whose interval is below ours (RFC 4028 §9).
pub(crate) fn too_brief(request: &Message) -> Option<Header> {
    let (seconds, _) = session_expires(request)?;
    (seconds < LEAST && knows_timers(request)).then(|| Header::new(HeaderName::MinSe, &LEAST.to_string()))
}

impl Session {
    /// Session-Expires and Min-SE for an INVITE, re-INVITE or UPDATE of ours. The refresher stays who it is.
    pub(super) fn push_refresh(&self, request: &mut Message) {
        let ours = self.refresh.running.as_ref().is_none_or(|running| running.ours);
        let interval =
            self.refresh.running.as_ref().map_or(self.refresh.interval, |running| running.interval);
        let interval = interval.max(self.refresh.least);
        let value = format!("{interval};refresher={}", if ours { "uac" } else { "uas" });
        request.set(HeaderName::SessionExpires, &value);
        request.set(HeaderName::MinSe, &self.refresh.least.to_string());
    }

    /// Takes the Min-SE of a 422; `true`: asking again with more is worth it (RFC 4028 §7.3).
    pub(super) fn take_longer_interval(&mut self, response: &Message) -> bool {
        let least = response.header(HeaderName::MinSe);
        let least = least.and_then(|value| delta_seconds(value.split(';').next().unwrap_or_default()));
        let asked = self.refresh.interval.max(self.refresh.least);
        let Some(least) = least.filter(|least| (asked + 1..=LONGEST).contains(least)) else { return false };
        (self.refresh.interval, self.refresh.least) = (least, least);
        true
    }

    /// The 2xx of our INVITE, re-INVITE or UPDATE starts the timer anew, or ends it by saying nothing about it.
    pub(super) fn take_refreshed(&mut self, now: Instant, response: &Message) {
        if self.phase == Phase::Established {
            let timer = session_expires(response).filter(|(seconds, _)| *seconds > 0);
            self.refresh.running =
                timer.map(|(seconds, uac)| Running::new(now, seconds, uac.unwrap_or(true)));
        }
    }

    /// What our 2xx of their INVITE, re-INVITE or UPDATE says about the timer, and starts it (RFC 4028 §9, table 2).
    pub(super) fn honour_refresh(&mut self, now: Instant, request: &Message) -> Vec<Header> {
        if self.phase != Phase::Established {
            return Vec::new();
        }
        let knows = knows_timers(request);
        let asked = session_expires(request).filter(|(seconds, _)| *seconds > 0);
        // A running timer goes on when a request that could have asked for it says nothing.
        let kept =
            || self.refresh.running.as_ref().filter(|_| knows).map(|old| (old.interval, Some(!old.ours)));
        let Some((seconds, uac)) = asked.or_else(kept) else {
            self.refresh.running = None;
            return Vec::new();
        };
        // Who does not know timers cannot refresh.
        let uac = knows && uac.unwrap_or(true);
        self.refresh.running = Some(Running::new(now, seconds, !uac));
        let value = format!("{seconds};refresher={}", if uac { "uac" } else { "uas" });
        let mut headers = vec![Header::new(HeaderName::SessionExpires, &value)];
        if uac {
            headers.push(Header::new(HeaderName::Require, "timer"));
        }
        headers
    }

    /// Our refresh was refused: again in the middle of what is left, as long as that makes sense.
    pub(super) fn refresh_refused(&mut self, now: Instant) {
        if let Some(running) = self.refresh.running.as_mut().filter(|running| running.ours) {
            let left = running.end_at.saturating_duration_since(now);
            running.refresh_at = (left > 4 * BUSY).then(|| now + left / 2);
        }
    }

    pub(super) fn refresh_timeout(&self) -> Option<Instant> {
        let running = self.refresh.running.as_ref().filter(|_| self.phase == Phase::Established)?;
        Some(running.refresh_at.map_or(running.end_at, |at| at.min(running.end_at)))
    }

    pub(super) fn time_refresh(&mut self, now: Instant) {
        let Some(running) = self.refresh.running.as_mut().filter(|_| self.phase == Phase::Established) else {
            return;
        };
        if running.end_at <= now {
            self.refresh.running = None;
            self.end(Side::Local, Some("the other side did not refresh the session".to_owned()));
            self.release(now, Some(EXPIRED));
        } else if running.refresh_at.take_if(|at| *at <= now).is_some() {
            self.send_refresh(now);
        }
    }

    /// UPDATE where the other side allows it, else a re-INVITE with our description in force.
    fn send_refresh(&mut self, now: Instant) {
        let allowed = self.peer_allows(&Method::Update) == Some(true);
        if allowed && self.offers.update.is_none() && self.dialog.is_some() {
            self.send_update(now, None, 1);
        } else if !allowed && self.can_offer() {
            self.refresh_by_invite(now);
        } else if let Some(running) = &mut self.refresh.running {
            running.refresh_at = Some(now + BUSY);
        }
    }
}
