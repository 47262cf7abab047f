//! Sessions: kept warm, continued by another process, chosen, lost.

use std::sync::atomic::Ordering;

use segue::agents::{Agent, Resume, Update};

use super::{
    ear::Ear,
    place::{Place, answer, words},
};

#[tokio::test]
async fn a_program_is_kept_for_the_next_turn_and_closed_with_the_chat() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]);
    assert_eq!(answer(place.first(&agent, &ear, "before").await), "0 before");
    assert_eq!(answer(place.next(&agent, &ear, "before").await), "1 before");
    assert_eq!(place.custody.starts(), 1);
    assert!(!place.custody.left().is_empty());
    agent.close(place.chat).await;
    assert!(place.custody.left().is_empty());
}

/// The second turn is of another process, which knows the session and tells nothing of it again.
async fn continues(manners: &[&str]) {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(manners);
    answer(place.first(&agent, &ear, "say one").await);
    place.custody.kill().await;
    let second = Ear::default();
    let turn =
        place.turn("before\nsay-as old-0 late\nsay-as new two", Resume::Continue(ear.session()));
    let reply = answer(place.take(&agent, &second, turn).await);
    assert_eq!(place.custody.starts(), 2, "{manners:?}");
    assert_eq!(reply, "two", "{manners:?}");
    let late = if manners == ["--no-commands"] { "|late" } else { "" };
    assert_eq!(second.text(), format!("1 before{late}|two"), "{manners:?}");
    assert_eq!(second.notes(), [format!("session {}", ear.session()), "prompting".into()]);
}

#[tokio::test]
async fn another_process_continues_a_session_without_its_history() {
    continues(&["--no-commands"]).await;
}

#[tokio::test]
async fn the_history_of_a_session_that_is_loaded_is_not_told_again() {
    continues(&["--no-resume"]).await;
}

#[tokio::test]
async fn the_history_is_not_told_again_by_who_should_not_tell_it_either() {
    continues(&["--replay"]).await;
}

#[tokio::test]
async fn a_session_that_the_agent_does_not_know_is_lost_and_nothing_is_prompted() {
    for manners in [&[][..], &["--no-resume"], &["--no-resume", "--no-load"]] {
        let (place, ear) = (Place::new(), Ear::default());
        let agent = place.agent(manners);
        answer(place.first(&agent, &ear, "say one").await);
        agent.close(place.chat).await;
        place.forget();
        let lost = words(place.next(&agent, &ear, "say two").await);
        assert_eq!(lost.0, "session_lost", "{lost:?}");
        assert_eq!(ear.notes().len(), 2, "nothing was noted of the second turn");
        assert!(place.custody.left().is_empty());
    }
}

#[tokio::test]
async fn another_folder_or_another_session_is_another_process() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]);
    answer(place.first(&agent, &ear, "say one").await);
    let first = ear.session();
    assert_eq!(answer(place.first(&agent, &ear, "before").await), "0 before");
    assert_ne!(ear.session(), first);
    assert_eq!(place.custody.starts(), 2);
    let mut turn = place.turn("before", Resume::Continue(first));
    turn.folder = turn.folder.join(".");
    assert_eq!(answer(place.take(&agent, &ear, turn).await), "1 before");
    assert_eq!(place.custody.starts(), 3);
}

#[tokio::test]
async fn modes_are_chosen_and_what_is_not_offered_is_refused() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]);
    let mut turn = place.turn("which", Resume::Fresh);
    turn.mode = Some("plan".into());
    assert_eq!(answer(place.take(&agent, &ear, turn).await), "plan");
    let mut turn = place.turn("which", Resume::Continue(ear.session()));
    // By its name.
    turn.mode = Some("BUILD".into());
    assert_eq!(answer(place.take(&agent, &ear, turn).await), "build");
    let mut turn = place.turn("which", Resume::Continue(ear.session()));
    turn.mode = Some("yolo".into());
    let (name, message) = words(place.take(&agent, &ear, turn).await);
    assert_eq!(name, "failed");
    assert!(message.ends_with("no mode `yolo`; it offers `build`, `plan`"), "{message}");
    let mut turn = place.turn("which", Resume::Fresh);
    turn.model = Some("gold".into());
    let (name, message) = words(place.take(&agent, &ear, turn).await);
    assert_eq!(name, "failed");
    assert!(message.starts_with("session/set_model: "), "{message}");
}

#[tokio::test]
async fn a_mode_that_the_agent_goes_to_is_told() {
    let (place, ear) = (Place::new(), Ear::default());
    answer(place.first(&place.agent(&[]), &ear, "mode plan").await);
    assert_eq!(ear.updates(), [Update::Mode { mode: "plan".into() }]);
}

#[tokio::test]
async fn nothing_is_prompted_in_a_turn_that_is_not_ours_any_more() {
    let (place, ear) = (Place::new(), Ear::default());
    ear.refuses.store(true, Ordering::Relaxed);
    let agent = place.agent(&[]);
    let (name, message) = words(place.first(&agent, &ear, "say one").await);
    assert_eq!((name, message.as_str()), ("failed", "it is not this worker's turn any more"));
    assert!(place.custody.left().is_empty());
    ear.refuses.store(false, Ordering::Relaxed);
    assert_eq!(answer(place.first(&agent, &ear, "before").await), "0 before");
}
