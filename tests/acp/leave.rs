//! Leave: what people are asked, what they are not, and what the agent is answered.

use segue::{
    agents::{
        ChoiceKind, Resume, ToolStatus, Update,
        acp::{Quirks, ReadOnly},
    },
    model::Access,
};

use super::{
    ear::Ear,
    place::{Place, answer, words},
};

async fn asks(choice: &'static str, prompt: &str) -> (String, Ear) {
    let (place, ear) = (Place::new(), Ear::choosing(choice));
    let reply = answer(place.first(&place.agent(&[]), &ear, prompt).await);
    (reply, ear)
}

#[tokio::test]
async fn a_person_is_asked_and_obeyed() {
    let (reply, ear) = asks("once", "ask c1 edit").await;
    assert_eq!(reply, "once");
    let asked = ear.asks.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].question.as_str(), asked[0].call.id.as_str()), ("may I c1?", "c1"));
    let kinds: Vec<_> = asked[0].options.iter().map(|option| option.kind).collect();
    assert_eq!(kinds, [ChoiceKind::AllowAlways, ChoiceKind::AllowOnce, ChoiceKind::RejectOnce]);
    assert_eq!(asks("no", "ask c1 edit").await.0, "no");
    assert_eq!(asks("nobody", "ask c1 edit").await.0, "cancelled");
    assert_eq!(asks("something else", "ask c1 edit").await.0, "cancelled");
    assert_eq!(asks("once", "ask-both a b").await.0, "once and once");
}

#[tokio::test]
async fn a_call_that_fails_because_somebody_said_no_was_denied() {
    let prompt = "tool c1 edit\nask c1 edit\nfail c1\ntool c2 edit\nfail c2";
    let (_, ear) = asks("no", prompt).await;
    let calls: Vec<_> = ear.tools().into_iter().map(|it| (it.id, it.status, it.denied)).collect();
    let call = |id: &str, status, denied| (id.to_owned(), Some(status), denied);
    use ToolStatus::{Failed, Running};
    let wanted = [
        call("c1", Running, false),
        call("c1", Failed, true),
        call("c2", Running, false),
        call("c2", Failed, false),
    ];
    assert_eq!(calls, wanted);
    let (_, ear) = asks("once", "ask c1 edit\nfail c1").await;
    assert!(!ear.tools()[0].denied, "it was allowed, and failed by itself");
}

fn quirks() -> Quirks {
    let mut quirks = Quirks::default();
    quirks.read_only = Some(ReadOnly::Mode("plan".into()));
    quirks
}

#[tokio::test]
async fn where_nothing_may_be_changed_nobody_can_allow_it() {
    let (place, ear) = (Place::new(), Ear::choosing("ever"));
    let agent = place.agent(&[]).quirks(quirks()).unconfined();
    let mut turn = place.turn("which\nask c1 edit\nask c2 read", Resume::Fresh);
    turn.access = Access::ReadOnly;
    // What the turn wants is less than what it may not.
    turn.mode = Some("build".into());
    assert_eq!(answer(place.take(&agent, &ear, turn).await), "plannoever");
    assert_eq!(ear.asks.lock().unwrap().len(), 1, "only whether it may read");
    // A turn that may write is not taken by the same process.
    assert_eq!(answer(place.next(&agent, &ear, "which").await), "build");
    assert_eq!(place.custody.starts(), 2);
}

#[tokio::test]
async fn a_session_that_leaves_its_read_only_mode_is_ended() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]).quirks(quirks()).unconfined();
    let mut turn = place.turn("mode plan\nsay a\nmode build\nwait", Resume::Fresh);
    turn.access = Access::ReadOnly;
    let (name, message) = words(place.take(&agent, &ear, turn).await);
    assert_eq!(name, "failed");
    assert!(message.contains("left its read-only mode for `build`"), "{message}");
    assert_eq!(ear.updates().last(), Some(&Update::Mode { mode: "build".into() }));
    assert!(place.custody.left().is_empty());
}

#[tokio::test]
async fn an_agent_that_nothing_keeps_from_writing_is_not_started_to_read() {
    let (place, ear) = (Place::new(), Ear::default());
    let mut turn = place.turn("say a", Resume::Fresh);
    turn.access = Access::ReadOnly;
    let agent = place.agent(&[]).unconfined();
    let (name, message) = words(place.take(&agent, &ear, turn).await);
    assert_eq!((name, place.custody.starts()), ("failed", 0), "{message}");
}
