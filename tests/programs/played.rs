//! Turns that are played, and written down.

use segue::{
    agents::{Agent, Block, Outcome, Resume, Turn, Update},
    id::{ChatId, TaskId},
    model::{Payload, TaskSpec},
    testing::{Heard, Recorder, Replay},
};

fn turn() -> Turn {
    let task = TaskSpec::new(TaskId::new(), "agent", Payload::text(""));
    Turn::new(ChatId::new(), task, vec![Block::text("Do it.")])
}

fn said(text: &str) -> Update {
    Update::Text { message: None, text: text.to_owned() }
}

#[tokio::test]
async fn a_turn_is_played_as_it_was_recorded() {
    let agent = Replay::new([said("4"), said("2")]).session("s");
    let recorder = Recorder::default();
    let outcome = agent.turn(turn(), &recorder).await;
    assert!(matches!(outcome, Outcome::Completed(reply) if reply.text == "42"));
    let told = [said("4"), said("2")].map(Heard::Told);
    let [session, prompting, rest @ ..] = &recorder.heard()[..] else { panic!("{recorder:?}") };
    assert_eq!((session, prompting), (&Heard::Session("s".into()), &Heard::Prompting));
    assert_eq!(rest, told);
    assert_eq!(recorder.messages(), ["42"]);

    // A session that goes on has its name.
    let recorder = Recorder::default();
    let mut turn = turn();
    turn.resume = Resume::Continue("s".into());
    turn.stop.cancel();
    assert!(matches!(agent.turn(turn, &recorder).await, Outcome::Cancelled));
    assert_eq!(recorder.heard(), [Heard::Prompting]);
}

#[tokio::test]
async fn a_turn_ends_as_it_is_told_to() {
    let lost = || Outcome::SessionLost { message: "gone".into() };
    let outcome = Replay::new([]).ending(lost).turn(turn(), &Recorder::default()).await;
    assert!(matches!(outcome, Outcome::SessionLost { .. }), "{outcome:?}");
}
