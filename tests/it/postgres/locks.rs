//! Chats are locked before what is in them: whoever waits for a chat holds nothing that whoever
//! has it may want.

use segue::id::AgentSessionId;

use super::*;

/// A prompt at work in a chat with another one behind it, and an open turn.
struct Talk {
    chat: ChatId,
    held: Claimed,
    turn: TurnId,
    behind: TaskId,
}

fn prompt(chat: ChatId) -> TaskSpec {
    TaskSpec { agent: Some("claude".into()), chat: Some(chat), ..spec("agent") }
}

async fn talk(db: &PostgresBackend) -> Talk {
    let chat = Chat {
        id: ChatId::new(),
        project: "default".into(),
        session: None,
        title: String::new(),
        meta: None,
        next_seq: 1,
        created_at: Timestamp::ZERO,
        forked_from: None,
    };
    let (id, behind) = (chat.id, prompt(chat.id));
    let behind_id = behind.id;
    commit(db, vec![Command::OpenChat(chat), enqueue(prompt(id)), enqueue(behind)]).await;
    let held = take(db, claim(1, 1, &["agent:claude"])).await.remove(0);
    let wish = BeginTurn {
        task: held.task.id,
        lease: held.task.lease,
        chat: id,
        agent: "claude".into(),
        transport: Transport::Cli,
        sessions: Sessions::Ours,
        fingerprint: "v1".into(),
        host: "h".into(),
        worktree: None,
        session: AgentSessionId::new(),
        proposed: "ours".into(),
        carries: true,
        lost: None,
    };
    commit(db, vec![Command::BeginTurn(Box::new(wish))]).await;
    let turn = TurnId::of(held.task.id, held.task.lease);
    Talk { chat: id, held, turn, behind: behind_id }
}

/// What may be asked of a chat that another transaction has locked.
fn commands(talk: &Talk) -> Vec<Command> {
    let held = talk.held.task.id;
    let part = NewPart {
        message: segue::id::MessageId::new(),
        no: 0,
        kind: PartKind::Text,
        body: "words".into(),
    };
    vec![
        Command::Write(Box::new(Write { turn: talk.turn, chat: talk.chat, parts: vec![part] })),
        Command::DeleteChat(talk.chat),
        complete(&talk.held),
        Command::Cancel(held),
        Command::Cancel(talk.behind),
        Command::Pause(talk.behind),
        Command::Rescue { task: held, lease: talk.held.task.lease },
        Command::Interject(Box::new(prompt(talk.chat))),
    ]
}

#[tokio::test]
async fn whoever_waits_for_a_chat_holds_nothing_in_it() {
    let count = commands(&talk(&fresh_schema(ManualClock::default()).await).await).len();
    for n in 0..count {
        let db = Arc::new(fresh_schema(ManualClock::default()).await);
        let talk = talk(&db).await;
        let command = commands(&talk).remove(n);
        let text = format!("{command:?}");
        let mut other = sql(&db).await;
        let watch = sql(&db).await;
        let has = other.transaction().await.unwrap();
        let chat = talk.chat.as_uuid();
        has.execute("SELECT FROM chats WHERE id = $1 FOR UPDATE", &[&chat]).await.unwrap();
        let waiting = tokio::spawn({
            let db = Arc::clone(&db);
            async move { commit(&db, vec![command]).await }
        });
        wait_for_a_waiter(&watch).await;
        // It would wait for ever if the other one held any of these.
        for table in ["task_states", "turns", "agent_sessions", "messages"] {
            let lock = format!("SELECT FROM {table} FOR UPDATE NOWAIT");
            let free = has.execute(lock.as_str(), &[]).await;
            assert!(free.is_ok(), "{table} is locked by {text}: {free:?}");
        }
        has.rollback().await.unwrap();
        let done = waiting.await.unwrap();
        assert!(done.receipts[0].is_ok(), "{text}: {:?}", done.receipts);
        dump(&db).await;
    }
}

/// Until a connection of this test's schema waits for a lock.
async fn wait_for_a_waiter(client: &Client) {
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query NOT LIKE '%pg_stat_activity%'
        AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'chats'::regclass)";
    let waits = async || client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0;
    let wait = async {
        while !waits().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, wait).await.expect("someone waits for the chat");
}
