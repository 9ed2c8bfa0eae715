//! Calls from the real engine to programs that others wrote: SIPp and baresip. What they said is compared with what we
//! recorded, and what they heard with what we said. Speech is the human speech of Debian's Asterisk prompts.

mod prompts;
#[allow(dead_code, reason = "other tests need more of it")]
mod support {
    pub mod baresip;
    pub mod engine;
    pub mod peer;
    pub mod sipp;
    pub mod sound;
}

use callahead::call::{AttemptState, EndCause};
use callahead::transcribe::wer;
use support::baresip::Baresip;
use support::engine::{CREDENTIALS, Ended, MESSAGE, PROMPT_AND_MESSAGE, TestEngine};
use support::sipp::{FRAME, Sipp};
use support::sound;

const NUMBER: &str = "+12025550123";

/// Asserts that every sample of `said` is in `heard`, in one piece: no frame lost, doubled or moved. Returns where.
fn whole(heard: &[i16], said: &[i16]) -> usize {
    let found = heard.windows(said.len()).position(|window| window == said);
    found.unwrap_or_else(|| panic!("{}", difference(heard, said)))
}

/// Where each frame of `said` went, for a failed test's message.
fn difference(heard: &[i16], said: &[i16]) -> String {
    let frames = said.chunks_exact(FRAME);
    let total = frames.len();
    let lost = frames.filter(|frame| !heard.windows(FRAME).any(|window| window == *frame)).count();
    format!(
        "of {total} frames said, {lost} are nowhere among the {} heard; others moved",
        heard.len() / FRAME
    )
}

fn assert_message_taken(ended: &Ended) {
    assert_eq!(ended.attempt.state, AttemptState::Ended);
    assert_eq!(ended.attempt.cause, Some(EndCause::Human), "{:?}", ended.attempt);
    assert_eq!(ended.call.outcome.as_deref(), Some("instructions"), "{:?}", ended.call);
    assert!(ended.attempt.answered_at.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_speaks_and_every_frame_is_recorded_and_understood() {
    let said = prompts::some(4);
    let sounds: Vec<_> = said.iter().map(|prompt| prompt.path.clone()).collect();
    let peer = Sipp::start("speak", 1, &sounds);
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let ended = engine.ended(engine.call(NUMBER).await).await;
    assert_message_taken(&ended);
    assert!(ended.attempt.ringing_at.is_some());

    let recording = ended.recording();
    let (left, _) = engine.channels(recording);
    let speech = peer.said();
    let at = whole(&left, &speech);
    println!("{} frames said, all heard, from {} ms on", speech.len() / FRAME, at / 8);

    let transcript = engine.transcribe(recording, &prompts::model()).await;
    let text: Vec<_> = said.iter().map(|prompt| prompt.text.as_str()).collect();
    let wer = wer::compare(&text.join(" "), transcript.text.reveal());
    println!("said  {}\nheard {}", text.join(" "), transcript.text.reveal());
    println!("WER {:.1} % of {} words", wer.percent(), wer.words);
    assert!(wer.percent() < 20.0, "{wer:?}");
    peer.finish();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_is_busy_and_nothing_is_kept() {
    let peer = Sipp::start("busy", 1, &[]);
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let ended = engine.ended(engine.call(NUMBER).await).await;
    assert_eq!(ended.attempt.cause, Some(EndCause::Busy), "{:?}", ended.attempt);
    assert_eq!((ended.attempt.sip_status, ended.attempt.answered_at), (Some(486), None));
    assert_eq!(ended.call.outcome.as_deref(), Some("busy"));
    assert!(ended.recordings.is_empty(), "{:?}", ended.recordings);
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_challenges_twice_and_verifies_our_digest() {
    let sound = prompts::named("conf-getpin").path;
    let peer = Sipp::start("auth", 1, std::slice::from_ref(&sound));
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let ended = engine.ended(engine.call(NUMBER).await).await;
    assert_message_taken(&ended);
    whole(&engine.channels(ended.recording()).0, &peer.said());
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_refuses_a_wrong_password() {
    let peer = Sipp::start("auth", 1, &[]);
    let engine = TestEngine::start(peer.address, MESSAGE, &[], "guessed").await;
    let ended = engine.ended(engine.call(NUMBER).await).await;
    assert_eq!(ended.attempt.cause, Some(EndCause::TrunkError), "{:?}", ended.attempt);
    assert_eq!((ended.attempt.sip_status, ended.attempt.answered_at), (Some(403), None));
    assert!(ended.recordings.is_empty(), "{:?}", ended.recordings);
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_rings_with_early_media_and_answers_late() {
    let sound = prompts::named("conf-getpin").path;
    let peer = Sipp::start("late", 1, std::slice::from_ref(&sound));
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let call = engine.call(NUMBER).await;
    let attempt = engine.seen(call, |attempt| attempt.ringing_at.is_some()).await;
    assert_eq!(
        (attempt.state, attempt.answered_at),
        (AttemptState::Ringing, None),
        "early media is no answer"
    );
    let ended = engine.ended(call).await;
    assert_message_taken(&ended);
    let (left, _) = engine.channels(ended.recording());
    whole(&left, &peer.said());
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_rings_reliably_updates_and_offers_again() {
    let sound = prompts::named("conf-getpin").path;
    let peer = Sipp::start("offers", 1, std::slice::from_ref(&sound));
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let ended = engine.ended(engine.call(NUMBER).await).await;
    assert_message_taken(&ended);
    // SIPp checked the messages; the re-INVITE in mid-speech costs no frame.
    whole(&engine.channels(ended.recording()).0, &peer.said());
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_takes_ten_calls_at_once() {
    const CALLS: usize = 10;
    let sound = prompts::named("conf-getpin").path;
    let peer = Sipp::start("speak", CALLS as u32, std::slice::from_ref(&sound));
    let speech = peer.said();
    let engine = TestEngine::start(peer.address, MESSAGE, &[], CREDENTIALS.1).await;
    let mut calls = Vec::new();
    for index in 0..CALLS {
        calls.push(engine.call(&format!("+120255501{index:02}")).await);
    }
    let mut spans = Vec::new();
    for call in calls {
        let ended = engine.ended(call).await;
        assert_message_taken(&ended);
        let (left, _) = engine.channels(ended.recording());
        whole(&left, &speech);
        spans.push((ended.attempt.answered_at.unwrap(), ended.attempt.ended_at.unwrap()));
    }
    let last_answer = spans.iter().map(|span| span.0).max().unwrap();
    assert!(spans.iter().all(|span| span.1 > last_answer), "all ten talked at the same time: {spans:?}");
    println!("{CALLS} calls, {} frames each, all whole", speech.len() / FRAME);
    assert_eq!(engine.recorded_files().len(), CALLS, "ten WAV files, no journal left over");
    peer.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_hears_our_prompt_and_we_hear_its_speech() {
    let prompt = prompts::named("conf-getpin").path;
    let said = sound::read(&prompts::named("basic-pbx-ivr-main").path)[..8 * 8000].to_vec();
    let peer = Baresip::start(NUMBER, &said);
    let engine = TestEngine::start(peer.address, PROMPT_AND_MESSAGE, &[&prompt], CREDENTIALS.1).await;
    let ended = engine.ended(engine.call(NUMBER).await).await;
    assert_message_taken(&ended);
    let (left, right) = engine.channels(ended.recording());

    let prompt = sound::read(&prompt);
    let heard = peer.finish();
    for (what, whole, part) in [
        ("baresip heard our prompt", &heard, &prompt),
        ("our recording has our prompt", &right, &prompt),
        ("our recording has what baresip said", &left, &said),
    ] {
        let (at, likeness) = sound::find(whole, part);
        println!("{what}, from sample {at} on, correlation {likeness:.4}");
        assert!(likeness > 0.9, "{what}: {likeness:.4} at sample {at} of {}", whole.len());
    }
    // The measure can tell speech from other speech, and neither side's sound is on the other's channel.
    for (what, whole, part) in
        [("left", &left, &prompt), ("right", &right, &said), ("what baresip heard", &heard, &said)]
    {
        let (_, likeness) = sound::find(whole, part);
        println!("control: {what}, correlation with the other side's speech {likeness:.4}");
        assert!(likeness < 0.3, "{what} has the other side's speech: {likeness:.4}");
    }
}
