//! How well a trunk has carried its last calls.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// As many of the last calls count...
const LAST: usize = 100;
/// ...if they are not older than this.
const WINDOW: Duration = Duration::from_secs(2 * 3600);
/// A call this old counts half as much as one that has just ended.
const HALF_LIFE: Duration = Duration::from_secs(15 * 60);

/// A trunk of which little is known is taken to be an ordinary one: this many calls, of which half were answered.
const PRIOR_CALLS: f64 = 3.0;
/// What stands for a delay or a sound that is not known, as a share of the best.
const PRIOR_SHARE: f64 = 0.75;

/// A phone that rings this soon could not ring sooner; one that rings this late could not be worse.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(11);

/// How one call went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it ended.
    pub at: Instant,
    /// Whether it was answered.
    pub answered: bool,
    /// From the INVITE to the first sign of ringing or the answer.
    pub post_dial: Option<Duration>,
    /// How the callee sounded: a mean opinion score, 1 (bad) to 5 (as if they were here).
    pub mos: Option<f64>,
}

/// The rolling window of one trunk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quality {
    samples: VecDeque<Sample>,
    /// What another process made of calls that are not known here.
    supposed: Option<Score>,
}

/// What the window comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 to 100: half for the answer rate, a quarter for the delay, a quarter for the sound.
    pub points: u32,
    /// How many calls it is made of.
    pub calls: usize,
    /// The share of calls that were answered, 0 to 1. 0 without calls.
    pub answered: f64,
    /// The mean post-dial delay, in milliseconds.
    pub post_dial_ms: Option<u64>,
    /// The mean opinion score.
    pub mos: Option<f64>,
}

impl Quality {
    /// Adds a call.
    pub fn note(&mut self, sample: Sample) {
        self.supposed = None;
        if self.samples.len() >= LAST {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// A window that comes to `score` until the first call is noted.
    pub fn supposed(score: Score) -> Self {
        Self { supposed: Some(score), ..Self::default() }
    }

    /// What the calls up to `now` come to.
    pub fn score(&self, now: Instant) -> Score {
        if let Some(score) = self.supposed {
            return score;
        }
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        let weighted = || {
            let recent = self.samples.iter().filter(move |sample| age(sample) <= WINDOW);
            recent.map(move |sample| {
                (0.5_f64.powf(age(sample).as_secs_f64() / HALF_LIFE.as_secs_f64()), sample)
            })
        };
        let total: f64 = weighted().map(|(weight, _)| weight).sum();
        let answered: f64 = weighted().filter(|(_, sample)| sample.answered).map(|(weight, _)| weight).sum();
        let post_dial =
            mean(weighted().filter_map(|(weight, sample)| Some((weight, sample.post_dial?.as_secs_f64()))));
        let mos = mean(weighted().filter_map(|(weight, sample)| Some((weight, sample.mos?.clamp(1.0, 5.0)))));

        let rate = (answered + PRIOR_CALLS / 2.0) / (total + PRIOR_CALLS);
        let promptness = post_dial.map_or(PRIOR_SHARE, |seconds| {
            let span = LATE.as_secs_f64() - SOON.as_secs_f64();
            1.0 - ((seconds - SOON.as_secs_f64()) / span).clamp(0.0, 1.0)
        });
        let sound = mos.map_or(PRIOR_SHARE, |mos| (mos - 1.0) / 4.0);
        Score {
            points: (50.0 * rate + 25.0 * promptness + 25.0 * sound).round() as u32,
            calls: weighted().count(),
            answered: if total > 0.0 { answered / total } else { 0.0 },
            post_dial_ms: post_dial.map(|seconds| (seconds * 1000.0).round() as u64),
            mos,
        }
    }
}

fn mean(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (weights, sum) =
        values.fold((0.0, 0.0), |(weights, sum), (weight, value)| (weights + weight, sum + weight * value));
    (weights > 0.0).then(|| sum / weights)
}

/// An estimate of the mean opinion score of G.711 with packet-loss concealment from the share of packets that were lost or
/// came too late, and the jitter: the E-model of ITU-T G.107 with the factors of G.113 (Ie 0, Bpl 25.1), where the jitter
/// buffer holds twice the jitter.
pub fn mos(loss: f64, jitter: Duration) -> f64 {
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    // Ten milliseconds for the packet's own time and the way, which nothing here measures.
    let delay_ms = 10.0 + 2.0 * jitter.as_secs_f64() * 1000.0;
    let late = (delay_ms - 177.3).max(0.0);
    let r = (93.2 - 0.024 * delay_ms - 0.11 * late - 95.0 * percent / (percent + 25.1)).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(now: Instant, samples: &[(u64, bool, Option<u64>, Option<f64>)]) -> Quality {
        let mut quality = Quality::default();
        for (age, answered, post_dial, mos) in samples {
            let at = now - Duration::from_secs(*age);
            quality.note(Sample {
                at,
                answered: *answered,
                post_dial: post_dial.map(Duration::from_millis),
                mos: *mos,
            });
        }
        quality
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(24 * 3600)
    }

    #[test]
    fn an_unknown_trunk_is_an_ordinary_one() {
        let score = Quality::default().score(later());
        assert_eq!((score.points, score.calls, score.post_dial_ms, score.mos), (63, 0, None, None));
    }

    #[test]
    fn answers_delay_and_sound_each_count() {
        let now = later();
        let points = |samples: &[_]| window(now, samples).score(now).points;
        let good = [(10, true, Some(900), Some(4.4)); 20];
        assert!(points(&good) > 85, "{}", points(&good));
        for worse in [
            (10, false, Some(900), Some(4.4)),
            (10, true, Some(9000), Some(4.4)),
            (10, true, Some(900), Some(1.5)),
        ] {
            assert!(points(&[worse; 20]) + 15 < points(&good), "{worse:?}");
        }
        let score = window(now, &[(1, true, Some(1000), None), (1, false, Some(3000), None)]).score(now);
        assert_eq!((score.calls, score.answered, score.post_dial_ms, score.mos), (2, 0.5, Some(2000), None));
    }

    #[test]
    fn one_failure_does_not_condemn_and_old_ones_fade() {
        let now = later();
        let points = |samples: &[_]| window(now, samples).score(now).points;
        assert!(points(&[(1, false, None, None)]) >= 55);
        let (fresh, old) = ([(1, false, None, None); 10], [(3600, false, None, None); 10]);
        assert!(points(&old) > points(&fresh));
        let ancient = window(now, &[(3 * 3600, false, None, None); 10]).score(now);
        assert_eq!((ancient.calls, ancient.points), (0, 63), "beyond the window");
    }

    #[test]
    fn only_the_last_calls_are_kept() {
        let now = later();
        let mut samples = vec![(600, false, None, None); 500];
        samples.extend([(1, true, Some(500), Some(4.4)); LAST]);
        let score = window(now, &samples).score(now);
        assert_eq!((score.calls, score.answered), (LAST, 1.0));
    }

    #[test]
    fn the_e_model_says_what_is_known_of_g711() {
        let calm = Duration::from_millis(2);
        let rounded = |loss| (mos(loss, calm) * 10.0).round() / 10.0;
        assert_eq!(rounded(0.0), 4.4);
        assert!(rounded(0.01) > 4.2 && rounded(0.05) < 4.2 && rounded(0.2) < 3.0 && rounded(1.0) < 1.3);
        assert!(mos(0.0, Duration::from_millis(150)) < mos(0.0, calm) - 0.3);
    }

    proptest::proptest! {
        #[test]
        fn points_stay_in_bounds(samples in proptest::collection::vec(
            (0_u64..20_000, proptest::bool::ANY, proptest::option::of(0_u64..100_000), proptest::option::of(-10.0..10.0_f64)), 0..150)) {
            let now = later();
            let score = window(now, &samples).score(now);
            proptest::prop_assert!(score.points <= 100 && (0.0..=1.0).contains(&score.answered), "{:?}", score);
            proptest::prop_assert!(score.calls <= LAST);
        }
    }
}
