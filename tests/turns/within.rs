//! A writing agent that is kept in its folder.

use std::fs;

use segue::{ChatSpec, id::ChatId};

use super::place::{Place, agent, engine, run};

#[test]
fn an_agent_that_is_kept_within_writes_in_its_folder_and_nowhere_else() {
    run(async {
        let place = Place::new();
        let (own, other) = (place.folder("own"), place.folder("other"));
        fs::write(other.join("theirs"), "kept").unwrap();
        let agents = [("kept", agent().keep_within()), ("free", agent())];
        let builder = agents
            .into_iter()
            .fold(engine(place.path()), |builder, (name, agent)| builder.agent(name, agent));
        let engine = builder.start().await.unwrap();
        // Each way out of the folder, said with what came of it.
        let attempts = [
            ("echo x > inside", true),
            ("mkdir below && echo x > below/file", true),
            ("setsid -w sh -c 'echo x > later'", true),
            ("echo x > ../other/file", false),
            ("echo x >> ../other/theirs", false),
            ("ln -s ../other out; echo x > out/file", false),
            ("ln ../other/theirs mine", false),
            ("mv inside ../other/moved", false),
            ("cd ..; mkdir another", false),
            ("rm ../other/theirs", false),
        ];
        for (name, is_kept) in [("kept", true), ("free", false)] {
            let chat = engine.chat(ChatId::new(), ChatSpec::default()).await.unwrap();
            let shell = |(attempt, _): &(&str, bool)| {
                format!("shell ({attempt}) 2> /dev/null && echo done || echo failed\n")
            };
            let prompt: String = attempts.iter().map(shell).collect();
            let folder = own.to_str().unwrap();
            let task = chat.send(name, &prompt).folder(folder).await.unwrap();
            let said: String = task.output().await.unwrap();
            let wanted =
                attempts.map(|(_, inside)| if inside || !is_kept { "done" } else { "failed" });
            assert_eq!(said.split_whitespace().collect::<Vec<_>>(), wanted, "{name}");
            assert!(own.join("later").exists());
            assert_eq!(other.join("theirs").exists(), is_kept);
            assert_eq!(other.join("moved").exists(), !is_kept);
            if is_kept {
                assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "nothing has come there");
            }
            fs::remove_dir_all(&own).unwrap();
            fs::create_dir(&own).unwrap();
        }
        engine.shutdown().await.unwrap();
    });
}
