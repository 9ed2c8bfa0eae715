//! What calls without media cost: `cargo bench --bench sip_calls [-- CALLS]` (20,000 when not given).
//!
//! SIPp with its own scenarios is the other end, on the other core: first it calls us, then we call it. A call is INVITE,
//! 100 or 180, 200, ACK, BYE, 200; all of our work is done by one thread, and its processor time, kernel included, is what
//! counts. Then the memory of a dialog that stands, with its transactions over, and of a telephone that has registered.
//! Figures of others beside ours were measured earlier on such a machine, with SIPp as here. Nothing is asserted of time.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callahead::engine::signalling::Signalling;
use nix::sys::resource::{UsageWho, getrusage};

mod memory;
#[path = "../../tests/support/phones.rs"]
mod phones;

use phones::{Tally, answer_calls, endpoint, place_call};

/// Calls begun in a second: what one SIPp can do without falling behind.
const RATE: u64 = 1000;

fn main() -> Result<()> {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20_000);
    memory::print()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "\n{:<28} {:>8} {:>12} {:>16} {:>14}",
        "no media, one thread", "calls", "CPU ms/call", "calls/s a core", "run, calls/s"
    );
    runtime.block_on(async {
        we_are_called(count).await?;
        we_call(count).await
    })?;
    println!(
        "measured earlier: Asterisk 1.25-2.0, RustPBX 1.4-3.0, a bare rsipstack 0.26-0.41 CPU ms a call"
    );
    Ok(())
}

async fn we_are_called(count: usize) -> Result<()> {
    let signalling = Signalling::bind(loopback(), endpoint(1_000_000), 7).await?;
    let (sender, unclaimed) = Signalling::unclaimed();
    let tally = Arc::new(Tally::default());
    tokio::spawn(answer_calls(signalling.clone(), unclaimed, tally.clone()));
    let receiving = receive(&signalling, sender);
    let us = signalling.local_addr().to_string();
    let (begun, used) = (Instant::now(), cpu()?);
    let mut sipp = sipp(&["-sn", "uac", &us, "-d", "0", "-m", &count.to_string(), "-r", &RATE.to_string()])?;
    while tally.ended.load(Relaxed) + tally.failures.lock().map_or(0, |failures| failures.len()) < count {
        ensure!(begun.elapsed() < Duration::from_secs(600), "SIPp does not come to an end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    report("SIPp calls us", count, cpu()?.saturating_sub(used), begun.elapsed());
    ensure!(tokio::task::spawn_blocking(move || sipp.wait()).await??.success(), "SIPp counts failed calls");
    receiving.abort();
    Ok(())
}

async fn we_call(count: usize) -> Result<()> {
    let target = std::net::UdpSocket::bind(loopback())?.local_addr()?;
    let mut sipp = sipp(&["-sn", "uas", "-m", &count.to_string(), "-p", &target.port().to_string()])?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let signalling = Signalling::bind(loopback(), endpoint(1_000_000), 8).await?;
    let (sender, _unclaimed) = Signalling::unclaimed();
    let receiving = receive(&signalling, sender);
    let tally = Arc::new(Tally::default());
    let (begun, used) = (Instant::now(), cpu()?);
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for call in 0..count {
        if (call as u64).is_multiple_of(RATE / 100) {
            tick.tick().await;
        }
        tokio::spawn(place_call(signalling.clone(), target, Duration::ZERO, tally.clone()));
    }
    while tally.ended.load(Relaxed) + tally.failures.lock().map_or(0, |failures| failures.len()) < count {
        ensure!(begun.elapsed() < Duration::from_secs(600), "SIPp does not come to an end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    report("we call SIPp", count, cpu()?.saturating_sub(used), begun.elapsed());
    let failures = tally.failures.lock().map_or(0, |failures| failures.len());
    ensure!(failures == 0, "{failures} calls failed");
    sipp.kill().ok();
    sipp.wait()?;
    receiving.abort();
    Ok(())
}

fn receive(
    signalling: &Arc<Signalling>,
    sender: tokio::sync::mpsc::Sender<callahead::engine::signalling::Unclaimed>,
) -> tokio::task::JoinHandle<()> {
    let signalling = signalling.clone();
    tokio::spawn(async move { signalling.run(sender).await })
}

fn sipp(arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new("sipp");
    command.args(arguments).args(["-i", "127.0.0.1", "-nostdin", "-l", "100000"]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
        .current_dir(std::env::temp_dir())
        .spawn()
        .context("cannot start `sipp`: apt-get install sip-tester")
}

fn report(what: &str, count: usize, used: Duration, took: Duration) {
    let each = used.as_secs_f64() * 1000.0 / count as f64;
    let run = count as f64 / took.as_secs_f64();
    println!("{what:<28} {count:>8} {each:>12.3} {:>16.0} {run:>14.0}", 1000.0 / each);
}

/// Processor time of this process, in user code and in the kernel.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::new(value.tv_sec().unsigned_abs(), 0)
            + Duration::from_micros(value.tv_usec().unsigned_abs())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
