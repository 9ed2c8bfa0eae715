//! The table of all metrics, as committed in `docs/metrics.md`.

use std::fmt::Write;

use super::{Metrics, SipMetrics};

const HEAD: &str = "\
# Metrics

<!-- Made from src/metrics/. Change them there; then: UPDATE=1 cargo test --lib metrics::reference -->

`GET /metrics` on the API's address, in the OpenMetrics text that Prometheus scrapes. While the API listens on a loopback address,
it asks for no login, unless the request came through a proxy (it has a `Forwarded` or `X-Forwarded-For` field); otherwise it
wants an admin's key or session:

```yaml
scrape_configs:
  - job_name: callahead
    static_configs: [{ targets: [\"127.0.0.1:8088\"] }]
    # authorization: { credentials_file: /etc/prometheus/callahead.key }   # of: callahead key add prometheus --role admin
```

Labels come from closed sets or from the configuration, so that no peer can add series: an unknown method counts as `other`.

";

/// The whole table.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| metric | type | labels | what it counts |\n|---|---|---|---|\n");
    for row in &Metrics::new(SipMetrics::default()).rows {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", row.name, row.kind, row.labels, row.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::reference;

    #[test]
    fn the_committed_table_is_what_is_registered() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == reference(), "run: UPDATE=1 cargo test --lib metrics::reference");
    }
}
