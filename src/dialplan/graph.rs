//! What only shows when a plan is seen as a whole: steps that no call reaches, calls that never end.

use std::collections::BTreeSet;

use super::verb::Way;
use super::{Step, StepId};
use crate::diagnostic::Source;
use crate::diagnostic::document::Item;

/// Reports steps that cannot be reached, steps from which no `hangup` can be reached, and loops that go on without the
/// customer doing anything.
pub(super) fn check(source: &Source<'_>, items: &[Item<'_, '_>], steps: &[Step], start: StepId) {
    let all = Graph::of(steps, |_| true);
    let silent = Graph::of(steps, |way| way.silent);
    let reached = all.from([start.0]);
    let back: Vec<_> = (0..steps.len()).map(|at| silent.from(silent.next(at))).collect();
    let goes_round = |at: usize| back.get(at).is_some_and(|back| back.contains(&at));
    for (at, item) in items.iter().enumerate() {
        let report = |message: String, help: &str| source.error_help(item.key_span.clone(), message, help);
        if !reached.contains(&at) {
            report(
                format!("no way leads to the step `{}`", item.key),
                "lead to it with `next` or `on`, or remove it",
            );
        } else if all.from([at]).iter().all(|at| all.next(*at).next().is_some()) {
            let help = "lead some way out of it to a step with `hangup = true`";
            report(format!("a call that comes to the step `{}` never ends", item.key), help);
        } else if goes_round(at)
            && back.get(at).and_then(|back| back.iter().find(|other| goes_round(**other))) == Some(&at)
        {
            // Of a round only its first step is reported.
            let message =
                format!("the step `{}` comes back to itself without the customer doing anything", item.key);
            report(message, "lead the way that silence takes to a step with `hangup = true`");
        }
    }
}

/// The steps that each step leads to.
struct Graph(Vec<Vec<usize>>);

impl Graph {
    fn of(steps: &[Step], which: impl Fn(&Way) -> bool) -> Self {
        let ways =
            |step: &Step| step.verb.ways().iter().filter(|way| which(way)).map(|way| way.to.0).collect();
        Self(steps.iter().map(ways).collect())
    }

    fn next(&self, at: usize) -> impl Iterator<Item = usize> {
        self.0.get(at).into_iter().flatten().copied()
    }

    /// Every step that can be reached from these, these included.
    fn from(&self, start: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut open: Vec<usize> = start.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(at) = open.pop() {
            if seen.insert(at) {
                open.extend(self.next(at));
            }
        }
        seen
    }
}
