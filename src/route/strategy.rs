//! Which of the trunks that may carry a call is tried first, and why.

use serde::Serialize;

use super::prefix::Price;
use super::quality::Score;
use crate::words::words;

words! {
    /// What decides between the trunks that may carry a call.
    Strategy {
        /// The trunk's `priority`: lower comes first.
        Priority = "priority",
        /// The price of a minute to this number: cheaper comes first.
        Cost = "cost",
        /// How the trunk's last calls went: better comes first.
        Quality = "quality",
        /// Quality, price and free room together.
        Balanced = "balanced",
    }
}

/// What quality, price and free room count in [`Strategy::Balanced`], of 100.
const BALANCE: [u64; 3] = [40, 40, 20];

/// What is known of a trunk that may carry the call.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Its name.
    pub trunk: String,
    /// Its priority.
    pub priority: u32,
    /// What a minute to this number costs.
    pub price: Option<Price>,
    /// How its last calls went.
    pub score: Score,
    /// How much of its room is free, in percent.
    pub free: u32,
}

/// A trunk that may carry the call, in its place among the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub trunk: String,
    /// Why it has this place, for a person.
    pub reason: String,
    /// What a minute costs.
    pub per_minute: Option<Price>,
    /// 0 to 100.
    pub quality: u32,
}

impl Strategy {
    /// The words of `strategy` in `callahead.toml`.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("priority", Self::Priority),
        ("cost", Self::Cost),
        ("quality", Self::Quality),
        ("balanced", Self::Balanced),
    ];

    /// Puts the trunks in order, the first to try first. Those that are equal go by priority, then by name, so that the same
    /// facts always give the same order.
    pub fn order(self, mut standings: Vec<Standing>) -> Vec<Candidate> {
        let cheapest = standings.iter().filter_map(|standing| standing.price).min();
        standings.sort_by(|a, b| {
            let key = |standing: &Standing| (self.rank(standing, cheapest), standing.priority);
            key(a).cmp(&key(b)).then_with(|| a.trunk.cmp(&b.trunk))
        });
        let candidate = |standing: Standing| Candidate {
            reason: self.reason(&standing, cheapest),
            trunk: standing.trunk,
            per_minute: standing.price,
            quality: standing.score.points,
        };
        standings.into_iter().map(candidate).collect()
    }

    /// Lower comes first.
    fn rank(self, standing: &Standing, cheapest: Option<Price>) -> u64 {
        match self {
            Self::Priority => standing.priority.into(),
            Self::Cost => standing.price.map_or(u64::MAX, |price| price.0),
            Self::Quality => u64::from(100_u32.saturating_sub(standing.score.points)),
            Self::Balanced => 100_u64.saturating_sub(balance(standing, cheapest)),
        }
    }

    fn reason(self, standing: &Standing, cheapest: Option<Price>) -> String {
        match self {
            Self::Priority => format!("priority {}", standing.priority),
            Self::Cost => match standing.price {
                Some(price) => format!("{price} a minute"),
                None => "no price for this number: after those that have one".to_owned(),
            },
            Self::Quality => {
                format!("quality {} of 100 ({})", standing.score.points, describe(&standing.score))
            }
            Self::Balanced => format!(
                "balance {} of 100 (quality {}, price {}, free room {})",
                balance(standing, cheapest),
                standing.score.points,
                thrift(standing.price, cheapest),
                standing.free
            ),
        }
    }
}

/// 0 to 100, more is better.
fn balance(standing: &Standing, cheapest: Option<Price>) -> u64 {
    let parts =
        [u64::from(standing.score.points), thrift(standing.price, cheapest), u64::from(standing.free)];
    parts.iter().zip(BALANCE).map(|(part, weight)| (*part).min(100) * weight).sum::<u64>() / 100
}

/// 100 for the cheapest and for a price list that says nothing at all, half for twice its price, 0 where a price is missing.
fn thrift(price: Option<Price>, cheapest: Option<Price>) -> u64 {
    match (price, cheapest) {
        (_, None) => 100,
        (None, Some(_)) => 0,
        (Some(price), Some(cheapest)) if price == cheapest => 100,
        (Some(price), Some(cheapest)) => cheapest.0.saturating_mul(100) / price.0.max(1),
    }
}

fn describe(score: &Score) -> String {
    if score.calls == 0 {
        return "no calls in the last two hours".to_owned();
    }
    let mut parts = vec![format!("{:.0} % of {} answered", score.answered * 100.0, score.calls)];
    if let Some(ms) = score.post_dial_ms {
        parts.push(format!("rings after {}.{} s", ms / 1000, ms % 1000 / 100));
    }
    if let Some(mos) = score.mos {
        parts.push(format!("sound {mos:.1} of 5"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as Generator;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn standing(trunk: &str, priority: u32, price: Option<u64>, points: u32, free: u32) -> Standing {
        let score = Score { points, calls: 10, answered: 0.5, post_dial_ms: Some(1234), mos: Some(4.37) };
        Standing { trunk: trunk.to_owned(), priority, price: price.map(Price), score, free }
    }

    fn names(strategy: Strategy, standings: &[Standing]) -> Vec<String> {
        strategy.order(standings.to_vec()).into_iter().map(|candidate| candidate.trunk).collect()
    }

    #[test]
    fn each_strategy_has_its_order() {
        let trunks = [
            standing("alpha", 10, Some(20_000), 60, 100),
            standing("beta", 20, Some(8_000), 55, 10),
            standing("gamma", 20, None, 90, 100),
            standing("delta", 10, Some(20_000), 60, 50),
        ];
        assert_eq!(names(Strategy::Priority, &trunks), ["alpha", "delta", "beta", "gamma"]);
        assert_eq!(names(Strategy::Cost, &trunks), ["beta", "alpha", "delta", "gamma"]);
        assert_eq!(names(Strategy::Quality, &trunks), ["gamma", "alpha", "delta", "beta"]);
        // 22 + 40 + 2, 24 + 16 + 20, 36 + 0 + 20, 24 + 16 + 10.
        assert_eq!(names(Strategy::Balanced, &trunks), ["beta", "alpha", "gamma", "delta"]);
    }

    #[test]
    fn every_place_has_its_reason() {
        let trunks = [standing("a", 10, Some(8_000), 60, 70), standing("b", 20, None, 50, 100)];
        let reasons = |strategy: Strategy| {
            strategy.order(trunks.to_vec()).into_iter().map(|candidate| candidate.reason).collect::<Vec<_>>()
        };
        assert_eq!(reasons(Strategy::Priority), ["priority 10", "priority 20"]);
        assert_eq!(
            reasons(Strategy::Cost),
            ["0.008 a minute", "no price for this number: after those that have one"]
        );
        let quality = reasons(Strategy::Quality);
        assert_eq!(quality[0], "quality 60 of 100 (50 % of 10 answered, rings after 1.2 s, sound 4.4 of 5)");
        let balanced = reasons(Strategy::Balanced);
        assert_eq!(balanced[0], "balance 78 of 100 (quality 60, price 100, free room 70)");
    }

    fn any_standing() -> impl Generator<Value = Standing> {
        ("[a-c]{1,2}", 0_u32..3, proptest::option::of(0_u64..4), 0_u32..=100, 0_u32..=100)
            .prop_map(|(name, priority, price, points, free)| standing(&name, priority, price, points, free))
    }

    proptest! {
        #[test]
        fn the_order_depends_on_the_facts_only(
            trunks in proptest::collection::btree_map("[a-z]{1,3}", any_standing(), 0..12),
            turn in 0_usize..12,
        ) {
            let mut trunks: Vec<_> =
                trunks.into_iter().map(|(trunk, standing)| Standing { trunk, ..standing }).collect();
            for strategy in Strategy::ALL {
                let first = strategy.order(trunks.clone());
                let by = turn % trunks.len().max(1);
                trunks.rotate_left(by);
                prop_assert_eq!(&strategy.order(trunks.clone()), &first);
                prop_assert_eq!(first.len(), trunks.len());
                for pair in first.windows(2) {
                    let of = |name: &str| trunks.iter().find(|trunk| trunk.trunk == name).cloned().unwrap();
                    let (a, b) = (of(&pair[0].trunk), of(&pair[1].trunk));
                    match strategy {
                        Strategy::Priority => prop_assert!(a.priority <= b.priority),
                        Strategy::Cost => prop_assert!(b.price.is_none() || a.price.is_some_and(|price| Some(price) <= b.price)),
                        Strategy::Quality => prop_assert!(a.score.points >= b.score.points),
                        Strategy::Balanced => {}
                    }
                }
            }
        }
    }
}
