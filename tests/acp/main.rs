//! Agents that speak the Agent Client Protocol, against one that is built on the official crate
//! and does what its prompts say: `tests/acp_agent`.

#![cfg(target_os = "linux")]

mod ear;
mod ends;
mod leave;
mod place;
mod program;
mod sessions;
mod talk;

use std::time::Duration;

use place::Place;
use segue::agents::acp::Probed;

#[tokio::test]
async fn a_probe_says_what_the_agent_is_and_leaves_nothing() {
    let place = Place::new();
    let custody = place.custody.clone();
    let agent = place.agent(&[]);
    let probed = agent.probe(Duration::from_secs(60), Some(custody.clone())).await.unwrap();
    let Probed { protocol, name, version, modes, commands, refused, capabilities, .. } = probed;
    assert_eq!(
        (protocol, name.as_deref(), version.as_deref()),
        (1, Some("acp_agent"), Some("7.0"))
    );
    assert_eq!(modes, ["build", "plan"]);
    assert_eq!(commands.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["fix"]);
    assert_eq!(capabilities["loadSession"], true);
    assert_eq!(refused, None);
    assert_eq!(custody.left(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_probe_of_what_never_answers_ends() {
    let place = Place::new();
    let custody = place.custody.clone();
    let agent = place.agent(&["--mute"]);
    let probed = agent.probe(Duration::from_millis(300), Some(custody.clone())).await;
    let failure = probed.unwrap_err().to_string();
    assert!(failure.contains("not ready within 300ms"), "{failure}");
    assert_eq!(custody.left(), Vec::<u32>::new());
    assert_eq!(custody.starts(), 1);
}
