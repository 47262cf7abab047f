//! More chats than programs.

use std::{fs, path::Path};

use segue::{
    Builder, Chat, ChatSpec, Engine, Task,
    agents::warm::Limits,
    id::ChatId,
    model::{TaskState, Tokens},
};

use super::{
    child::Child,
    place::{Place, agent, audited, engine, eventually, processes, run},
    read,
};

const CHATS: u64 = 200;
/// So many programs may be there, of two agents.
const AT_MOST: usize = 4;

pub fn builder(folder: &Path) -> Builder {
    let warm = Limits { at_most: AT_MOST, ..Limits::default() };
    let builder = engine(folder).warm(warm).concurrency(AT_MOST as u32);
    builder.agent("one", agent()).agent("two", agent())
}

/// Sends a prompt to a chat, whose agent reports a usage that is its own.
async fn send(chat: &Chat, no: u64) -> Task {
    let agent = ["one", "two"][no as usize % 2];
    chat.send(agent, &format!("before\nusage {} {no}", no * 10)).await.unwrap()
}

/// Waits until so many turns are taken. There are never more programs than there may be.
async fn taken(beside: &Engine, place: &Place, count: u64) {
    eventually("all turns are taken", async || {
        let there = processes(place.path());
        assert!(there.len() <= AT_MOST, "{there:?}");
        let tasks = beside.stats().await.unwrap().tasks;
        assert_eq!(tasks.get(&TaskState::Failed), None);
        tasks.get(&TaskState::Completed) == Some(&count)
    })
    .await;
}

/// What a process has of descriptors, threads, and kilobytes of memory.
fn possessions(pid: u32) -> (usize, usize, u64) {
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let status = read(Path::new(&format!("/proc/{pid}/status")));
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let memory = memory.trim().trim_end_matches(" kB").parse().expect("a number");
    (count("fd"), count("task"), memory)
}

#[test]
fn two_hundred_chats_come_and_go_under_a_cap_of_four_programs() {
    run(async {
        let place = Place::new();
        let beside = place.beside().await;
        let child = Child::start(place.path(), "cap");
        let mut chats = Vec::new();
        for no in 0..CHATS {
            let chat = beside.chat(ChatId::new(), ChatSpec::default()).await.unwrap();
            send(&chat, no).await;
            chats.push((no, chat));
            if no == 39 {
                taken(&beside, &place, no + 1).await;
            }
        }
        let before = possessions(child.pid());
        taken(&beside, &place, CHATS).await;
        // Some come back, to sessions whose programs are long gone.
        let mut tasks = Vec::new();
        for (no, chat) in chats.iter().step_by(10) {
            tasks.push(send(chat, CHATS + no).await);
        }
        taken(&beside, &place, CHATS + tasks.len() as u64).await;
        for task in tasks {
            let answer: String = task.output().await.unwrap();
            assert_eq!(answer, "1 before", "its session goes on");
        }
        let after = possessions(child.pid());
        println!("descriptors, threads, kilobytes: {before:?}, and at the end {after:?}");
        assert!(after.0 <= before.0 + 16 && after.1 <= before.1 + 8, "{before:?} {after:?}");
        assert!(after.2 <= before.2 + 48 * 1024, "{before:?} {after:?}");
        assert!(!processes(place.path()).is_empty(), "the last ones are warm");
        child.finish();
        assert!(processes(place.path()).is_empty());
        ledger_has_what_was_reported(&beside, &place).await;
    });
}

async fn ledger_has_what_was_reported(beside: &Engine, place: &Place) {
    let reported = read(&place.path().join(".acp_agent/reported"));
    let mut sum = (0, 0);
    for line in reported.lines() {
        let mut numbers = line.split(' ').map(|number| number.parse::<u64>().unwrap_or(0));
        sum.0 += numbers.next().expect("input");
        sum.1 += numbers.next().expect("output");
    }
    let rows = audited(beside).await;
    assert_eq!(rows.ledger.len(), reported.lines().count());
    let mut booked = Tokens::default();
    rows.ledger.values().for_each(|booking| booked += booking.tokens);
    assert_eq!((booked.input, booked.output), sum);
    assert_eq!(rows.processes.len(), 0);
}
