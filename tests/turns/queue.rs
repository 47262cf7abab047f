//! Prompts that wait for each other in a chat.

use std::path::Path;

use segue::{ChatSpec, id::ChatId};

use super::{
    place::{Place, agent, engine, run},
    read,
};

/// What the only session of a folder was prompted with.
fn given(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join(".acp_agent")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let sessions: Vec<_> = files.filter(|path| path.extension().is_none()).collect();
    assert_eq!(sessions.len(), 1);
    read(&sessions[0]).lines().map(str::to_owned).collect()
}

#[test]
fn each_prompt_that_waits_in_a_chat_is_given_once_and_with_no_other() {
    const PROMPTS: usize = 4;
    run(async {
        let place = Place::new();
        let engine = engine(place.path()).agent("one", agent()).start().await.unwrap();
        let mut tasks = Vec::new();
        for chat in 0..4 {
            let folder = place.folder(&chat.to_string());
            let chat = engine.chat(ChatId::new(), ChatSpec::default()).await.unwrap();
            for no in 0..PROMPTS {
                let prompt = format!("rest 10\nsay this is {no}");
                let folder = folder.to_str().unwrap();
                tasks.push((no, chat.send("one", &prompt).folder(folder).await.unwrap()));
            }
        }
        for (no, task) in tasks {
            assert_eq!(task.output::<String>().await.unwrap(), format!("this is {no}"));
        }
        for chat in 0..4 {
            let mut given = given(&place.folder(&chat.to_string()));
            given.sort();
            let wanted: Vec<_> =
                (0..PROMPTS).map(|no| format!("rest 10; say this is {no}")).collect();
            assert_eq!(given, wanted);
        }
        engine.shutdown().await.unwrap();
    });
}
