//! What is counted, for Prometheus (OpenMetrics text). One registry, made at the start; whoever counts holds a clone of its
//! part. The core counts nothing: the shell counts what it carries in and out.
//!
//! To add a metric: a field in the part it belongs to, one line in that part's `register`, and
//! `UPDATE=1 cargo test --lib metrics::` for the table in `docs/metrics.md`. Labels must come from a closed set or from the
//! configuration, never from what a peer or caller writes.

mod engine;
mod process;
mod reference;
mod sip;

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use engine::{MediaMetrics, TrunkMetrics};
pub use reference::reference;
pub use sip::SipMetrics;

use engine::BacklogMetrics;
use process::ProcessMetrics;

use crate::store::backlog::Backlog;

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rows: Vec<Row>,
    /// SIP messages.
    pub sip: SipMetrics,
    /// Attempts, calls and registrations by trunk.
    pub trunks: TrunkMetrics,
    /// The media threads.
    pub media: MediaMetrics,
    /// Recordings, by how they ended: `ready` or `failed`.
    pub recordings: Family<StateLabels, Counter>,
    /// HTTP requests.
    pub http: Family<HttpLabels, Counter>,
    backlog: BacklogMetrics,
    process: ProcessMetrics,
}

/// Labels of what has a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// The state.
    pub state: &'static str,
}

/// Labels of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The route as it is declared, such as `/api/v1/calls/{id}`; `none` for what has no route.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
}

/// One line of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: String,
    kind: &'static str,
    labels: &'static str,
    help: &'static str,
}

impl Metrics {
    /// A registry that shows `sip`, which the SIP socket counts in.
    pub fn new(sip: SipMetrics) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            rows: Vec::new(),
            sip,
            trunks: TrunkMetrics::default(),
            media: MediaMetrics::default(),
            recordings: Family::default(),
            http: Family::default(),
            backlog: BacklogMetrics::default(),
            process: ProcessMetrics::default(),
        };
        let mut list = List { registry: &mut metrics.registry, rows: &mut metrics.rows };
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        list.add("callahead_build", "version", "The program that runs.", version);
        metrics.sip.register(&mut list);
        metrics.trunks.register(&mut list);
        metrics.media.register(&mut list);
        metrics.backlog.register(&mut list);
        list.add(
            "callahead_recordings",
            "state",
            "Recordings that ended as `ready` or `failed`.",
            metrics.recordings.clone(),
        );
        list.add("callahead_http_requests", "route, status", "HTTP requests answered.", metrics.http.clone());
        metrics.process.register(&mut list);
        metrics
    }

    /// Counts a recording that ended.
    pub fn recording_ended(&self, state: &'static str) {
        self.recordings.get_or_create(&StateLabels { state }).inc();
    }

    /// Counts an HTTP request.
    pub fn http_answered(&self, route: Option<&str>, status: u16) {
        self.http.get_or_create(&HttpLabels { route: route.unwrap_or("none").to_owned(), status }).inc();
    }

    /// Notes what waits in the store.
    pub fn set_backlog(&self, backlog: &Backlog) {
        self.backlog.set(backlog);
    }

    /// Everything as text of the type [`MEDIA_TYPE`]; what the operating system knows of this process is read now.
    ///
    /// # Errors
    /// None in practice: writing into memory does not fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.process.read();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Sets a counter to what was counted elsewhere.
pub fn set(counter: &Counter, value: u64) {
    counter.inner().store(value, Relaxed);
}

/// Where the parts put their metrics.
struct List<'m> {
    registry: &'m mut Registry,
    rows: &'m mut Vec<Row>,
}

impl List<'_> {
    /// `name` without the `_total` that counters get.
    fn add<M>(&mut self, name: &str, labels: &'static str, help: &'static str, metric: M)
    where
        M: EncodeMetric + TypedMetric + Debug + Send + Sync + 'static,
    {
        let (kind, ending) = match metric.metric_type() {
            prometheus_client::metrics::MetricType::Counter => ("counter", "_total"),
            prometheus_client::metrics::MetricType::Info => ("info", "_info"),
            _ => ("gauge", ""),
        };
        self.rows.push(Row { name: format!("{name}{ending}"), kind, labels, help });
        // The encoder ends the text with a full stop of its own.
        self.registry.register(name, help.trim_end_matches('.'), metric);
    }
}
