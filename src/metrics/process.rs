//! What the operating system knows of this process, under the names that all Prometheus clients use. Read from `/proc`; where
//! there is none, the figures stay 0.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::List;

#[derive(Debug, Clone, Default)]
pub(super) struct ProcessMetrics {
    resident: Gauge,
    cpu: Counter<f64, AtomicU64>,
    start: Gauge<f64, AtomicU64>,
    files: Gauge,
}

impl ProcessMetrics {
    pub fn register(&self, list: &mut List<'_>) {
        list.add("process_resident_memory_bytes", "", "Memory in use.", self.resident.clone());
        list.add("process_cpu_seconds", "", "Processor time used.", self.cpu.clone());
        list.add(
            "process_start_time_seconds",
            "",
            "When the process began, in seconds since 1970.",
            self.start.clone(),
        );
        list.add("process_open_fds", "", "Open files and sockets.", self.files.clone());
    }

    /// Reads the figures anew.
    pub fn read(&self) {
        let figures = read_stat().unwrap_or_default();
        self.resident.set(figures.resident);
        self.cpu.inner().store(figures.cpu.to_bits(), Relaxed);
        self.start.set(figures.start);
        self.files.set(
            std::fs::read_dir("/proc/self/fd").map_or(0, |files| i64::try_from(files.count()).unwrap_or(0)),
        );
    }
}

#[derive(Default)]
struct Figures {
    resident: i64,
    cpu: f64,
    start: f64,
}

/// `/proc/self/stat` behind the program's name, which may hold blanks and brackets (proc(5)).
fn read_stat() -> Option<Figures> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    let system = |var| sysconf(var).ok().flatten();
    let hertz = system(SysconfVar::CLK_TCK)? as f64;
    let resident = system(SysconfVar::PAGE_SIZE)?.checked_mul(field(24)? as i64)?;
    Some(Figures {
        resident,
        cpu: (field(14)? + field(15)?) / hertz,
        start: booted_at()? + field(22)? / hertz,
    })
}

/// Seconds since 1970.
fn booted_at() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_past() {
        let figures = read_stat().unwrap();
        assert!(figures.resident > 1 << 20, "{}", figures.resident);
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!((now - 86_400.0..now + 2.0).contains(&figures.start), "{} {now}", figures.start);
        assert!(figures.cpu >= 0.0);
    }
}
