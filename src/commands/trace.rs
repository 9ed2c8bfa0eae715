//! `callahead trace CALL`: the SIP messages of a call as a ladder, as they were, or as a capture.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::user::open_store;
use super::{Places, runtime};
use crate::store::attempts::{self, Attempt};
use crate::store::sip_messages::{self, Named};
use crate::store::{AttemptState, EndCause, Store};
use crate::trace::ladder::Ladder;
use crate::trace::text::{self, Colour};
use crate::trace::{Traced, capture, explain};

/// Arguments of `trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "Messages are kept for `keep_trace` of [sip] in callahead.toml; passwords' digests and media keys are masked in them."
)]
pub struct Trace {
    /// The call: its identifier, an attempt's, or a SIP Call-ID; a beginning that only one has is enough.
    #[arg(required_unless_present = "trunk")]
    call: Option<String>,

    /// Only this attempt of the call, counted from 1.
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,

    /// Instead of a call: what was last said with this trunk outside of calls, such as its registration.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["call", "attempt"])]
    trunk: Option<String>,

    /// Write out phone numbers and names.
    #[arg(long)]
    numbers: bool,

    /// Print the messages as they were on the wire.
    #[arg(long)]
    raw: bool,

    /// Write a capture for Wireshark; numbers are written out in it. UDP messages are the datagrams that they were; TCP messages
    /// are one segment each, without handshake; TLS and WebSocket messages are written decrypted, as TCP at the peer's port 5060.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// One ladder to show.
struct Part {
    title: String,
    peer: String,
    dropped: u32,
    messages: Vec<Traced>,
    end: Vec<String>,
}

impl Trace {
    /// Prints it.
    ///
    /// # Errors
    /// No call or several have this name, nothing was kept of it, or the file cannot be written.
    pub fn run(self, places: &Places) -> Result<()> {
        let parts = runtime()?.block_on(async {
            let store = open_store(places).await?;
            match (&self.trunk, &self.call) {
                (Some(trunk), _) => of_trunk(&store, trunk).await,
                (None, Some(call)) => of_call(&store, call, self.attempt).await,
                (None, None) => bail!("name a call or a --trunk"),
            }
        })?;
        if let Some(path) = &self.pcap {
            let messages: Vec<Traced> = parts.iter().flat_map(|part| part.messages.iter().cloned()).collect();
            let bytes = capture::file(&messages)?;
            std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            println!("{} messages written to {}", messages.len(), path.display());
            return Ok(());
        }
        let colour = if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            Colour::On
        } else {
            Colour::Off
        };
        let texts: Vec<String> = parts.iter().map(|part| self.show(part, colour)).collect();
        print!("{}", texts.join("\n"));
        Ok(())
    }

    fn show(&self, part: &Part, colour: Colour) -> String {
        let body = if self.raw {
            text::raw(&part.messages, self.numbers, colour)
        } else {
            text::ladder(&Ladder::of(&part.messages, self.numbers), &part.peer, part.dropped, colour)
        };
        let end: String = part.end.iter().map(|line| format!("{line}\n")).collect();
        format!("{}\n{body}\n{end}", part.title)
    }
}

async fn of_trunk(store: &Store, trunk: &str) -> Result<Vec<Part>> {
    let found = sip_messages::get(store, &sip_messages::trunk_id(trunk)).await?;
    let Some(trace) = found else { bail!("nothing was said with a trunk `{trunk}` outside of calls") };
    let title = format!("what was last said with {trunk} outside of calls, {}", began(&trace.messages));
    let peer = format!("trunk {trunk}");
    Ok(vec![Part { title, peer, dropped: 0, messages: trace.messages, end: Vec::new() }])
}

async fn of_call(store: &Store, name: &str, ordinal: Option<u32>) -> Result<Vec<Part>> {
    let attempts = match named(store, name).await? {
        Named::Call(id) => attempts::of_call(store, id).await?,
        Named::Attempt(id) => vec![attempts::get(store, id).await?],
    };
    let mut parts = Vec::new();
    for attempt in attempts.iter().filter(|attempt| ordinal.is_none_or(|ordinal| attempt.ordinal == ordinal))
    {
        parts.push(part(store, attempt).await?);
    }
    if parts.is_empty() {
        match ordinal {
            Some(ordinal) => bail!("the call has no attempt {ordinal}; it has {}", attempts.len()),
            None => bail!("the call has not been tried yet"),
        }
    }
    Ok(parts)
}

/// The one call or attempt that is called so.
async fn named(store: &Store, name: &str) -> Result<Named> {
    let found = sip_messages::find(store, name).await?;
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("there is no call, attempt or SIP Call-ID that begins with `{name}`"),
        several => {
            let shown = |named: &Named| match named {
                Named::Call(id) => format!("call {id}"),
                Named::Attempt(id) => format!("attempt {id}"),
            };
            let list: Vec<String> = several.iter().map(shown).collect();
            bail!("`{name}` is the beginning of several; write more of it:\n  {}", list.join("\n  "))
        }
    }
}

async fn part(store: &Store, attempt: &Attempt) -> Result<Part> {
    let trace = sip_messages::get(store, &attempt.id.to_string()).await?;
    let (messages, dropped, sip_call_id) = match trace {
        Some(trace) => (trace.messages, trace.dropped, trace.head.sip_call_id),
        None => (Vec::new(), 0, "not kept".to_owned()),
    };
    let Attempt { call_id, ordinal, trunk, .. } = attempt;
    let title = format!(
        "call {call_id}, attempt {ordinal} over {trunk}\n{}\nSIP Call-ID {}",
        began(&messages),
        text::plain(&sip_call_id)
    );
    let end = end(attempt.state, attempt.cause, attempt.sip_status, attempt.reason.as_deref());
    Ok(Part { title, peer: format!("trunk {trunk}"), dropped, messages, end })
}

fn began(messages: &[Traced]) -> String {
    let at = messages.first().and_then(|message| jiff::Timestamp::from_microsecond(message.at_us).ok());
    at.map_or("no messages are kept".to_owned(), |at| {
        at.strftime("from %Y-%m-%d %H:%M:%S%.6f UTC on").to_string()
    })
}

/// How an attempt in `state` ended, and what that means.
fn end(
    state: AttemptState,
    cause: Option<EndCause>,
    status: Option<u16>,
    reason: Option<&str>,
) -> Vec<String> {
    let Some(cause) = cause else {
        return vec![format!("{state}: the attempt goes on; ask again for what comes")];
    };
    let reason = reason.map(|reason| format!(" ({})", text::plain(reason))).unwrap_or_default();
    vec![format!("ended: {cause}{reason}"), explain::cause(cause, status).to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_explained() {
        let lines = end(AttemptState::Ended, Some(EndCause::Busy), Some(486), Some("486 Busy\u{1b}[2J"));
        assert_eq!(lines[0], "ended: busy (486 Busy\u{fffd}[2J)");
        assert!(lines[1].starts_with("The callee is on the phone."));
        let going = end(AttemptState::Ringing, None, None, None);
        assert_eq!(going, ["ringing: the attempt goes on; ask again for what comes"]);
    }
}
