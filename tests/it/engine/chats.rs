//! Chats: the line of prompts that each agent has in one, what is taken in from elsewhere, forks.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use segue::{
    Chat, ChatSpec, Engine, Failure, History, Waiting, WhenBusy,
    agents::{self, Agent, Reply},
    clock::Timestamp,
    id::{ChatId, MessageId, TaskId},
    model::{
        AgentContext, AttemptOutcome, Event, PastMessage, PastSession, Payload, Resume, Retry,
        Role, Sessions, TaskState, Transport,
    },
};

use super::support::{Probe, Store, eventually};

each_backend!(
    prompts_are_answered_one_at_a_time_in_their_order,
    a_prompt_that_fails_is_tried_again_before_the_next,
    a_prompt_that_interrupts_comes_before_those_in_line,
    a_prompt_that_is_withdrawn_is_not_answered,
    a_deleted_chat_has_no_prompts_left,
    a_past_is_gone_on_with_once,
    a_long_past_is_taken_in_and_forked_whole,
    a_fork_knows_what_was_said_before_it,
);

async fn chat(engine: &Engine) -> Chat {
    engine.chat(ChatId::new(), ChatSpec::default()).await.unwrap()
}

/// An agent that notes each prompt, and answers when it is let go.
fn patient(probe: &Probe) -> impl Agent {
    let probe = probe.clone();
    agents::native(move |turn| {
        let probe = probe.clone();
        async move {
            probe.note(turn.prompt.clone());
            let _inside = probe.enter();
            tokio::select! {
                () = probe.wait() => Ok(Reply::text(format!("{}!", turn.prompt))),
                () = turn.stop.cancelled() => Err(Failure::cancelled()),
            }
        }
    })
}

/// How often a task was started, and how that ended.
async fn attempts(engine: &Engine, task: TaskId) -> Vec<AttemptOutcome> {
    let attempts = engine.task(task).attempts().await.unwrap();
    attempts.into_iter().map(|attempt| attempt.outcome).collect()
}

async fn prompts_are_answered_one_at_a_time_in_their_order(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", patient(&probe)).agent("b", patient(&probe));
    let engine = engine.start().await.unwrap();
    let chat = chat(&engine).await;
    let mut tasks = Vec::new();
    for prompt in ["one", "two", "three"] {
        tasks.push(chat.send("a", prompt).await.unwrap());
    }
    probe.arrived(1).await;
    let line: Vec<_> = chat.queue().await.unwrap().iter().map(|prompt| prompt.task).collect();
    assert_eq!(line, tasks.iter().map(segue::Task::id).collect::<Vec<_>>());
    let first = Waiting::Prompt(tasks[0].id());
    assert_eq!(tasks[1].why().await.unwrap(), first);
    assert_eq!(tasks[2].why().await.unwrap(), first);
    assert!(engine.stuck().await.unwrap().is_empty());
    // Another agent of the chat waits for none of them.
    let other = chat.send("b", "beside").await.unwrap();
    probe.arrived(1).await;
    probe.let_go(4);
    assert_eq!(other.output::<String>().await.unwrap(), "beside!");
    for (task, answer) in tasks.iter().zip(["one!", "two!", "three!"]) {
        assert_eq!(task.output::<String>().await.unwrap(), answer);
        assert_eq!(attempts(&engine, task.id()).await, [AttemptOutcome::Completed]);
    }
    assert_eq!(probe.most(), 2, "one of each agent");
    let log: Vec<_> = probe.log().into_iter().filter(|prompt| prompt != "beside").collect();
    assert_eq!(log.len(), 3);
    assert!(log[0] == "one" && log[1].ends_with("two") && log[2].ends_with("three"), "{log:?}");
    assert!(chat.queue().await.unwrap().is_empty());
}

async fn a_prompt_that_fails_is_tried_again_before_the_next(store: Store) {
    let probe = Probe::default();
    let (log, tries) = (probe.clone(), Arc::new(AtomicU32::new(0)));
    let agent = agents::native(move |turn| {
        let first = tries.fetch_add(1, Ordering::SeqCst) == 0;
        log.note(turn.prompt);
        async move {
            match first {
                true => Err(Failure::new("not now")),
                false => Ok(Reply::text("done")),
            }
        }
    });
    let builder = store.builder().agent("a", agent);
    let engine = builder.start().await.unwrap();
    engine.pause();
    let chat = chat(&engine).await;
    let retry = Retry::every(3, std::time::Duration::from_millis(200));
    let one = chat.send("a", "one").with(|task| task.retry(retry)).await.unwrap();
    let two = chat.send("a", "two").await.unwrap();
    engine.resume();
    assert_eq!(two.output::<String>().await.unwrap(), "done");
    assert_eq!(one.view().await.unwrap().state(), TaskState::Completed);
    let log = probe.log();
    assert_eq!(log.len(), 3, "{log:?}");
    assert!(log[0] == "one" && log[1].ends_with("one") && log[2].ends_with("two"), "{log:?}");
}

async fn a_prompt_that_interrupts_comes_before_those_in_line(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", patient(&probe)).start().await.unwrap();
    let chat = chat(&engine).await;
    let one = chat.send("a", "one").await.unwrap();
    let two = chat.send("a", "two").await.unwrap();
    probe.arrived(1).await;
    let id = TaskId::new();
    let now = || chat.send("a", "now").id(id).when_busy(WhenBusy::Interrupt);
    let now = [now().await.unwrap(), now().await.unwrap()];
    assert_eq!(one.ended().await.unwrap().state(), TaskState::Cancelled);
    probe.let_go(2);
    assert_eq!(two.output::<String>().await.unwrap(), "two!");
    assert_eq!(now[1].output::<String>().await.unwrap(), "now!");
    let log = probe.log();
    assert_eq!(log.len(), 3, "{log:?}");
    assert!(log[1].ends_with("now") && log[2].ends_with("two"), "{log:?}");
}

async fn a_prompt_that_is_withdrawn_is_not_answered(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", patient(&probe)).start().await.unwrap();
    let chat = chat(&engine).await;
    let one = chat.send("a", "one").await.unwrap();
    let two = chat.send("a", "two").await.unwrap();
    let three = chat.send("a", "three").await.unwrap();
    two.cancel().await.unwrap();
    probe.let_go(2);
    assert_eq!(three.output::<String>().await.unwrap(), "three!");
    assert_eq!(one.view().await.unwrap().state(), TaskState::Completed);
    assert_eq!(two.view().await.unwrap().state(), TaskState::Cancelled);
    assert!(!probe.log().iter().any(|prompt| prompt.contains("two")));
}

async fn a_deleted_chat_has_no_prompts_left(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", patient(&probe)).start().await.unwrap();
    let chat = chat(&engine).await;
    let one = chat.send("a", "one").await.unwrap();
    let two = chat.send("a", "two").await.unwrap();
    probe.arrived(1).await;
    chat.delete().await.unwrap();
    for task in [one, two] {
        assert_eq!(task.ended().await.unwrap().state(), TaskState::Cancelled);
    }
    assert_eq!(probe.log(), ["one"]);
    let left = async || chat.queue().await.unwrap().is_empty();
    eventually("nothing is left of it", left).await;
}

/// An agent that says which session it was to continue, and notes what it was told.
struct Remembers(Probe);

impl std::fmt::Debug for Remembers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Remembers")
    }
}

#[async_trait::async_trait]
impl Agent for Remembers {
    async fn turn(&self, turn: agents::Turn, listener: &dyn agents::Listener) -> agents::Outcome {
        let own = match &turn.resume {
            Resume::Continue(id) | Resume::New(id) => id.clone(),
            Resume::Fresh => "fresh".into(),
        };
        listener.session(&own).await.unwrap();
        listener.prompting().await.unwrap();
        self.0.note(turn.prompt);
        agents::Outcome::Completed(Reply::text(format!("{:?}", turn.resume)))
    }

    fn profile(&self) -> agents::Profile {
        agents::Profile { sessions: Sessions::Theirs, ..agents::Profile::default() }
    }
}

fn said(n: i64) -> PastMessage {
    PastMessage {
        id: MessageId::new(),
        role: if n % 2 == 0 { Role::User } else { Role::Assistant },
        content: Payload::text(&format!("said {n}")),
        task: None,
        created_at: Timestamp::from_micros(n),
    }
}

async fn a_past_is_gone_on_with_once(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().agent("a", Remembers(probe.clone()));
    let engine = builder.agent("b", Remembers(probe.clone())).start().await.unwrap();
    let chat = chat(&engine).await;
    let messages: Vec<_> = (1..5).map(said).collect();
    let whole = PastSession::new("a", Transport::Cli, "old a");
    let half = PastSession {
        seen: Some(messages[1].id),
        ..PastSession::new("b", Transport::Cli, "old b")
    };
    let history = History { messages, sessions: vec![whole, half] };
    for _ in 0..2 {
        chat.import(history.clone()).await.unwrap();
    }
    let ask = async |agent: &str| {
        let task = chat.send(agent, "go on").await.unwrap();
        task.output::<String>().await.unwrap()
    };
    assert_eq!([ask("a").await, ask("b").await], ["Continue(\"old a\")", "Continue(\"old b\")"]);
    let log = probe.log();
    assert_eq!(log[0], "go on", "it has read all that there was");
    assert!(log[1].contains("said 3") && !log[1].contains("said 2"), "{log:?}");
    // Once more, now that both have gone on.
    chat.import(history.clone()).await.unwrap();
    assert_eq!(ask("a").await, "Continue(\"old a\")");
    let all = chat.history(0, 100).await.unwrap();
    assert_eq!(all.len(), 4 + 2 * 3);
    assert!(all.iter().zip(&history.messages).all(|(row, past)| {
        (row.id, row.created_at, &row.content) == (past.id, past.created_at, &past.content)
    }));
    let sessions = chat.agent_sessions().await.unwrap();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|row| row.generation == 1 && !row.fingerprint.is_empty()));
}

async fn a_long_past_is_taken_in_and_forked_whole(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let chat = chat(&engine).await;
    let messages: Vec<_> = (0..450).map(said).collect();
    let at = messages[430].id;
    let history = History { messages, ..History::default() };
    chat.import(history).await.unwrap();
    let id = ChatId::new();
    let all = chat.history(0, 1_000).await.unwrap();
    for _ in 0..2 {
        let fork = chat.fork_at(at, id).await.unwrap();
        let copies = fork.history(0, 1_000).await.unwrap();
        assert_eq!((all.len(), copies.len()), (450, 431));
        assert!(all.iter().zip(&copies).all(|(row, copy)| {
            (&row.content, row.role, row.created_at) == (&copy.content, copy.role, copy.created_at)
        }));
    }
    let other = chat.fork_at(7, id).await.unwrap_err();
    assert!(other.rejection().is_some(), "{other}");
    let missing = chat.fork_at(MessageId::new(), ChatId::new()).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    let empty = chat.fork_at(0, ChatId::new()).await.unwrap();
    assert_eq!(empty.view().await.unwrap().forked_from, Some((chat.id(), 0)));
}

async fn a_fork_knows_what_was_said_before_it(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", Remembers(probe.clone())).start().await.unwrap();
    let chat = chat(&engine).await;
    for prompt in ["first", "second"] {
        chat.send("a", prompt).await.unwrap().ended().await.unwrap();
    }
    let all = chat.history(0, 100).await.unwrap();
    assert_eq!(all.len(), 4);
    let fork = chat.fork_at(all[1].id, ChatId::new()).await.unwrap();
    assert_eq!(fork.view().await.unwrap().forked_from, Some((chat.id(), all[1].seq)));
    let mut watch = fork.watch();
    let task = fork.send("a", "another second").await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "Fresh");
    let told = probe.log().pop().unwrap();
    assert!(told.contains("first") && told.ends_with("another second"), "{told}");
    assert!(!told.contains("\nsecond"), "what was said after is not known: {told}");
    let (mut forked, mut carried) = (false, false);
    while !(forked && carried) {
        for event in watch.next().await.unwrap().events {
            forked |= event == Event::ChatForked { from: chat.id(), seq: all[1].seq };
            carried |= matches!(event, Event::ContextCarried { generation: 1, .. });
        }
    }
    let session = fork.agent_sessions().await.unwrap().remove(0);
    assert_eq!((session.context, session.generation), (AgentContext::Carried, 1));
    // The other chat goes on as it was.
    let task = chat.send("a", "third").await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "Continue(\"fresh\")");
    assert_eq!(fork.history(0, 100).await.unwrap().len(), 4);
}
