//! What only shows when a plan is seen as a whole: steps that no call reaches, calls that never end.

use std::collections::BTreeSet;

use super::{Step, StepId};
use crate::config::diagnostic::Source;
use crate::config::document::Item;

/// Reports steps that cannot be reached, steps from which no `hangup` can be reached, and loops that go on without the
/// customer doing anything.
pub(super) fn check(source: &Source<'_>, items: &[Item<'_, '_>], steps: &[Step], start: StepId) {
    let ways: Vec<Vec<(usize, bool)>> = steps
        .iter()
        .map(|step| step.verb.ways().iter().map(|way| (way.to.0, way.silent)).collect())
        .collect();
    let all = |from: usize| ways.get(from).into_iter().flatten().map(|(to, _)| *to).collect::<Vec<_>>();
    let silent = |from: usize| {
        ways.get(from)
            .into_iter()
            .flatten()
            .filter(|(_, silent)| *silent)
            .map(|(to, _)| *to)
            .collect::<Vec<_>>()
    };
    let reached = reachable([start.0], all);
    for (at, item) in items.iter().enumerate() {
        let report = |message: String, help: &str| source.error_help(item.key_span.clone(), message, help);
        if !reached.contains(&at) {
            report(
                format!("no way leads to the step `{}`", item.key),
                "lead to it with `next` or `on`, or remove it",
            );
        } else if reachable([at], all).iter().all(|at| ways.get(*at).is_some_and(|ways| !ways.is_empty())) {
            let help = "lead some way out of it to a step with `hangup = true`";
            report(format!("a call that comes to the step `{}` never ends", item.key), help);
        } else if reachable(silent(at), silent).contains(&at) {
            let first = reachable(silent(at), silent)
                .into_iter()
                .filter(|other| reachable(silent(*other), silent).contains(&at));
            if first.min() == Some(at) {
                let help = "lead the way that silence takes to a step with `hangup = true`";
                report(
                    format!(
                        "the step `{}` comes back to itself without the customer doing anything",
                        item.key
                    ),
                    help,
                );
            }
        }
    }
}

fn reachable(from: impl IntoIterator<Item = usize>, ways: impl Fn(usize) -> Vec<usize>) -> BTreeSet<usize> {
    let mut open: Vec<usize> = from.into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(at) = open.pop() {
        if seen.insert(at) {
            open.extend(ways(at));
        }
    }
    seen
}
