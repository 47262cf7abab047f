//! Clauses on what there is on hosts: programs at work, and agents that are installed.

use super::kit::Kit;
use crate::{
    clock::Timestamp,
    id::{ChatId, InstanceId, ProcessId},
    model::{
        AvailableAgent, Command, Host, Instance, Page, Payload, Process, Quarantine, Query,
        Rejection, Transport,
    },
};

fn process(host: &str, instance: InstanceId) -> Process {
    Process {
        id: ProcessId::new(),
        instance,
        host: host.into(),
        boot: "boot".into(),
        program: "agent's".into(),
        agent: Some("claude".into()),
        chat: Some(ChatId::new()),
        started: None,
        at: Timestamp::ZERO,
    }
}

fn intend(process: &Process) -> Command {
    Command::Intend(Box::new(process.clone()))
}

async fn orphans(kit: &Kit, host: &str, after: Option<ProcessId>, limit: u32) -> Vec<Process> {
    let query = Query::Orphans { host: host.into(), after, limit };
    match kit.backend().list(&query).await.expect("a list works") {
        Page::Orphans(processes) => processes,
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn a_program_is_written_down_before_it_is_started(kit: Kit) {
    let instance = InstanceId::new();
    let wish = process("h", instance);
    let (id, at) = (wish.id, kit.now());
    let started = Command::Started { id, pid: u32::MAX, pid_start: u64::MAX };
    assert!(matches!(kit.refused(started.clone()).await, Rejection::NotFound { .. }));
    assert!(kit.twice(intend(&wish)).await.is_ok());
    assert_eq!(kit.rows().await.processes[&id], Process { at, ..wish.clone() });
    kit.advance(1);
    assert!(kit.twice(started).await.is_ok());
    let running = Process { at, started: Some((u32::MAX, u64::MAX)), ..wish.clone() };
    assert_eq!(kit.rows().await.processes[&id], running);
    assert!(kit.twice(intend(&wish)).await.is_ok());
    assert_eq!(kit.rows().await.processes[&id], running, "it was written down before");
    assert!(kit.twice(Command::Ended(id)).await.is_ok());
    assert!(kit.rows().await.processes.is_empty());
    let other = process("h", instance);
    let receipts = kit.commit(vec![intend(&other), Command::Ended(other.id), intend(&wish)]).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    assert_eq!(kit.rows().await.processes.into_keys().collect::<Vec<_>>(), [id]);
}

pub(super) async fn programs_of_engines_that_are_gone_are_found(kit: Kit) {
    let alive = InstanceId::new();
    let host = Host { name: "h".into(), boot: "b".into(), pid: 1, pid_start: 2 };
    let started_at = kit.now();
    let row = Instance { id: alive, host, beat: 0, serves: Default::default(), started_at };
    kit.done(Command::Register(Box::new(row))).await;
    let gone = InstanceId::new();
    let mut expected = Vec::new();
    for (host, instance) in [("h", gone), ("h", alive), ("i", gone), ("h", gone), ("h", gone)] {
        let process = process(host, instance);
        kit.done(intend(&process)).await;
        if (host, instance) == ("h", gone) {
            expected.insert(0, process.id);
        }
    }
    let ids = |page: Vec<Process>| page.iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(orphans(&kit, "h", None, 2).await), expected[..2]);
    assert_eq!(ids(orphans(&kit, "h", Some(expected[1]), 2).await), expected[2..]);
    kit.done(Command::Retire(alive)).await;
    assert_eq!(orphans(&kit, "h", None, 9).await.len(), 4);
    assert!(orphans(&kit, "nowhere", None, 9).await.is_empty());
}

fn agent(host: &str, name: &str) -> AvailableAgent {
    let json = |text: &str| Some(Payload::trusted(text.into()));
    AvailableAgent {
        host: host.into(),
        name: name.into(),
        label: "Claude's".into(),
        install_path: Some("/usr/bin/claude".into()),
        version: Some("1.0".into()),
        sha256: Some("ab".into()),
        transport: Transport::ClaudeStream,
        supports_acp: true,
        can_ask: false,
        models: json("[1.0]"),
        modes: json("{\"b\": 1, \"a\": 2}"),
        commands: None,
        capabilities: json("null"),
        canary: json("{\"ok\":true}"),
        quarantined: None,
        last_probed_at: Timestamp::from_micros(77),
        last_error: Some("it was slow".into()),
    }
}

fn put(agent: &AvailableAgent) -> Command {
    Command::PutAgent(Box::new(agent.clone()))
}

fn quarantine(agent: &AvailableAgent, reason: Option<&str>) -> Command {
    let (host, name) = (agent.host.clone(), agent.name.clone());
    Command::Quarantine { host, name, reason: reason.map(str::to_owned) }
}

async fn agents(kit: &Kit, after: Option<&str>, limit: u32) -> Vec<AvailableAgent> {
    let query = Query::Agents { host: "h".into(), after: after.map(str::to_owned), limit };
    match kit.backend().list(&query).await.expect("a list works") {
        Page::Agents(agents) => agents,
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn what_is_known_of_an_agent_is_kept_and_renewed(kit: Kit) {
    let first = agent("h", "claude");
    assert!(kit.twice(put(&first)).await.is_ok());
    assert_eq!(agents(&kit, None, 9).await, std::slice::from_ref(&first));
    let renewed = AvailableAgent { can_ask: true, models: None, last_error: None, ..first.clone() };
    kit.done(put(&AvailableAgent { canary: None, ..renewed.clone() })).await;
    assert_eq!(agents(&kit, None, 9).await, [renewed], "the same version was judged before");
    for (host, name) in [("i", "claude"), ("h", "Zed"), ("h", "codex"), ("h", "\u{e9}t\u{e9}")] {
        kit.done(put(&agent(host, name))).await;
    }
    let names = |page: Vec<AvailableAgent>| page.into_iter().map(|row| row.name);
    let page = names(agents(&kit, None, 2).await).collect::<Vec<_>>();
    assert_eq!(page, ["Zed", "claude"], "in the order of their bytes");
    let page = names(agents(&kit, Some("claude"), 9).await).collect::<Vec<_>>();
    assert_eq!(page, ["codex", "\u{e9}t\u{e9}"]);
    assert!(matches!(kit.refused(put(&agent("", "a"))).await, Rejection::Invalid(_)));
}

pub(super) async fn an_agent_is_in_quarantine_until_someone_allows_it_again(kit: Kit) {
    let first = agent("h", "claude");
    let missing = kit.refused(quarantine(&first, Some("it wrote"))).await;
    assert!(matches!(missing, Rejection::NotFound { .. }));
    kit.done(put(&first)).await;
    let at = kit.now();
    assert!(kit.twice(quarantine(&first, Some("it wrote"))).await.is_ok());
    kit.advance(5);
    kit.done(quarantine(&first, Some("it wrote"))).await;
    let expected = Some(Quarantine { reason: "it wrote".into(), at });
    assert_eq!(agents(&kit, None, 1).await[0].quarantined, expected);
    kit.done(put(&first)).await;
    assert_eq!(agents(&kit, None, 1).await[0].quarantined, expected, "looking does not lift it");
    kit.done(quarantine(&first, None)).await;
    assert_eq!(agents(&kit, None, 1).await[0].quarantined, None);
    kit.done(quarantine(&first, Some("again"))).await;
    let newer = AvailableAgent { version: Some("2.0".into()), canary: None, ..first };
    kit.done(put(&newer)).await;
    let found = agents(&kit, None, 1).await.remove(0);
    assert_eq!(found.canary, None, "another version was not judged");
    let reason = found.quarantined.as_ref().map(|it| it.reason.as_str());
    assert_eq!(reason, Some("again"), "another version lifts nothing by itself");
    kit.done(quarantine(&newer, None)).await;
    assert_eq!(agents(&kit, None, 1).await, [newer]);
}
