//! Turns of agents: what they tell, the sessions they are taken in, and what people are asked.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use segue::{
    Chat, ChatSpec, Engine, Heard, WhenBusy,
    agents::{
        Agent, Answer, Choice, ChoiceKind, Listener, Outcome, Profile, Reply, Request, ToolCall,
        ToolKind, Turn, Update,
    },
    id::ChatId,
    model::{
        AgentContext, AgentSessionState, Event, ItemKind, ItemState, Resume, Sessions, TaskState,
        TurnState,
    },
};

use super::support::{Probe, Store, eventually};

each_backend!(
    what_an_agent_says_is_heard_at_once_and_kept,
    a_session_is_continued_and_told_what_it_missed,
    a_session_that_the_agent_has_forgotten_is_followed_by_another,
    another_configuration_begins_another_session,
    leave_is_asked_of_a_person_and_given_once,
    who_is_not_answered_in_time_gives_its_place_away,
    a_turn_that_may_only_read_asks_nobody_for_leave_to_write,
    an_agent_that_is_at_work_is_told_to_stop,
    a_limit_of_the_provider_parks_and_burns_no_attempt,
    an_answer_that_is_none_is_sent_back_once,
);

pub(super) type Work<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// An agent that does what the test says.
pub(super) struct Told<F> {
    profile: Arc<Mutex<Profile>>,
    work: F,
}

impl<F> fmt::Debug for Told<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

#[async_trait]
impl<F> Agent for Told<F>
where
    F: for<'a> Fn(Turn, &'a dyn Listener) -> Work<'a> + Send + Sync + 'static,
{
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        (self.work)(turn, listener).await
    }

    fn profile(&self) -> Profile {
        self.profile.lock().unwrap().clone()
    }
}

pub(super) fn told<F>(sessions: Sessions, work: F) -> Told<F>
where
    F: for<'a> Fn(Turn, &'a dyn Listener) -> Work<'a> + Send + Sync + 'static,
{
    let profile = Profile { sessions, can_ask: true, ..Profile::default() };
    Told { profile: Arc::new(Mutex::new(profile)), work }
}

pub(super) fn text(text: &str) -> Update {
    Update::Text { message: None, text: text.into() }
}

pub(super) async fn chat(engine: &Engine) -> Chat {
    engine.chat(ChatId::new(), ChatSpec::default()).await.unwrap()
}

/// What is said in a chat, as one line each.
pub(super) async fn said(chat: &Chat) -> Vec<String> {
    let said = chat.history(0, 100).await.unwrap();
    said.iter().map(|message| message.content.decode::<String>().unwrap()).collect()
}

async fn what_an_agent_says_is_heard_at_once_and_kept(store: Store) {
    let probe = Probe::default();
    let gate = probe.clone();
    let agent = told(Sessions::None, move |turn, listener| {
        let probe = gate.clone();
        Box::pin(async move {
            listener.prompting().await.unwrap();
            listener.tell(text("l\u{f6}ok ")).await;
            listener.tell(text("there")).await;
            let _inside = probe.enter();
            probe.wait().await;
            Outcome::Completed(Reply::text(format!("{} done", turn.prompt)))
        })
    });
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let mut live = chat.live();
    let task = chat.send("a", "look").await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match live.next().await.unwrap() {
            Heard::More(delta) => heard.push((delta.offset, delta.text)),
            Heard::Missed(count) => panic!("missed {count}"),
        }
    }
    assert_eq!(heard, [(0, "l\u{f6}ok ".to_owned()), (5, "there".to_owned())]);
    assert!(chat.turns().await.unwrap()[0].state.is_open());
    probe.let_go(1);
    assert_eq!(task.output::<String>().await.unwrap(), "look done");
    let turn = chat.turns().await.unwrap().remove(0);
    assert_eq!((turn.state, turn.task, turn.generation), (TurnState::Completed, task.id(), 1));
}

async fn a_session_is_continued_and_told_what_it_missed(store: Store) {
    let probe = Probe::default();
    let log = probe.clone();
    let agent = told(Sessions::Ours, move |turn, listener| {
        let probe = log.clone();
        Box::pin(async move {
            let id = match &turn.resume {
                Resume::New(id) => format!("new {id}"),
                Resume::Continue(id) => format!("continue {id}"),
                Resume::Fresh => "fresh".into(),
            };
            let (_, own) = id.split_once(' ').unwrap();
            listener.session(own).await.unwrap();
            listener.prompting().await.unwrap();
            probe.note(format!("{id}: {}", turn.prompt));
            Outcome::Completed(Reply::text("done"))
        })
    });
    let other = segue::agents::native(async |_| Ok(Reply::text("the other's answer")));
    let engine = store.builder().agent("a", agent).agent("b", other).start().await.unwrap();
    let chat = chat(&engine).await;
    for (agent, prompt) in [("a", "one"), ("a", "two"), ("b", "three"), ("a", "four")] {
        chat.send(agent, prompt).await.unwrap().ended().await.unwrap();
    }
    let session = chat.agent_sessions().await.unwrap().into_iter().find(|it| it.agent == "a");
    let session = session.unwrap();
    let token = session.token.clone().unwrap();
    let log = probe.log();
    assert_eq!(log[..2], [format!("new {token}: one"), format!("continue {token}: two")]);
    assert!(log[2].starts_with(&format!("continue {token}: ")), "{log:?}");
    assert!(log[2].contains("since your last answer") && log[2].contains("the other's answer"));
    assert!(log[2].contains("three") && !log[2].contains("two") && log[2].ends_with("four"));
    assert_eq!((session.turns, session.generation), (3, 1));
    assert_eq!(session.state, AgentSessionState::Idle);
}

async fn a_session_that_the_agent_has_forgotten_is_followed_by_another(store: Store) {
    let probe = Probe::default();
    let log = probe.clone();
    let agent = told(Sessions::Theirs, move |turn, listener| {
        let probe = log.clone();
        Box::pin(async move {
            if let Resume::Continue(id) = &turn.resume {
                return Outcome::SessionLost { message: format!("no session {id}") };
            }
            listener.session("s").await.unwrap();
            listener.prompting().await.unwrap();
            probe.note(turn.prompt);
            Outcome::Completed(Reply::text("done"))
        })
    });
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let mut watch = chat.watch();
    chat.send("a", "one").await.unwrap().ended().await.unwrap();
    let task = chat.send("a", "two").await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "done");
    let log = probe.log();
    assert!(log[1].contains("one") && log[1].ends_with("two"), "it is told what was said: {log:?}");
    let sessions = chat.agent_sessions().await.unwrap();
    let states: Vec<_> = sessions.iter().map(|it| (it.generation, it.state, it.context)).collect();
    use AgentSessionState::{Closed, Idle};
    let expected = [(2, Idle, AgentContext::Carried), (1, Closed, AgentContext::Full)];
    assert_eq!(states, expected);
    loop {
        let entry = watch.next().await.unwrap();
        if entry.events.iter().any(|event| matches!(event, Event::ContextCarried { .. })) {
            break;
        }
    }
}

async fn another_configuration_begins_another_session(store: Store) {
    let agent = told(Sessions::Theirs, |turn, listener| {
        Box::pin(async move {
            listener.session("s").await.unwrap();
            listener.prompting().await.unwrap();
            Outcome::Completed(Reply::text(format!("{:?}", turn.resume)))
        })
    });
    let profile = Arc::clone(&agent.profile);
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let say = async |model: &str| {
        let task = chat.send("a", "go").model(model).await.unwrap();
        task.output::<String>().await.unwrap()
    };
    let [fresh, continued] = ["Fresh", "Continue(\"s\")"];
    assert_eq!([say("m").await, say("m").await, say("n").await], [fresh, continued, fresh]);
    profile.lock().unwrap().fingerprint = "2.0".into();
    assert_eq!([say("n").await, say("n").await], [fresh, continued]);
    let reasons = chat.agent_sessions().await.unwrap();
    assert_eq!(reasons.iter().filter(|it| it.reason.is_some()).count(), 2);
}

/// An agent that wants to write, and says what it was answered.
fn asking(probe: &Probe) -> impl Agent {
    let probe = probe.clone();
    told(Sessions::Theirs, move |turn, listener| {
        let probe = probe.clone();
        Box::pin(async move {
            listener.session("s").await.unwrap();
            listener.prompting().await.unwrap();
            probe.note(format!("{:?}: {}", turn.resume, turn.prompt));
            let answer = listener.ask(request()).await;
            if answer == Answer::Cancelled {
                return Outcome::Cancelled;
            }
            Outcome::Completed(Reply::text(format!("{answer:?}")))
        })
    })
}

fn request() -> Request {
    let choice = |id: &str, kind| Choice { id: id.into(), name: id.into(), kind };
    let call = ToolCall { kind: Some(ToolKind::Edit), id: "1".into(), ..ToolCall::default() };
    let options = vec![
        choice("always", ChoiceKind::AllowAlways),
        choice("once", ChoiceKind::AllowOnce),
        choice("no", ChoiceKind::RejectOnce),
    ];
    Request { call, question: "may I?".into(), options }
}

async fn leave_is_asked_of_a_person_and_given_once(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", asking(&probe)).start().await.unwrap();
    let other = store.builder().connect().await.unwrap();
    let chat = chat(&engine).await;
    for (answer, obeyed) in [("allow", "Chosen(\"once\")"), ("reject", "Chosen(\"no\")")] {
        let task = chat.send("a", "go").await.unwrap();
        eventually("it asks", async || !other.inbox(None, 10).await.unwrap().is_empty()).await;
        let item = other.inbox(None, 10).await.unwrap().remove(0);
        assert_eq!((item.kind, item.task), (ItemKind::Permission, task.id()));
        assert_eq!(item.options, ["allow", "reject"]);
        assert_eq!(task.view().await.unwrap().state(), TaskState::Running);
        other.answer(item.id, answer, "ann").await.unwrap();
        assert_eq!(task.output::<String>().await.unwrap(), obeyed);
        assert_eq!(engine.item(item.id).await.unwrap().state, ItemState::Used);
    }
}

async fn who_is_not_answered_in_time_gives_its_place_away(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().agent("a", asking(&probe));
    let engine = builder.permission_wait(Duration::from_millis(1)).start().await.unwrap();
    let chat = chat(&engine).await;
    let task = chat.send("a", "go").await.unwrap();
    let blocked = async || task.view().await.unwrap().state() == TaskState::Blocked;
    eventually("it waits without a worker", blocked).await;
    let item = engine.inbox(None, 10).await.unwrap().remove(0);
    engine.answer(item.id, "allow", "ann").await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "Chosen(\"once\")");
    let log = probe.log();
    assert_eq!(log[0], "Fresh: go");
    let again = &log[1];
    assert!(again.starts_with("Continue(\"s\"): The turn was interrupted"), "not again: {again}");
}

async fn a_turn_that_may_only_read_asks_nobody_for_leave_to_write(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", asking(&probe)).start().await.unwrap();
    let task = chat(&engine).await.send("a", "go").read_only().await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "Chosen(\"no\")");
    assert!(engine.inbox(None, 10).await.unwrap().is_empty());
}

async fn an_agent_that_is_at_work_is_told_to_stop(store: Store) {
    let probe = Probe::default();
    let gate = probe.clone();
    let agent = told(Sessions::None, move |turn, listener| {
        let probe = gate.clone();
        Box::pin(async move {
            listener.prompting().await.unwrap();
            if turn.prompt == "second" {
                return Outcome::Completed(Reply::text("done"));
            }
            let _inside = probe.enter();
            turn.stop.cancelled().await;
            Outcome::Cancelled
        })
    });
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let first = chat.send("a", "first").await.unwrap();
    probe.arrived(1).await;
    let second = chat.send("a", "second").when_busy(WhenBusy::Interrupt).await.unwrap();
    assert_eq!(second.output::<String>().await.unwrap(), "done");
    assert_eq!(first.ended().await.unwrap().state(), TaskState::Cancelled);
    let states: Vec<_> = chat.turns().await.unwrap().iter().map(|turn| turn.state).collect();
    assert!(states.contains(&TurnState::Cancelled) && states.contains(&TurnState::Completed));
    assert!(said(&chat).await.contains(&"second".to_owned()));
}

async fn a_limit_of_the_provider_parks_and_burns_no_attempt(store: Store) {
    let agent = told(Sessions::None, |turn, _| {
        Box::pin(async move {
            let wait = Some(Duration::from_secs(3600));
            match turn.model.as_deref() {
                Some("free") => Outcome::Completed(Reply::text("done")),
                _ => Outcome::RateLimited { wait, message: "429".into() },
            }
        })
    });
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let task = chat.send("a", "go").model("busy").await.unwrap();
    let parked = async || {
        let keys = engine.capacities(None, 10).await.unwrap();
        keys.iter()
            .any(|key| key.key.name == "model:busy" && key.key.parked_until > Default::default())
    };
    eventually("the key is parked", parked).await;
    let view = task.view().await.unwrap();
    assert_eq!(view.state(), TaskState::Pending);
    assert_eq!(view.task.unwrap().failures, 0);
    // What is sent after it here waits for it; another chat has nothing to do with it.
    let behind = chat.send("a", "go").model("free").await.unwrap();
    assert_eq!(behind.why().await.unwrap(), segue::Waiting::Prompt(task.id()));
    let elsewhere = self::chat(&engine).await;
    let other = elsewhere.send("a", "go").model("free").await.unwrap();
    assert_eq!(other.output::<String>().await.unwrap(), "done");
}

async fn an_answer_that_is_none_is_sent_back_once(store: Store) {
    let probe = Probe::default();
    let log = probe.clone();
    let agent = told(Sessions::Theirs, move |turn, listener| {
        let probe = log.clone();
        Box::pin(async move {
            listener.session("s").await.unwrap();
            listener.prompting().await.unwrap();
            probe.note(format!("{:?}: {}", turn.resume, turn.prompt));
            let answer = if probe.log().len() == 1 { "four" } else { "```json\n4\n```" };
            Outcome::Completed(Reply::text(answer))
        })
    });
    let mut draft = segue::Flow::new("count");
    let input = draft.input::<()>();
    let step: segue::Step<u32> =
        draft.agent("count", input, &segue::Agent::named("a"), |()| "how many?".into());
    let flow = draft.returns(input, step);
    let engine = store.builder().agent("a", agent).flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 4);
    let log = probe.log();
    assert_eq!(log[0], "Fresh: how many?");
    assert!(log[1].starts_with("Continue(\"s\"): Your answer can't be used"), "{log:?}");
}
