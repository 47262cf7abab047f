//! Chats: the line of prompts that each agent has in one, what is taken in from elsewhere, forks.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use segue::{
    Chat, ChatSpec, Engine, Failure, Waiting, WhenBusy,
    agents::{self, Agent, Reply},
    id::{ChatId, TaskId},
    model::{AttemptOutcome, Retry, TaskState},
};

use super::support::{Probe, Store, eventually};

each_backend!(
    prompts_are_answered_one_at_a_time_in_their_order,
    a_prompt_that_fails_is_tried_again_before_the_next,
    a_prompt_that_interrupts_comes_before_those_in_line,
    a_prompt_that_is_withdrawn_is_not_answered,
    a_deleted_chat_has_no_prompts_left,
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
        log.note(turn.prompt.clone());
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
