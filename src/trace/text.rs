//! A ladder for a terminal, at most [`WIDTH`] columns wide.

use std::fmt::Write;

use super::ladder::{Ladder, Peer, Step, printable};
use super::{Direction, Traced, redact, transport_word};

/// The widest line, in columns.
pub const WIDTH: usize = 100;

/// The column of our rail; times stand before it.
const LEFT: usize = 11;

/// What fits between the rails.
const INSIDE: usize = WIDTH - LEFT - 2;

/// Colours of a terminal (ECMA-48 SGR), or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Off,
    /// For a terminal.
    On,
}

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Off => text.to_owned(),
            Self::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// Draws the ladder; `name` is what the other side is called (`trunk main`), `dropped` how many messages were not kept.
pub fn ladder(ladder: &Ladder, name: &str, dropped: u32, colour: Colour) -> String {
    let mut out = String::new();
    let several = ladder.peers.len() > 1;
    for (number, peer) in ladder.peers.iter().enumerate() {
        let tag = if several { format!("{} ", number + 1) } else { String::new() };
        let _ = writeln!(out, "{}", cut(&format!("{tag}{name} {}", describe(peer)), WIDTH));
    }
    let _ = writeln!(out, "\n{:>9}  us{:>rest$}", "ms", cut(name, 40), rest = WIDTH - LEFT - 2);
    for step in &ladder.steps {
        let tag = if several { char::from_digit(step.peer as u32 + 1, 36).unwrap_or('+') } else { '│' };
        draw(&mut out, step, tag, colour);
    }
    if dropped > 0 {
        let _ = writeln!(out, "{:>LEFT$} {dropped} more dropped: a call keeps its first messages", "");
    }
    out
}

fn describe(peer: &Peer) -> String {
    format!("{} {}, we are {}", peer.address, peer.transport, peer.local)
}

fn draw(out: &mut String, step: &Step, tag: char, colour: Colour) {
    let nth = if step.nth > 1 { format!(" ({} time)", ordinal(step.nth)) } else { String::new() };
    let label = format!(" {}{nth} ", cut(&step.what, INSIDE - 10 - nth.chars().count()));
    let dashes = INSIDE - 5 - label.chars().count();
    let painted = colour.paint(tone(step), &label);
    let line = match step.direction {
        Direction::Out => format!("────{painted}{}►", "─".repeat(dashes)),
        Direction::In => format!("◄{}{painted}────", "─".repeat(dashes)),
    };
    let _ = writeln!(out, "{:>9}  │{line}{tag}", milliseconds(step.offset_us));
    for note in step.notes.iter().cloned().chain(again(step)) {
        let note = cut(&note, INSIDE - 5);
        let pad = INSIDE - 5 - note.chars().count();
        let _ = writeln!(out, "{:>LEFT$}│     {}{:pad$}│", "", colour.paint("2", &note), "");
    }
}

/// The retransmissions that followed without anything in between.
fn again(step: &Step) -> Option<String> {
    let times = step.again_us.iter().zip(step.nth + 1..);
    let said: Vec<String> =
        times.map(|(at, nth)| format!("{} ms ({} time)", milliseconds(*at), ordinal(nth))).collect();
    (!said.is_empty()).then(|| format!("again at {}", said.join(", ")))
}

/// The SGR code of a step's colour.
fn tone(step: &Step) -> &'static str {
    match step.status {
        None => "1",
        Some(100..=299) => "32",
        Some(401 | 407) | Some(300..=399) => "33",
        Some(_) => "31",
    }
}

/// Each message as it was on the wire, under a line that says when and which way. Control characters are replaced.
pub fn raw(messages: &[Traced], numbers: bool, colour: Colour) -> String {
    let began = messages.first().map_or(0, |message| message.at_us);
    let mut out = String::new();
    for message in messages {
        let arrow = if message.direction == Direction::Out { "to" } else { "from" };
        let at = milliseconds(message.at_us.saturating_sub(began));
        let (peer, transport, size) =
            (message.remote, transport_word(message.transport), message.bytes.len());
        let head = format!("── {at} ms {arrow} {peer} {transport}, {size} bytes ──");
        let _ = writeln!(out, "{}", colour.paint("1", &head));
        let text = String::from_utf8_lossy(&message.bytes);
        let text = if numbers { text.into_owned() } else { redact::message(&text) };
        for line in text.split('\n') {
            let _ = writeln!(out, "{}", printable(line.trim_end_matches('\r')));
        }
    }
    out
}

/// One line of somebody else's text, which must not steer a terminal.
pub fn plain(text: &str) -> String {
    printable(text)
}

/// Microseconds as milliseconds with one decimal.
fn milliseconds(us: i64) -> String {
    let tenths = us.saturating_add(50) / 100;
    format!("{}.{}", tenths / 10, (tenths % 10).abs())
}

fn ordinal(n: u32) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// At most `width` characters; what is cut off ends in `…`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(offset_us: i64, direction: Direction, what: &str, status: Option<u16>) -> Step {
        let what = what.to_owned();
        Step {
            offset_us,
            direction,
            peer: 0,
            what,
            status,
            notes: Vec::new(),
            nth: 1,
            again_us: Vec::new(),
            message: 0,
        }
    }

    fn example() -> Ladder {
        let peer = |address: &str| Peer {
            address: address.parse().unwrap(),
            transport: "udp",
            local: "192.0.2.1:5060".parse().unwrap(),
        };
        let invite = Step {
            notes: vec!["SDP 192.0.2.1:20000 PCMU, sendrecv".to_owned()],
            again_us: vec![500_000, 1_500_049],
            ..step(0, Direction::Out, "INVITE sip:…50@192.0.2.9", None)
        };
        let steps = vec![
            invite,
            step(1_612_345, Direction::In, "486 Busy Here (INVITE)", Some(486)),
            Step { nth: 2, ..step(1_613_000, Direction::In, &"long ".repeat(40), Some(180)) },
        ];
        Ladder { began_us: 0, peers: vec![peer("192.0.2.9:5060")], steps }
    }

    #[test]
    fn is_drawn_between_two_rails() {
        let text = ladder(&example(), "trunk main", 3, Colour::Off);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "trunk main 192.0.2.9:5060 udp, we are 192.0.2.1:5060");
        assert!(
            lines[3].starts_with("      0.0  │──── INVITE sip:…50@192.0.2.9 ───")
                && lines[3].ends_with("──►│")
        );
        assert!(
            lines[4].starts_with("           │     SDP 192.0.2.1:20000 PCMU, sendrecv   ")
                && lines[4].ends_with("  │")
        );
        assert!(lines[5].contains("again at 500.0 ms (2nd time), 1500.0 ms (3rd time)"), "{}", lines[5]);
        assert!(
            lines[6].starts_with("   1612.3  │◄───") && lines[6].ends_with("─ 486 Busy Here (INVITE) ────│")
        );
        assert!(lines[7].ends_with("… (2nd time) ────│"), "{}", lines[7]);
        assert_eq!(lines[8].trim(), "3 more dropped: a call keeps its first messages");
        for line in &lines[2..8] {
            assert_eq!(line.chars().count(), WIDTH, "{line}");
        }
    }

    #[test]
    fn several_peers_are_numbered_and_colour_is_a_choice() {
        let mut two = example();
        two.peers.push(two.peers[0].clone());
        two.steps[1].peer = 1;
        let text = ladder(&two, "trunk main", 0, Colour::On);
        assert!(text.starts_with("1 trunk main ") && text.contains("\n2 trunk main "));
        assert!(text.contains("\u{1b}[31m 486 Busy Here (INVITE) \u{1b}[0m────2"), "{text}");
        assert!(!ladder(&two, "x", 0, Colour::Off).contains('\u{1b}'));
    }

    #[test]
    fn raw_messages_cannot_steer_the_terminal() {
        let message = Traced {
            at_us: 7,
            direction: Direction::In,
            transport: crate::sip::Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.9:5060".parse().unwrap(),
            bytes: b"BYE sip:12345@x SIP/2.0\r\nX: \x1b[2J\r\n\r\n".to_vec(),
        };
        let text = raw(std::slice::from_ref(&message), false, Colour::Off);
        assert!(
            text.starts_with(
                "── 0.0 ms from 192.0.2.9:5060 udp, 36 bytes ──\nBYE sip:…45@x SIP/2.0\nX: \u{fffd}[2J\n"
            ),
            "{text}"
        );
        assert!(raw(&[message], true, Colour::Off).contains("sip:12345@x"));
    }
}
