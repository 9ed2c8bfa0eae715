//! What the engine does: attempts and registrations by trunk, the media threads, what waits in the store.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{List, StateLabels};
use crate::call::EndCause;
use crate::store::backlog::Backlog;

/// Attempts, calls and registrations by trunk. Cloning is cheap; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct TrunkMetrics {
    begun: Family<TrunkLabels, Counter>,
    answered: Family<TrunkLabels, Counter>,
    ended: Family<EndLabels, Counter>,
    running: Family<TrunkLabels, Gauge>,
    registered: Family<TrunkLabels, Gauge>,
}

/// Names a trunk of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrunkLabels {
    trunk: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    trunk: String,
    cause: &'static str,
}

impl TrunkMetrics {
    /// A call begins; it runs until what this returns is dropped.
    pub fn begun(&self, trunk: &str) -> RunningCall {
        let labels = TrunkLabels { trunk: trunk.to_owned() };
        self.begun.get_or_create(&labels).inc();
        let running = self.running.get_or_create_owned(&labels);
        running.inc();
        RunningCall(running)
    }

    /// The callee picked up.
    pub fn answered(&self, trunk: &str) {
        self.answered.get_or_create(&TrunkLabels { trunk: trunk.to_owned() }).inc();
    }

    /// The attempt is over.
    pub fn ended(&self, trunk: &str, cause: EndCause) {
        self.ended.get_or_create(&EndLabels { trunk: trunk.to_owned(), cause: cause.as_str() }).inc();
    }

    /// The trunk has or has not our registration.
    pub fn registered(&self, trunk: &str, is: bool) {
        self.registered.get_or_create(&TrunkLabels { trunk: trunk.to_owned() }).set(i64::from(is));
    }

    /// The trunk was taken out of the configuration, or wants no registration any more.
    pub fn not_registering(&self, trunk: &str) {
        self.registered.remove(&TrunkLabels { trunk: trunk.to_owned() });
    }

    pub(super) fn register(&self, list: &mut List<'_>) {
        let help = "Attempts whose first INVITE was about to leave.";
        list.add("callahead_attempts_begun", "trunk", help, self.begun.clone());
        list.add(
            "callahead_attempts_answered",
            "trunk",
            "Attempts that somebody or something answered.",
            self.answered.clone(),
        );
        list.add(
            "callahead_attempts_ended",
            "trunk, cause",
            "Attempts that are over, by their cause.",
            self.ended.clone(),
        );
        list.add(
            "callahead_calls_running",
            "trunk",
            "Calls between their INVITE and their conclusion.",
            self.running.clone(),
        );
        let help = "1 while the trunk has our registration, 0 while it has not; only trunks with `register`.";
        list.add("callahead_trunk_registered", "trunk", help, self.registered.clone());
    }
}

/// Counts as running until it is dropped.
#[derive(Debug)]
pub struct RunningCall(Gauge);

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The media threads' figures, which they count themselves; set when somebody asks.
#[derive(Debug, Clone, Default)]
pub struct MediaMetrics {
    /// Open legs.
    pub legs: Gauge,
    /// RTP datagrams read.
    pub packets_in: Counter,
    /// RTP datagrams sent.
    pub packets_out: Counter,
    /// RTP datagrams that the system refused to send.
    pub send_errors: Counter,
    /// Ticks of all legs, one each 20 ms.
    pub ticks: Counter,
    /// Ticks that came more than 10 ms late.
    pub late_ticks: Counter,
    lateness_p99: Gauge<f64, AtomicU64>,
    lateness_max: Gauge<f64, AtomicU64>,
}

impl MediaMetrics {
    /// How late ticks have come since the start.
    pub fn set_lateness(&self, p99: Duration, max: Duration) {
        self.lateness_p99.set(p99.as_secs_f64());
        self.lateness_max.set(max.as_secs_f64());
    }

    pub(super) fn register(&self, list: &mut List<'_>) {
        list.add("callahead_media_legs", "", "Open media legs.", self.legs.clone());
        list.add("callahead_rtp_received", "", "RTP datagrams read.", self.packets_in.clone());
        list.add("callahead_rtp_sent", "", "RTP datagrams sent.", self.packets_out.clone());
        list.add(
            "callahead_rtp_send_errors",
            "",
            "RTP datagrams that the system refused to send.",
            self.send_errors.clone(),
        );
        list.add("callahead_media_ticks", "", "Ticks of all legs, one each 20 ms.", self.ticks.clone());
        list.add(
            "callahead_media_late_ticks",
            "",
            "Ticks that came more than 10 ms late.",
            self.late_ticks.clone(),
        );
        let help = "99 of 100 ticks since the start came sooner than this after their time.";
        list.add("callahead_media_lateness_p99_seconds", "", help, self.lateness_p99.clone());
        let help = "The latest that a tick has come since the start.";
        list.add("callahead_media_lateness_max_seconds", "", help, self.lateness_max.clone());
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct BacklogMetrics {
    calls: Family<StateLabels, Gauge>,
    transcriptions: Family<StateLabels, Gauge>,
}

impl BacklogMetrics {
    pub fn set(&self, backlog: &Backlog) {
        let set = |family: &Family<StateLabels, Gauge>, state, value: u64| {
            family.get_or_create(&StateLabels { state }).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.calls, "pending", backlog.calls_pending);
        set(&self.calls, "due", backlog.calls_due);
        set(&self.transcriptions, "queued", backlog.transcriptions_queued);
        set(&self.transcriptions, "running", backlog.transcriptions_running);
    }

    pub fn register(&self, list: &mut List<'_>) {
        let help = "Calls that wait: `pending` all of them, `due` those whose time has come.";
        list.add("callahead_calls_waiting", "state", help, self.calls.clone());
        let help = "Transcription jobs, `queued` or `running`.";
        list.add("callahead_transcriptions", "state", help, self.transcriptions.clone());
    }
}

#[cfg(test)]
mod tests {
    use crate::call::EndCause;
    use crate::metrics::{Metrics, SipMetrics};
    use crate::store::backlog::Backlog;

    #[test]
    fn a_call_is_counted_from_its_begin_to_its_end() {
        let metrics = Metrics::new(SipMetrics::default());
        let has = |line: &str| metrics.text().unwrap().lines().any(|found| found == line);
        let running = metrics.trunks.begun("main");
        metrics.trunks.answered("main");
        assert!(has("callahead_calls_running{trunk=\"main\"} 1"));
        drop(running);
        metrics.trunks.ended("main", EndCause::Human);
        assert!(has("callahead_calls_running{trunk=\"main\"} 0"));
        assert!(has("callahead_attempts_begun_total{trunk=\"main\"} 1"));
        assert!(has("callahead_attempts_answered_total{trunk=\"main\"} 1"));
        assert!(has("callahead_attempts_ended_total{trunk=\"main\",cause=\"human\"} 1"));
        metrics.set_backlog(&Backlog { calls_due: 3, ..Backlog::default() });
        assert!(has("callahead_calls_waiting{state=\"due\"} 3"));
    }

    #[test]
    fn a_registration_is_one_zero_or_nothing() {
        let metrics = Metrics::new(SipMetrics::default());
        let shown = || metrics.text().unwrap().contains("callahead_trunk_registered{trunk=\"main\"}");
        assert!(!shown());
        metrics.trunks.registered("main", true);
        assert!(shown());
        metrics.trunks.not_registering("main");
        assert!(!shown());
    }
}
