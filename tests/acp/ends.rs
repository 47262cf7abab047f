//! The ends of turns that are no answers.

use std::time::Duration;

use segue::agents::{Outcome, Resume};

use super::{
    ear::Ear,
    place::{Place, answer, words},
};

#[tokio::test]
async fn an_agent_that_dies_in_the_middle_of_a_turn_leaves_it_interrupted() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]);
    for prompt in ["say a\ncrash", "half {\"jsonrpc\":\"2.0\",\"met\ncrash"] {
        let (name, message) = words(place.first(&agent, &ear, prompt).await);
        assert_eq!(name, "interrupted");
        assert!(message.contains("exit status: 3"), "{message}");
        assert!(message.contains("something broke inside"), "{message}");
    }
    assert_eq!(answer(place.next(&agent, &ear, "before").await), "1 before");
}

#[tokio::test]
async fn an_agent_is_dead_though_what_it_started_holds_its_output() {
    let (place, ear) = (Place::new(), Ear::default());
    let (name, message) = words(place.first(&place.agent(&[]), &ear, "say a\nchild").await);
    assert_eq!(name, "interrupted", "{message}");
    assert!(place.custody.left().is_empty());
}

#[tokio::test]
async fn an_agent_that_says_nothing_for_too_long_is_ended() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]).silence(Duration::from_millis(200));
    let (name, message) = words(place.first(&agent, &ear, "say a\ndeaf").await);
    assert_eq!(name, "interrupted");
    assert!(message.contains("said nothing for 200ms"), "{message}");
    assert!(place.custody.left().is_empty());
}

#[tokio::test]
async fn a_turn_that_is_stopped_is_cancelled_whatever_the_agent_answers() {
    for prompt in ["say a\nwait", "say a\nwait-error", "say a\ndeaf", "say a\nask c1 edit"] {
        let (place, ear) = (Place::new(), Ear::default());
        let agent = place.agent(&[]);
        let turn = place.turn(prompt, Resume::Fresh);
        let stop = turn.stop.clone();
        let is_asked = prompt.contains("ask");
        let stopping = async {
            ear.until(|ear| ear.text() == "a").await;
            ear.until(|ear| !is_asked || !ear.asks.lock().unwrap().is_empty()).await;
            stop.cancel();
        };
        let (outcome, ()) = tokio::join!(place.take(&agent, &ear, turn), stopping);
        assert!(matches!(outcome, Outcome::Cancelled), "{prompt}: {outcome:?}");
        assert!(place.custody.left().is_empty(), "{prompt}");
        if is_asked {
            assert_eq!(ear.text(), "a|cancelled", "the agent is told that nobody answers");
        }
    }
}

#[tokio::test]
async fn a_turn_that_is_stopped_before_its_prompt_prompts_nothing() {
    let (place, ear) = (Place::new(), Ear::default());
    let turn = place.turn("say a", Resume::Fresh);
    turn.stop.cancel();
    let outcome = place.take(&place.agent(&["--mute"]), &ear, turn).await;
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    assert_eq!(ear.notes(), Vec::<String>::new());
    assert!(place.custody.left().is_empty());
}

#[tokio::test]
async fn an_agent_that_is_not_ready_has_crashed() {
    let (place, ear) = (Place::new(), Ear::default());
    let (name, message) = words(place.first(&place.agent(&["--dead"]), &ear, "say a").await);
    assert_eq!(name, "crashed");
    assert!(message.contains("no licence for this machine"), "{message}");
    let agent = place.agent(&["--mute"]).starting(Duration::from_millis(200));
    let (name, message) = words(place.first(&agent, &ear, "say a").await);
    assert_eq!(name, "crashed");
    assert!(message.contains("not ready within 200ms"), "{message}");
    let (name, message) = words(place.first(&place.agent(&["--version-9"]), &ear, "say a").await);
    assert_eq!(name, "failed");
    assert!(message.contains("version 9"), "{message}");
    let agent = place.agent(&[]).program("/no/such/agent");
    assert_eq!(words(place.first(&agent, &ear, "say a").await).0, "failed");
    assert_eq!(ear.notes(), Vec::<String>::new());
    assert!(place.custody.left().is_empty());
}

#[tokio::test]
async fn what_an_agent_says_of_its_end_has_a_name() {
    for (prompt, name) in [
        ("say a\nstop max_tokens", "limit_reached"),
        ("stop max_turn_requests", "limit_reached"),
        ("say I won't\nstop refusal", "refused"),
        ("stop cancelled", "crashed"),
        ("error -32603 429 Too Many Requests, try again in 2 minutes", "rate_limited"),
        ("error -32603 the model is on fire", "crashed"),
        ("error -32000 Authentication required", "failed"),
    ] {
        let (place, ear) = (Place::new(), Ear::default());
        let agent = place.agent(&[]);
        let outcome = place.first(&agent, &ear, prompt).await;
        assert_eq!(outcome.name(), name, "{prompt}: {outcome:?}");
        if let Outcome::RateLimited { wait, .. } = outcome {
            assert_eq!(wait, Some(Duration::from_secs(120)));
        }
        assert_eq!(answer(place.next(&agent, &ear, "before").await), "1 before", "{prompt}");
    }
}
