//! Breakers and trunks: tables, and whatever sequence of events comes.

use std::time::{Duration, Instant};

use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits(name: &str, priority: u32, max_calls: u32) -> TrunkLimits {
    TrunkLimits {
        name: name.to_owned(),
        priority,
        max_calls,
        max_cps: 10,
        serves: Vec::new(),
        rates: Vec::new(),
        breaker: BreakerLimits { failures: 2, open: secs(30) },
    }
}

fn rules(max_calls: u32, trunks: impl IntoIterator<Item = TrunkLimits>) -> RouteRules {
    let trunks = trunks.into_iter().collect();
    RouteRules {
        max_calls,
        calls_per_second: 100,
        strategy: Strategy::Priority,
        forbidden: Vec::new(),
        trunks,
    }
}

fn callee() -> Number {
    "+442071838750".parse().unwrap()
}

fn order(routes: &Routes, now: Instant) -> Vec<String> {
    routes.choose(&callee(), &[], now).candidates.into_iter().map(|candidate| candidate.trunk).collect()
}

fn skipped(routes: &Routes, now: Instant) -> Vec<(String, &'static str)> {
    routes
        .choose(&callee(), &[], now)
        .skipped
        .into_iter()
        .map(|skipped| (skipped.trunk, skipped.code))
        .collect()
}

fn fail(routes: &mut Routes, trunk: &str, now: Instant) {
    let ticket = routes.begin(trunk, now).unwrap().unwrap();
    routes.end(ticket, Verdict::Failed, now);
}

#[test]
fn orders_by_priority_then_name_and_says_who_is_full() {
    let now = Instant::now();
    let mut routes = Routes::new(rules(9, [limits("b", 1, 1), limits("c", 0, 1), limits("a", 1, 1)]), now);
    assert_eq!(order(&routes, now), ["c", "a", "b"]);
    let ticket = routes.begin("c", now).unwrap().unwrap();
    assert_eq!(
        (order(&routes, now), skipped(&routes, now)),
        (vec!["a".into(), "b".into()], vec![("c".into(), "full")])
    );
    assert!(routes.has_room(now));
    assert_eq!(routes.begin("c", now).unwrap().unwrap_err(), Skip::Full(Full::Calls { max: 1 }));
    assert!(routes.begin("x", now).is_none());
    routes.end(ticket, Verdict::Unanswered, now);
    assert_eq!((order(&routes, now).len(), routes.active()), (3, 0));
}

#[test]
fn the_engine_has_its_own_bounds_and_a_refusal_takes_nothing() {
    let now = Instant::now();
    let mut routes = Routes::new(rules(1, [limits("a", 0, 5), limits("b", 0, 5)]), now);
    let ticket = routes.begin("a", now).unwrap().unwrap();
    assert_eq!(routes.begin("b", now).unwrap().unwrap_err(), Skip::Full(Full::Calls { max: 1 }));
    assert_eq!((routes.active(), routes.active_on("a"), routes.active_on("b")), (1, 1, 0));
    assert!(routes.has_room(now), "on the trunks");
    assert!(routes.check(now).is_err());
    routes.end(ticket, Verdict::Nothing, now);
    assert!(routes.begin("b", now).unwrap().is_ok());
}

#[test]
fn a_call_of_the_house_counts_in_the_engine_and_on_no_trunk() {
    let now = Instant::now();
    let mut routes = Routes::new(rules(1, [limits("a", 0, 5)]), now);
    let ticket = routes.begin_on_net("phone:desk", now).unwrap();
    assert_eq!((routes.active(), routes.active_on("a")), (1, 0));
    assert_eq!(routes.begin_on_net("phone:desk", now).unwrap_err(), Full::Calls { max: 1 });
    assert_eq!(routes.begin("a", now).unwrap().unwrap_err(), Skip::Full(Full::Calls { max: 1 }));
    routes.end(ticket, Verdict::Failed, now);
    assert_eq!((routes.active(), order(&routes, now).len()), (0, 1), "no trunk is blamed");
}

#[test]
fn a_reload_keeps_what_is_running_and_what_is_known() {
    let now = Instant::now();
    let mut routes = Routes::new(rules(9, [limits("a", 0, 2), limits("b", 1, 2), limits("d", 2, 2)]), now);
    let on_a = routes.begin("a", now).unwrap().unwrap();
    let on_b = routes.begin("b", now).unwrap().unwrap();
    fail(&mut routes, "d", now);
    fail(&mut routes, "d", now);
    let later = now + secs(5);
    routes.update(rules(9, [limits("a", 0, 1), limits("c", 5, 1), limits("d", 2, 2)]), later);
    assert_eq!(order(&routes, later), ["c"]);
    assert_eq!(skipped(&routes, later), [("a".into(), "full"), ("d".into(), "breaker_open")]);
    routes.end(on_b, Verdict::Unanswered, later);
    assert_eq!(routes.active(), 1, "a call on a trunk that is gone still ends");
    routes.end(on_a, Verdict::Unanswered, later);
    assert_eq!(order(&routes, later), ["a", "c"]);
}

#[test]
fn each_reason_to_skip_a_trunk_is_named() {
    let now = Instant::now();
    let elsewhere = TrunkLimits {
        serves: vec!["+1".parse().unwrap(), "+4930".parse().unwrap()],
        ..limits("elsewhere", 0, 5)
    };
    let here =
        TrunkLimits { serves: vec!["+1".parse().unwrap(), "+44".parse().unwrap()], ..limits("here", 9, 5) };
    let slow = TrunkLimits { max_cps: 1, ..limits("slow", 0, 5) };
    let all = [elsewhere, here, slow, limits("broken", 0, 5), limits("gone", 0, 5), limits("tried", 0, 5)];
    let mut routes = Routes::new(rules(99, all), now);
    fail(&mut routes, "broken", now);
    fail(&mut routes, "broken", now);
    routes.set_unreachable("gone", Some("no answer to OPTIONS".to_owned()));
    let slow = routes.begin("slow", now).unwrap().unwrap();
    let choice = routes.choose(&callee(), &[("tried".to_owned(), "503 Busy Here".to_owned())], now);
    let found: Vec<_> =
        choice.skipped.iter().map(|skip| (skip.trunk.as_str(), skip.code, skip.reason.as_str())).collect();
    let expected = [
        ("broken", "breaker_open", "the circuit breaker is open"),
        ("elsewhere", "not_served", "it does not serve this number"),
        ("gone", "unreachable", "it cannot be reached: no answer to OPTIONS"),
        ("slow", "calls_per_second", "the limit of new calls per second is reached"),
        ("tried", "failed", "it failed just now: 503 Busy Here"),
    ];
    assert_eq!(found, expected);
    assert_eq!(choice.candidates.len(), 1);
    assert_eq!(
        (choice.candidates[0].trunk.as_str(), choice.candidates[0].reason.as_str()),
        ("here", "priority 9")
    );
    assert_eq!((choice.skipped[0].ready, choice.skipped[0].ready_in_s), (Some(now + secs(30)), Some(30)));
    routes.end(slow, Verdict::Nothing, now);
    routes.set_unreachable("gone", None);
    assert!(order(&routes, now).contains(&"gone".to_owned()));
}

#[test]
fn a_forbidden_prefix_is_found() {
    let now = Instant::now();
    let forbidden = vec!["+44909".parse().unwrap(), "+4420".parse().unwrap()];
    let routes = Routes::new(RouteRules { forbidden, ..rules(9, [limits("a", 0, 1)]) }, now);
    assert_eq!(routes.forbidden(&callee()).map(Prefix::as_str), Some("+4420"));
    assert_eq!(routes.forbidden(&"+12025550100".parse().unwrap()), None);
}

#[test]
fn an_open_breaker_lets_one_call_find_out() {
    let start = Instant::now();
    let at = |seconds| start + secs(seconds);
    let mut routes = Routes::new(rules(9, [limits("a", 0, 5)]), start);
    fail(&mut routes, "a", at(0));
    assert_eq!(order(&routes, at(1)), ["a"], "one failure is not enough");
    fail(&mut routes, "a", at(1));
    assert_eq!(skipped(&routes, at(30)), [("a".into(), "breaker_open")]);
    assert!(!routes.has_room(at(30)) && routes.has_room(at(31)));
    let probe = routes.begin("a", at(31)).unwrap().unwrap();
    assert_eq!(skipped(&routes, at(31)), [("a".into(), "breaker_probing")], "exactly one");
    assert!(matches!(routes.begin("a", at(31)), Some(Err(Skip::Tripped(Tripped::Probing)))));
    routes.end(probe, Verdict::Failed, at(40));
    assert_eq!(skipped(&routes, at(99)), [("a".into(), "breaker_open")], "twice as long");
    let mut probe = routes.begin("a", at(100)).unwrap().unwrap();
    routes.reached(&mut probe, at(102));
    assert_eq!(order(&routes, at(102)), ["a"], "it rings: nobody waits for the end of the call");
    routes.end(probe, Verdict::Answered { mos: Some(4.4) }, at(200));
    assert_eq!(routes.states(at(200))["a"].score.post_dial_ms, Some(2000));
    fail(&mut routes, "a", at(201));
    assert_eq!(order(&routes, at(201)), ["a"], "closed, and counting from nothing");
}

#[test]
fn what_one_process_tells_another_gives_the_same_choice() {
    let now = Instant::now();
    let trunks = || rules(9, [limits("a", 0, 5), limits("b", 0, 1), limits("c", 0, 5), limits("d", 1, 5)]);
    let trunks = || RouteRules { strategy: Strategy::Quality, ..trunks() };
    let mut routes = Routes::new(trunks(), now);
    fail(&mut routes, "a", now);
    fail(&mut routes, "a", now);
    let running = routes.begin("b", now).unwrap().unwrap();
    fail(&mut routes, "c", now);
    routes.set_unreachable("d", Some("silent".to_owned()));
    let told = serde_json::to_string(&routes.states(now)).unwrap();

    let later = now + secs(4);
    let mut other = Routes::new(trunks(), later);
    let states: std::collections::BTreeMap<String, TrunkState> = serde_json::from_str(&told).unwrap();
    for (name, state) in &states {
        other.suppose(name, state, secs(4), later);
    }
    other.suppose("gone", &states["a"], secs(4), later);
    let (ours, theirs) = (routes.choose(&callee(), &[], now), other.choose(&callee(), &[], later));
    assert_eq!(theirs.candidates, ours.candidates);
    assert_eq!(theirs.skipped[0].ready_in_s, Some(26), "four seconds have passed");
    let codes = |choice: &Choice| choice.skipped.iter().map(|skip| skip.code).collect::<Vec<_>>();
    assert_eq!(codes(&theirs), ["breaker_open", "full", "unreachable"]);
    assert!(routes.has_room(now), "the trunk that failed once");
    assert_eq!(codes(&theirs), codes(&ours));
    routes.end(running, Verdict::Nothing, later);
}

#[test]
fn a_probe_that_says_nothing_leaves_the_next_call_to_find_out() {
    let start = Instant::now();
    let mut routes = Routes::new(rules(9, [limits("a", 0, 5)]), start);
    fail(&mut routes, "a", start);
    fail(&mut routes, "a", start);
    let later = start + secs(30);
    let probe = routes.begin("a", later).unwrap().unwrap();
    routes.end(probe, Verdict::Nothing, later);
    let again = routes.begin("a", later).unwrap().unwrap();
    assert!(matches!(routes.begin("a", later), Some(Err(Skip::Tripped(Tripped::Probing)))));
    routes.end(again, Verdict::Unanswered, later);
    assert_eq!(order(&routes, later), ["a"], "a busy callee is a working trunk");
}

#[test]
fn calls_from_before_do_not_keep_an_open_breaker_open() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerLimits { failures: 1, open: secs(10) });
    breaker.failed(Pass::Ordinary, start);
    breaker.failed(Pass::Ordinary, start + secs(9));
    assert_eq!(breaker.take(start + secs(10)), Ok(Pass::Probe));
    breaker.failed(Pass::Ordinary, start + secs(11));
    assert_eq!(breaker.check(start + secs(11)), Err(Tripped::Probing));
    breaker.failed(Pass::Probe, start + secs(12));
    assert_eq!(breaker.check(start + secs(31)), Err(Tripped::Open { until: start + secs(32) }));
    // Doubling ends at a quarter of an hour.
    let mut now = start + secs(32);
    for _ in 0..20 {
        assert_eq!(breaker.take(now), Ok(Pass::Probe));
        breaker.failed(Pass::Probe, now);
        let Err(Tripped::Open { until }) = breaker.check(now) else { panic!("closed") };
        assert!(until <= now + secs(900));
        now = until;
    }
    assert_eq!(breaker.check(now - secs(1)), Err(Tripped::Open { until: now }));
}

proptest! {
    /// Whatever happens: at most one probe, no call through an open breaker, never more than N failures in a row while
    /// closed, and a success always closes.
    #[test]
    fn a_breaker_keeps_its_word(failures in 1_u32..5, events in proptest::collection::vec((0_u8..6, 0_u64..40), 0..200)) {
        let limits = BreakerLimits { failures, open: secs(20) };
        let mut breaker = Breaker::new(limits);
        let (mut now, mut row, mut probes) = (Instant::now(), 0, 0);
        let mut passes = Vec::new();
        for (event, later) in events {
            now += secs(later);
            match event {
                0 | 1 => if let Ok(pass) = breaker.take(now) {
                    if pass == Pass::Probe {
                        prop_assert_eq!(probes, 0);
                        probes += 1;
                    } else {
                        prop_assert!(row < failures, "{} failures in a row and still closed", row);
                    }
                    passes.push(pass);
                },
                2 if !passes.is_empty() => {
                    passes.remove(0);
                    breaker.succeeded();
                    row = 0;
                    // A probe that is under way is none any more: the breaker is closed.
                    probes = 0;
                    passes.iter_mut().for_each(|pass| *pass = Pass::Ordinary);
                    prop_assert!(breaker.check(now).is_ok());
                }
                3 | 4 if !passes.is_empty() => {
                    let pass = passes.remove(0);
                    if pass == Pass::Probe { probes -= 1; }
                    breaker.failed(pass, now);
                    row += 1;
                    if let Err(Tripped::Open { until }) = breaker.check(now) {
                        prop_assert!(until <= now + secs(900) && until > now);
                    }
                }
                5 if !passes.is_empty() => {
                    let pass = passes.remove(0);
                    if pass == Pass::Probe { probes -= 1; }
                    breaker.abandoned(pass, now);
                }
                _ => {}
            }
        }
    }

    /// Every trunk is either a candidate or skipped with a reason, once; candidates can be begun; all that is taken comes back.
    #[test]
    fn every_trunk_is_accounted_for(
        trunks in proptest::collection::btree_map("[a-e]", (0_u32..3, 1_u32..3, 1_u32..4), 1..5),
        events in proptest::collection::vec((0_usize..8, 0_u8..5, 0_u64..3000), 0..120),
    ) {
        let mut now = Instant::now();
        let all: Vec<_> = trunks.iter().map(|(name, (priority, max_calls, max_cps))| TrunkLimits {
            max_cps: *max_cps, ..limits(name, *priority, *max_calls)
        }).collect();
        let mut routes = Routes::new(rules(5, all), now);
        let mut tickets = Vec::new();
        for (which, what, later) in events {
            now += Duration::from_millis(later);
            let choice = routes.choose(&callee(), &[], now);
            let mut names: Vec<_> = choice.candidates.iter().map(|candidate| candidate.trunk.clone())
                .chain(choice.skipped.iter().map(|skip| skip.trunk.clone())).collect();
            names.sort();
            prop_assert!(names.iter().eq(trunks.keys()), "{:?}", names);
            match what {
                0 | 1 => if let Some(best) = choice.candidates.first() {
                    let room = routes.check(now).is_ok();
                    let begun = routes.begin(&best.trunk, now).unwrap();
                    prop_assert_eq!(begun.is_ok(), room);
                    tickets.extend(begun);
                },
                _ if tickets.is_empty() => {}
                _ => {
                    let mut ticket = tickets.remove(which % tickets.len());
                    if which % 2 == 0 { routes.reached(&mut ticket, now); }
                    let verdicts = [Verdict::Failed, Verdict::Nothing, Verdict::Answered { mos: None }];
                    routes.end(ticket, verdicts[usize::from(what - 2)], now);
                }
            }
            prop_assert_eq!(routes.active() as usize, tickets.len());
        }
        for ticket in tickets { routes.end(ticket, Verdict::Unanswered, now); }
        prop_assert_eq!(routes.active(), 0);
    }
}
