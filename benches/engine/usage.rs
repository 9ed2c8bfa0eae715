//! What a process uses, read from /proc.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;

/// /proc counts processor time in hundredths of a second on every Linux architecture in use (`USER_HZ`).
const TICK: f64 = 0.01;

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Processor seconds so far, of all its threads, also those that ended.
    pub cpu: f64,
    /// Resident memory, MB.
    pub rss: f64,
    /// Threads.
    pub threads: u32,
}

/// Looks at a process now.
pub fn look(pid: u32) -> Result<Sample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
    // The name may hold spaces and brackets: fields are counted from its end. 11 and 12 from there are utime and stime.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok());
    let cpu = ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) * TICK);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
    };
    let rss = number("VmRSS:").map(|kilobytes| kilobytes / 1000.0);
    let threads = number("Threads:").map(|threads| threads as u32);
    let (cpu, rss, threads) = (cpu.context("stat")?, rss.context("VmRSS")?, threads.context("Threads")?);
    Ok(Sample { at: Timestamp::now(), cpu, rss, threads })
}

/// Looks at a process twenty times a second.
pub struct Sampler {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Sample>>>,
}

impl Sampler {
    /// Begins.
    pub fn start(pid: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = over.clone();
            move || {
                let mut samples = vec![look(pid)?];
                while !over.load(Relaxed) {
                    thread::sleep(Duration::from_millis(50));
                    samples.push(look(pid)?);
                }
                Ok(samples)
            }
        });
        Self { over, thread }
    }

    /// Ends and returns what was seen, oldest first.
    pub fn finish(self) -> Result<Vec<Sample>> {
        self.over.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the sampler failed"))?
    }
}

/// Processor seconds between two moments, interpolated between samples.
pub fn cpu_between(samples: &[Sample], from: Timestamp, to: Timestamp) -> f64 {
    cpu_at(samples, to) - cpu_at(samples, from)
}

fn cpu_at(samples: &[Sample], at: Timestamp) -> f64 {
    let after = samples.partition_point(|sample| sample.at <= at);
    match (after.checked_sub(1).and_then(|before| samples.get(before)), samples.get(after)) {
        (Some(a), Some(b)) => {
            let share = seconds(a.at, at) / seconds(a.at, b.at).max(1e-6);
            a.cpu + (b.cpu - a.cpu) * share
        }
        (Some(only), None) | (None, Some(only)) => only.cpu,
        (None, None) => 0.0,
    }
}

/// Seconds from one moment to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
