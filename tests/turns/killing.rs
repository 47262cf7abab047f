//! Engines that are killed at random moments while agents take turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use segue::{
    Builder, Chat, ChatSpec, Engine,
    id::{ChatId, MessageId, TaskId},
    model::{Event, Rows, TaskFilter, TaskState, TurnState},
};

use super::{
    child::Child,
    place::{Place, agent, audited, deserted, engine, eventually, processes, run},
    read,
};

const CHATS: u32 = 3;
/// A turn that is interrupted more often than this is given up.
const KILLS_OF_ONE: u32 = 8;
/// A process is killed within so many milliseconds of its being ready.
const MOMENTS: u64 = 500;

/// How many kills: `KILLS` in the environment, or so many.
fn kills() -> u32 {
    std::env::var("KILLS").map_or(40, |kills| kills.parse().expect("a number"))
}

pub fn builder(folder: &Path) -> Builder {
    engine(folder).agent("one", agent()).agent("two", agent())
}

/// A prompt whose report of usage no other has. Some ask a person, and all leave something running.
fn prompt(no: u32) -> String {
    let ask = if no.is_multiple_of(2) { format!("ask leave-{no} edit\n") } else { String::new() };
    format!(
        "say begin {no} \ntool t{no} edit\nrest 20\n{ask}\
         shell setsid sleep 1000 > /dev/null 2>&1 & echo did {no} >> effects\nrest 20\n\
         done t{no}\nsay end {no}\nusage 10 {}",
        1000 + no
    )
}

/// What was seen of the messages, and must not be lost.
type Seen = BTreeMap<MessageId, String>;

/// Chats on one database whose engines are killed.
struct Ordeal {
    place: Place,
    beside: Engine,
    chats: Vec<Chat>,
    prompts: Vec<(TaskId, String)>,
    seen: Seen,
}

impl Ordeal {
    async fn begin() -> Self {
        let place = Place::new();
        let beside = place.beside().await;
        let (mut chats, mut prompts) = (Vec::new(), Vec::new());
        for no in 0..CHATS {
            let chat = beside.chat(ChatId::new(), ChatSpec::default()).await.unwrap();
            for turn in 0..2 {
                let prompt = prompt(no * 2 + turn);
                let task = chat.send(["one", "two"][no as usize % 2], &prompt).await.unwrap();
                prompts.push((task.id(), prompt));
            }
            chats.push(chat);
        }
        Self { place, beside, chats, prompts, seen: Seen::new() }
    }

    async fn is_over(&self) -> bool {
        let tasks = self.beside.stats().await.unwrap().tasks;
        if tasks.contains_key(&TaskState::Failed) {
            let failed = TaskFilter { states: vec![TaskState::Failed], ..TaskFilter::default() };
            panic!("{:#?}", self.beside.tasks(failed, None, 9).await.unwrap());
        }
        tasks.get(&TaskState::Completed) == Some(&(self.prompts.len() as u64))
    }

    /// Says yes to whatever is asked.
    async fn allow(&self) {
        for item in self.beside.inbox(None, 50).await.unwrap() {
            // Its turn may have gone meanwhile.
            let _ = self.beside.answer(item.id, "allow", "Ada").await;
        }
    }

    /// Lets an engine work until a moment has come. Whether it was killed before all was over.
    async fn kill_one(&mut self, random: &mut fastrand::Rng) -> bool {
        let mut child = Child::start(self.place.path(), "turns");
        let moment = Instant::now() + Duration::from_millis(random.u64(..MOMENTS));
        eventually("the moment has come", async || {
            self.allow().await;
            Instant::now() >= moment || self.is_over().await
        })
        .await;
        let seen = self.messages().await;
        child.kill();
        self.seen.extend(seen);
        self.nothing_is_lost().await;
        audited(&self.beside).await;
        // What ends the programs of an engine that was killed is a process beside it.
        deserted(self.place.path()).await;
        !self.is_over().await
    }

    async fn messages(&self) -> Seen {
        let mut seen = Seen::new();
        for chat in &self.chats {
            let history = chat.history(0, 1_000).await.unwrap();
            seen.extend(history.into_iter().map(|it| {
                let text: String = it.content.decode().expect("a text");
                (it.id, text)
            }));
        }
        seen
    }

    async fn nothing_is_lost(&self) {
        let now = self.messages().await;
        for (id, before) in &self.seen {
            assert!(now[id].starts_with(before), "{before:?} became {:?}", now[id]);
        }
    }

    /// Lets an engine work to the end, and judges what is left.
    async fn end(self) {
        let child = Child::start(self.place.path(), "turns");
        eventually("all has ended", async || {
            self.allow().await;
            self.is_over().await
        })
        .await;
        assert!(
            processes(self.place.path()).len() <= 2 * CHATS as usize,
            "of turns nothing is left"
        );
        child.finish();
        assert!(processes(self.place.path()).is_empty(), "an engine that ends leaves nothing");
        self.nothing_is_lost().await;
        let rows = audited(&self.beside).await;
        self.each_prompt_was_given_once();
        self.each_report_was_booked_once(&rows);
        each_chat_has_one_session(&rows);
        assert_eq!(rows.processes.len(), 0, "no program is written down any more");
    }

    /// By the agent's own files.
    fn each_prompt_was_given_once(&self) {
        let folder = self.place.path().join(".acp_agent");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let sessions =
            files.filter(|path| path.extension().is_none() && !path.ends_with("reported"));
        let given: String = sessions.map(|path| read(&path)).collect();
        for (_, prompt) in &self.prompts {
            let line = prompt.replace('\n', "; ");
            let is_new = |it: &&str| it.ends_with(&line) && !it.starts_with("The turn was");
            let count = given.lines().filter(is_new).count();
            // One that has died before it had read it was told of it with what came then.
            let again = given.lines().filter(|it| it.contains("in case") && it.ends_with(&line));
            assert!(count <= 1 && count + again.count() >= 1, "{count} times {line} in {given}");
        }
    }

    /// No report is booked twice, and none is lost of a turn that was never interrupted.
    fn each_report_was_booked_once(&self, rows: &Rows) {
        let reported = read(&self.place.path().join(".acp_agent/reported"));
        for (no, (task, _)) in self.prompts.iter().enumerate() {
            let output = 1000 + no as u64;
            let said =
                reported.lines().filter(|it| it.split(' ').nth(1) == Some(&output.to_string()));
            let said = said.count();
            let booked = rows.ledger.values().filter(|it| it.tokens.output == output);
            let booked: Vec<_> = booked.map(|booking| booking.task).collect();
            assert!(booked.iter().all(|it| it == task), "{output} is booked to another");
            assert!(booked.len() <= said, "{output} was reported {said} times: {booked:?}");
            let turns = rows.turns.values().filter(|turn| turn.task == *task).count();
            assert!(turns > 1 || booked.len() == 1, "{output} was reported and not booked");
        }
    }
}

/// Every turn went on in the session that the chat began with.
fn each_chat_has_one_session(rows: &Rows) {
    let generations: BTreeSet<u32> = rows.turns.values().map(|turn| turn.generation).collect();
    assert_eq!(generations, BTreeSet::from([1]));
    assert_eq!(rows.agent_sessions.len(), CHATS as usize);
    let states = rows.turns.values().map(|turn| turn.state);
    let odd: Vec<_> = states
        .filter(|state| {
            !matches!(state, TurnState::Completed | TurnState::Interrupted | TurnState::Crashed)
        })
        .collect();
    // A turn that asked waits on without its program when that is killed.
    assert_eq!(odd, []);
    let events = rows.entries.values().flat_map(|entry| &entry.events);
    let lost = |event: &&Event| matches!(event, Event::ContextLost { .. });
    assert_eq!(events.filter(lost).count(), 0);
}

#[test]
fn turns_that_are_killed_at_random_moments_go_on_in_their_sessions() {
    let seed = std::env::var("SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut killed = 0;
    while killed < kills() {
        killed += run(async {
            let (mut ordeal, mut killed) = (Ordeal::begin().await, 0);
            while killed < KILLS_OF_ONE && ordeal.kill_one(&mut random).await {
                killed += 1;
            }
            ordeal.end().await;
            killed.max(1)
        });
    }
}
