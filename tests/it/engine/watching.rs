//! Following runs, chats and everything.

use std::time::Duration;

use segue::{
    ChatSpec, Engine, Flow, SessionSpec, Watch,
    id::{ChatId, SessionId},
    model::{Cursor, Event, Role, RunState, Stream},
};

use super::support::Store;

each_backend!(
    a_run_is_told_from_launch_to_end_without_gaps,
    a_watch_goes_on_from_a_kept_cursor_in_another_process,
    a_chat_is_followed_from_a_second_connection,
    everything_is_told_in_one_order,
    a_dropped_next_misses_nothing,
    a_deleted_chat_is_gone,
    sessions_and_chats_are_listed_and_changed,
);

fn flow() -> Flow<u32, u32> {
    let mut draft = Flow::new("sum");
    let input = draft.input::<u32>();
    let one = draft.code("one", input, async |_, n: u32| Ok(n + 1));
    let two = draft.code("two", (input, one), async |_, (a, b): (u32, u32)| Ok(a + b));
    draft.returns(input, two)
}

async fn start(store: &Store) -> (Engine, Flow<u32, u32>) {
    let flow = flow();
    (store.builder().flow(&flow).start().await.unwrap(), flow)
}

/// A short name of each event until the run's end.
async fn told(watch: &mut Watch) -> (Vec<String>, Vec<i64>, Cursor) {
    let (mut names, mut seqs) = (Vec::new(), Vec::new());
    loop {
        let entry = watch.next().await.unwrap();
        seqs.push(entry.seq);
        for event in entry.events {
            match event {
                Event::RunLaunched { flow, steps } => names.push(format!("{flow} {steps}")),
                Event::StepReleased { name, .. } => names.push(format!("+{name}")),
                Event::StepEnded { name, state, .. } => names.push(format!("{name} {state:?}")),
                Event::RunEnded { state } => {
                    names.push(format!("{state:?}"));
                    return (names, seqs, entry.cursor);
                }
                other => names.push(format!("{other:?}")),
            }
        }
    }
}

const STORY: [&str; 6] = ["sum 2", "+one", "one Completed", "+two", "two Completed", "Completed"];

async fn a_run_is_told_from_launch_to_end_without_gaps(store: Store) {
    let (engine, flow) = start(&store).await;
    let run = engine.launch(&flow, 1).await.unwrap();
    let (names, seqs, _) = told(&mut run.watch()).await;
    assert_eq!(names, STORY);
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
    assert_eq!(run.output().await.unwrap(), 3);
}

async fn a_watch_goes_on_from_a_kept_cursor_in_another_process(store: Store) {
    let (engine, flow) = start(&store).await;
    engine.run_until_idle().await.unwrap();
    engine.pause();
    let run = engine.launch(&flow, 1).await.unwrap();
    let first = run.watch().next().await.unwrap();
    let kept = first.cursor.to_string();
    let other = store.builder().connect().await.unwrap();
    let mut watch = other.run(run.id()).watch().since(kept.parse().unwrap());
    assert_eq!(watch.try_next().await.unwrap(), None);
    engine.resume();
    let (names, ..) = told(&mut watch).await;
    assert_eq!(names, STORY[2..], "what came after, and nothing twice");
    assert_eq!(other.run_of(&flow, run.id()).output().await.unwrap(), 3);
}

async fn a_chat_is_followed_from_a_second_connection(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let other = store.builder().connect().await.unwrap();
    let spec = ChatSpec { project: "p".into(), ..ChatSpec::default() };
    let chat = engine.chat(ChatId::new(), spec).await.unwrap();
    let mut watch = other.chat_handle(chat.id()).watch();
    for n in 0..20 {
        let said = chat.append(Role::User, &n).await.unwrap();
        let entry = watch.next().await.unwrap();
        let told = &entry.events[..];
        assert!(matches!(told, [Event::MessageAppended { id, .. }] if *id == said));
    }
    let history = other.chat_handle(chat.id()).history(0, 100).await.unwrap();
    let said: Vec<u32> = history.iter().map(|said| said.content.decode().unwrap()).collect();
    assert_eq!(said, (0..20).collect::<Vec<_>>());
    let page = other.chat_handle(chat.id()).history(history[4].seq, 3).await.unwrap();
    assert_eq!(page, history[5..8]);
}

async fn everything_is_told_in_one_order(store: Store) {
    let (engine, flow) = start(&store).await;
    engine.launch(&flow, 1).await.unwrap().output().await.unwrap();
    // It was told: an older transaction of another test may hold it back.
    let mut before = engine.watch(Stream::All);
    let ends = |event: &Event| matches!(event, Event::RunEnded { .. });
    while !before.next().await.unwrap().events.iter().any(ends) {}
    let mut watch = engine.watch(Stream::All).since(engine.now().await.unwrap());
    assert_eq!(watch.try_next().await.unwrap(), None, "only what comes");
    let runs = [engine.launch(&flow, 2).await.unwrap(), engine.launch(&flow, 3).await.unwrap()];
    let (mut cursors, mut ended) = (Vec::new(), 0);
    while ended < 2 {
        let entry = watch.next().await.unwrap();
        assert!(runs.iter().any(|run| entry.stream == Stream::Run(run.id())));
        cursors.push(entry.cursor);
        ended += entry.events.iter().filter(|event| ends(event)).count();
    }
    assert!(cursors.is_sorted_by(|a, b| a < b));
    let mut from_start = engine.watch(Stream::All);
    let mut all = 0;
    while from_start.try_next().await.unwrap().is_some() {
        all += 1;
    }
    assert!(all > cursors.len());
}

async fn a_dropped_next_misses_nothing(store: Store) {
    let (engine, flow) = start(&store).await;
    let mut watch = engine.watch(Stream::All);
    for n in 0..50 {
        let run = engine.launch(&flow, n).await.unwrap();
        let (mut events, mut patience) = (0, Duration::ZERO);
        while events < STORY.len() {
            patience += Duration::from_micros(50);
            match tokio::time::timeout(patience, watch.next()).await {
                Ok(entry) => events += entry.unwrap().events.len(),
                Err(_dropped) => {}
            }
        }
        assert_eq!(run.state().await.unwrap(), RunState::Completed);
    }
}

async fn a_deleted_chat_is_gone(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let id = ChatId::new();
    let chat = engine.chat(id, ChatSpec::default()).await;
    let chat = match chat {
        Ok(chat) => chat,
        Err(error) => panic!("a chat without a project: {error}"),
    };
    chat.append(Role::User, "hello").await.unwrap();
    chat.delete().await.unwrap();
    assert!(chat.append(Role::User, "?").await.unwrap_err().is_not_found());
    assert_eq!(chat.history(0, 10).await.unwrap(), []);
    assert_eq!(chat.watch().try_next().await.unwrap(), None);
}

async fn sessions_and_chats_are_listed_and_changed(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let session = SessionId::new();
    let titled = |title: &str| SessionSpec {
        project: "p".into(),
        title: title.into(),
        meta: Some(serde_json::json!({"a": 1})),
        created_at: None,
    };
    engine.session(session, titled("old")).await.unwrap();
    engine.session(session, titled("new")).await.unwrap();
    let sessions = engine.sessions(Some("p"), None, 10).await.unwrap();
    assert_eq!((sessions.len(), sessions[0].title.as_str()), (1, "new"));
    let chat =
        |session| ChatSpec { project: "p".into(), session: Some(session), ..ChatSpec::default() };
    engine.chat(ChatId::new(), chat(session)).await.unwrap();
    let missing = engine.chat(ChatId::new(), chat(SessionId::new())).await;
    assert!(missing.unwrap_err().is_not_found());
    let chats = engine.chats(Some("p"), Some(session), None, 10).await.unwrap();
    assert_eq!(chats.len(), 1);
    assert_eq!(engine.chats(Some("q"), None, None, 10).await.unwrap(), []);
}
