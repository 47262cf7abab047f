//! The plans of PostgreSQL, which are the same with good, with late and without statistics.

use std::collections::BTreeSet;

use segue::backend::{
    Backend,
    postgres::{Options, PostgresBackend},
};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::support::cluster::{self, Cluster};

#[allow(dead_code, reason = "not every statement has a plan that matters")]
#[path = "../../../src/backend/postgres/sql/mod.rs"]
mod sql;

/// A connection like those of the backend, on tables of the present version.
async fn migrated(url: &str) -> (PostgresBackend, Client) {
    let options = Options::new(url).schema(cluster::schema()).pool(2);
    let backend = options.connect().await.unwrap();
    backend.migrate().await.unwrap();
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let settings = format!("{}; {}", sql::search_path(backend.schema()), sql::SETTINGS);
    client.batch_execute(&settings).await.unwrap();
    (backend, client)
}

#[tokio::test]
async fn every_statement_fits_the_tables() {
    let (_backend, client) = migrated(&cluster::url()).await;
    let all = super::statements!(
        SETTINGS BEGIN BEGIN_SNAPSHOT BEGIN_VIEW COMMIT ROLLBACK NOW MIGRATION_LOCK HAS_NAMESPACE
        TABLES SWAP_PATH SAVEPOINT RELEASE UNDO CHILD_TASKS STEPS_AFTER LANE_HEAD SLOTS_FREE
        HOLDERS HIDDEN PRUNE_LOCK PRUNE_ENTRIES_OF LIST_TASKS LIST_RUNS LIST_OPEN LIST_INBOX
        NOTIFIER_SETTINGS NOTIFY LOCK_OF_CHAT INSERT_SPEC_OR_FAIL INSERT_PLAIN_OR_FAIL UPDATE_TASK_OR_FAIL
        CLAIM_OR_FAIL
    );
    for (name, texts) in &all {
        for text in texts.iter().flat_map(|text| text.split(';')) {
            let prepared = client.prepare(text).await;
            prepared.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }
    let locked =
        [sql::TURN, sql::AGENT_SESSION, sql::NEWEST_AGENT_SESSION, sql::PROCESS, sql::AGENT];
    let owners = [sql::TASK, sql::CHILD_TASKS, sql::RUN, sql::CHAT, sql::CAPACITY];
    for text in owners.into_iter().chain(locked) {
        client.prepare(&format!("{text}{}", sql::LOCKED)).await.unwrap();
    }
    for source in [
        include_str!("../../../src/backend/postgres/sql/mod.rs"),
        include_str!("../../../src/backend/postgres/sql/flows.rs"),
        include_str!("../../../src/backend/postgres/sql/agents.rs"),
        include_str!("../../../src/backend/postgres/sql/new.rs"),
    ] {
        super::expect_all(source, &all, &["LOCKED"]);
    }
}

/// 300,000 tasks: 80,000 ready in 8 lanes, 10,000 scheduled, 9,000 that wait for others, 1,000
/// running in 5 instances, 200,000 finished; and what they leave behind.
const ROWS: &str = "
    SET session_replication_role = replica; SET synchronous_commit = off;
    CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
        $$ SELECT lpad(to_hex(n), 32, '0')::uuid $$;
    CREATE TEMP TABLE n AS
        SELECT n::int, id(n) AS id, 'epoch'::timestamptz + n * interval '1 s' AS t
        FROM generate_series(0, 299999) n;
    INSERT INTO tasks (id, project_id, input, parent_task_id, run_id, origin, created_at)
        SELECT id, 'p', '1', CASE WHEN n % 10 = 1 THEN id(n - 1) END,
        CASE WHEN n < 50000 THEN id(n % 500) END, 'segue', t FROM n;
    INSERT INTO task_states SELECT id,
        CASE WHEN n >= 100000 THEN 6 + n % 3 WHEN n % 10 < 8 THEN 1 WHEN n % 10 = 8 THEN 2
            WHEN n % 100 = 9 THEN 4 ELSE 0 END,
        n % 10, 0, t, 1, 0, 0, 1, 1,
        CASE WHEN n < 100000 AND n % 100 = 9 THEN id(n / 100 % 5) END,
        n / 100, NULL, 0, 0, t, t FROM n;
    INSERT INTO task_attempts (task_id, lease, attempt, started_at, ended_at, outcome)
        SELECT id, 1, 1, t, t, 0 FROM n WHERE n >= 100000;
    INSERT INTO unique_keys SELECT 'p', n, id FROM n WHERE n < 50000;
    INSERT INTO inbox_items SELECT id, id, 1, 'q', 'k', '', '', (n % 50 > 0)::int, NULL, NULL, t, t
        FROM n WHERE n < 20000;
    INSERT INTO lanes SELECT n, '[]', '[]' FROM n WHERE n < 10;
    INSERT INTO capacity_keys SELECT 'k' || n, 1000, t FROM n WHERE n < 20;
    INSERT INTO slots SELECT 'k' || n % 20, n / 20, CASE WHEN n % 3 = 0 THEN id END, 1
        FROM n WHERE n < 20000;
    INSERT INTO flow_runs SELECT id, 'p', 'f', 1, 'small', NULL, '', '', NULL, NULL, NULL, NULL, '', NULL, t
        FROM n WHERE n < 500;
    INSERT INTO flow_run_states SELECT id, n % 2, 0, 9, 0, 100, 1,
        CASE WHEN n % 3 = 0 THEN id(n + 1000) END, NULL, 9, t, 'p', 0, t FROM n WHERE n < 500;
    INSERT INTO flow_run_attempts SELECT id, 1, NULL, 0, t, t FROM n WHERE n < 500;
    INSERT INTO flow_steps SELECT id(n % 500), n / 500, 's', 0, 0, 1, 1, 1, id, 0, NULL, NULL,
        NULL, NULL, NULL, t FROM n WHERE n < 50000;
    INSERT INTO flow_edges SELECT run_id, no, no + 1 FROM flow_steps WHERE no < 99;
    INSERT INTO memos SELECT sha256(id::text::bytea), id, 1 FROM tasks;
    INSERT INTO flow_step_inputs SELECT run_id, no, '1' FROM flow_steps;
    INSERT INTO entries (stream, seq, kind, at, body)
        SELECT id(n % 500), n / 500 + 1, 0, t, '' FROM n WHERE n < 50000;
    INSERT INTO sessions (id, project_id, title, created_at)
        SELECT id, 'p', '', t FROM n WHERE n < 20000;
    INSERT INTO chats (id, project_id, title, next_seq, created_at)
        SELECT id, 'p', '', 1, t FROM n WHERE n < 20000;
    INSERT INTO messages (chat_id, seq, id, role, content, created_at)
        SELECT id(n % 500), n / 500, id, 'user', '', t FROM n WHERE n < 20000;
    INSERT INTO agent_sessions SELECT id, id(n % 500), 'a', n / 500, 'cli', NULL, NULL, NULL, 'h', 3,
        '', 'full', 0, 1, 0, 0, 0, 0, 0, 0, 100, '{}', '', t, t, t FROM n WHERE n < 5000;
    INSERT INTO usage_ledger SELECT id(n % 500), n / 500 + 1, n, id(n % 1000), 'a', 1, id(n % 5000),
        NULL, id, NULL, 'delta', 0, 0, 0, 0, 0, 0, '', t FROM n WHERE n < 5000;
    INSERT INTO turns SELECT id, id(n % 500), 'a', id, n / 500, id, 1,
        CASE WHEN n < 500 THEN 1 ELSE 2 END, NULL, 0, 0, 0, 0, 0, 0, t, t, t FROM n WHERE n < 5000;
    INSERT INTO prompts SELECT id, id(n % 500), 'a', n FROM n WHERE n < 5000;
    INSERT INTO message_parts SELECT id(n / 10), n % 10, 0, 0, '' FROM n WHERE n < 5000;
    INSERT INTO instances SELECT id, '', '', 0, 0, 0, '', t FROM n WHERE n < 5;
    SET session_replication_role = origin";

/// Statistics of a time when everything had ended.
const LATE: &str = "CREATE TEMP TABLE live AS SELECT * FROM task_states WHERE phase < 6;
    DELETE FROM task_states WHERE phase < 6; ANALYZE; INSERT INTO task_states SELECT * FROM live";

/// A statement, its parameters, and the indexes that it finds its rows by.
type Case = (&'static str, &'static str, &'static str);

const HOT: &[Case] = &[
    (sql::TASK, "ARRAY[id(77)]", "task_states_pkey"),
    (sql::ROUTE, "ARRAY[id(77)]", "task_states_pkey tasks_pkey"),
    (sql::SPEC, "ARRAY[id(77)]", "tasks_pkey"),
    (sql::CHILDREN, "ARRAY[id(70)]", "tasks_by_parent"),
    (sql::CHILD_TASKS, "ARRAY[id(70)]", "task_states_pkey tasks_by_parent"),
    (sql::ATTEMPTS, "ARRAY[id(177777)]", "task_attempts_pkey"),
    (sql::ITEM, "ARRAY[id(77)]", "inbox_items_pkey"),
    (sql::ITEMS_OF, "ARRAY[id(77)]", "inbox_items_by_task"),
    (sql::UNIQUE, "ARRAY['p'], ARRAY['7']", "unique_keys_pkey"),
    (sql::SLOTS, "ARRAY['none']", "slots_pkey"),
    (sql::WRITER_MIN, "", "meta_pkey"),
    (sql::CAPACITY, "ARRAY['k1']", "capacity_keys_pkey"),
    (sql::LANE, "ARRAY[7]", "lanes_pkey"),
    (sql::SESSION, "ARRAY[id(77)]", "sessions_pkey"),
    (sql::CHAT, "ARRAY[id(77)]", "chats_pkey"),
    (sql::MESSAGE, "ARRAY[id(77)]", "messages_id_key"),
    (sql::INSTANCE, "ARRAY[id(1)]", "instances_pkey"),
    (sql::RUN_SPEC, "ARRAY[id(77)]", "flow_runs_pkey"),
    (sql::RUN, "ARRAY[id(77)]", "flow_run_states_pkey"),
    (sql::STEP, "ARRAY[id(77)], ARRAY[7]", "flow_steps_pkey"),
    (sql::STEPS_OF, "ARRAY[id(77)]", "flow_steps_pkey"),
    (sql::STEPS_HUNGRY, "ARRAY[id(77)], 64", "flow_steps_hungry"),
    (sql::STEPS_AFTER, "ARRAY[id(77)], ARRAY[7]", "flow_edges_pkey flow_steps_pkey"),
    (sql::EDGES_FROM, "ARRAY[id(77)], ARRAY[7]", "flow_edges_pkey"),
    (sql::EDGES_OF, "ARRAY[id(77)]", "flow_edges_pkey"),
    (
        sql::UPDATE_TASK,
        "ARRAY[id(70)], ARRAY[6], ARRAY[now()], ARRAY[1], ARRAY[0], ARRAY[0], ARRAY[1], ARRAY[2],
         ARRAY[NULL::uuid], ARRAY[0], ARRAY[0], ARRAY[now()], ARRAY[now()], ARRAY[id(70)],
         ARRAY[9], ARRAY[1], ARRAY[NULL::uuid], ARRAY[now()], ARRAY[now()], ARRAY[0],
         ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL::uuid]",
        "task_states_pkey",
    ),
    (
        sql::UPDATE_TASK_OR_FAIL,
        "ARRAY[id(70)], ARRAY[6], ARRAY[now()], ARRAY[1], ARRAY[0], ARRAY[0], ARRAY[1], ARRAY[2],
         ARRAY[NULL::uuid], ARRAY[0], ARRAY[0], ARRAY[now()], ARRAY[now()], ARRAY[id(70)],
         ARRAY[9], ARRAY[1], ARRAY[NULL::uuid], ARRAY[now()], ARRAY[now()], ARRAY[0],
         ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL::uuid], 99",
        "meta_pkey task_states_pkey",
    ),
    (
        sql::INSERT_SPEC_OR_FAIL,
        "ARRAY[id(900000)], ARRAY['p'], ARRAY['k'], ARRAY['1'], ARRAY[0], ARRAY[NULL::timestamptz],
         ARRAY[NULL::uuid], ARRAY[NULL::uuid], ARRAY[NULL::uuid], ARRAY[NULL::uuid],
         ARRAY[NULL::uuid], ARRAY[NULL::int], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL],
         ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY[now()], ARRAY[1], ARRAY[1],
         ARRAY[now()], ARRAY[0], ARRAY[0], ARRAY[0], ARRAY[0], ARRAY[0], ARRAY[NULL::uuid],
         ARRAY[0], ARRAY[0], ARRAY[now()], ARRAY[now()], 99",
        "meta_pkey",
    ),
    (
        sql::INSERT_PLAIN_OR_FAIL,
        "ARRAY[id(900000)], ARRAY['p'], ARRAY['k'], ARRAY['1'], ARRAY[0], ARRAY[now()], ARRAY[1],
         ARRAY[1], ARRAY[now()], 99",
        "meta_pkey",
    ),
    (
        sql::FREE_SLOTS,
        "ARRAY[id(77)]",
        "capacity_keys_pkey slots_by_task slots_pkey task_states_pkey",
    ),
    (sql::FREE_UNIQUE, "ARRAY[id(77)]", "unique_keys_by_task"),
    (
        sql::UPDATE_STEP,
        "ARRAY[id(77)], ARRAY[7], ARRAY[1], ARRAY[0], ARRAY[0], ARRAY[1], ARRAY[NULL::uuid],
         ARRAY[NULL], ARRAY[NULL], ARRAY[now()]",
        "flow_steps_pkey",
    ),
    (sql::RUNS_UNDER, "ARRAY[id(1300)]", "flow_run_states_under"),
    (sql::RUN_ATTEMPTS, "ARRAY[id(77)]", "flow_run_attempts_pkey"),
    (sql::MEMO, "ARRAY[sha256('a')]", "memos_pkey"),
    (sql::STEP_INPUT, "ARRAY[id(77)], ARRAY[7]", "flow_step_inputs_pkey"),
    (sql::DELETE_EDGE, "ARRAY[id(77)], ARRAY[7], ARRAY[8]", "flow_edges_pkey"),
    (sql::DELETE_STEP[0], "ARRAY[id(77)], ARRAY[7]", "flow_step_inputs_pkey"),
    (sql::DELETE_STEP[1], "ARRAY[id(77)], ARRAY[7]", "flow_steps_pkey"),
    (
        sql::CLAIM,
        "now(), ARRAY[1, 2, 3], ARRAY[]::bigint[], ARRAY[]::text[],
         ARRAY[0, 1, 2, 3, 4, 5, 6, 7], 10, id(1), 77",
        "capacity_keys_pkey slots_pkey task_states_pkey task_states_ready tasks_pkey",
    ),
    (
        sql::CLAIM_OR_FAIL,
        "now(), ARRAY[1, 2, 3], ARRAY[]::bigint[], ARRAY[]::text[],
         ARRAY[0, 1, 2, 3, 4, 5, 6, 7], 10, id(1), 77, 99",
        "capacity_keys_pkey meta_pkey slots_pkey task_states_pkey task_states_ready tasks_pkey",
    ),
    (
        sql::LANE_HEAD,
        "now(), ARRAY[1, 2, 3], ARRAY[1], ARRAY['k1'], 10",
        "capacity_keys_pkey slots_pkey task_states_ready",
    ),
    (sql::SLOTS_FREE, "ARRAY['k1'], 10", "capacity_keys_pkey slots_pkey"),
    (
        sql::TAKE_SLOT,
        "now(), id(1), 77, ARRAY[id(70)], ARRAY[id(70)], ARRAY['k1'], ARRAY[1]",
        "slots_pkey task_states_pkey tasks_pkey",
    ),
    (sql::CLAIMED_BEFORE, "id(1), 7", "task_states_running tasks_pkey"),
    (sql::TURN, "ARRAY[id(77)]", "turns_pkey"),
    (sql::TURN_ROUTE, "ARRAY[id(77)]", "turns_pkey"),
    (sql::PROMPT, "ARRAY[id(77)]", "prompts_pkey"),
    (sql::PROMPTS_IN_LINE, "ARRAY[id(77)], ARRAY['a'], ARRAY[0], 256", "prompts_by_chat"),
    (sql::PROMPTS_OF, "ARRAY[id(77)]", "prompts_by_chat"),
    (sql::DELETE_PROMPT, "ARRAY[id(77)]", "prompts_pkey"),
    (sql::LOCK_OF_CHAT[0], "ARRAY[id(77)]", "turns_by_chat"),
    (sql::LOCK_OF_CHAT[1], "ARRAY[id(77)]", "agent_sessions_by_chat"),
    (sql::OPEN_TURNS, "ARRAY[id(77)]", "turns_open"),
    (sql::AGENT_SESSION, "ARRAY[id(77)]", "agent_sessions_pkey"),
    (sql::NEWEST_AGENT_SESSION, "ARRAY[id(77)], ARRAY['a']", "agent_sessions_by_chat"),
    (sql::BOOKING, "ARRAY[id(77)], ARRAY['77']", "usage_ledger_by_source"),
    (sql::PART, "ARRAY[id(77)], ARRAY[7]", "message_parts_pkey"),
    (sql::BEAT, "id(1)", "instances_pkey"),
    (sql::RIPE, "now(), 10", "task_states_timer"),
    (sql::RIPE, "'epoch', 10", "task_states_timer"),
    (sql::NEXT_TIMER, "", "task_states_timer"),
    (sql::FOREIGN, "10", "tasks_foreign"),
    (sql::HELD, "id(2), 10", "task_states_running"),
    (sql::HOLDERS, "", "instances_pkey task_states_running"),
    (sql::ANY_READY, "now()", "capacity_keys_pkey lanes_pkey slots_pkey task_states_ready"),
    (sql::LAST_ENTRY, "", "entries_by_commit meta_pkey"),
    (sql::TAIL, "id(77), 7, 10", "entries_stream_seq_key"),
    (sql::TAIL_ALL, "'0', 0, 10", "entries_by_commit"),
    (sql::HIDDEN, "", "entries_by_commit"),
    (sql::ENTRY_IS_KEPT, "id(77), 7", "entries_stream_seq_key"),
    (sql::TASKS_OF_RUN, "ARRAY[id(77)]", "tasks_by_run"),
    (sql::DELETE_TASK[0], "ARRAY[id(77)]", "task_attempts_pkey"),
    (sql::DELETE_TASK[1], "ARRAY[id(77)]", "inbox_items_by_task"),
    (sql::DELETE_TASK[2], "ARRAY[id(77)]", "unique_keys_by_task"),
    (sql::DELETE_TASK[3], "ARRAY[id(77)]", "task_states_pkey"),
];

/// So many pages are enough for the few rows that are asked for.
const PAGES: u64 = 400;

/// What was seen of a statement that ran, and was undone.
#[derive(Debug)]
struct Seen {
    indexes: BTreeSet<String>,
    /// Pages that it looked at.
    pages: u64,
    text: String,
}

async fn explain(client: &Client, text: &str, params: &str) -> Seen {
    let call = if params.is_empty() { String::new() } else { format!("({params})") };
    let run = format!(
        "BEGIN; PREPARE it AS {text};
         EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) EXECUTE it{call};
         DEALLOCATE it; ROLLBACK"
    );
    let answer = client.simple_query(&run).await;
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}: {run}"));
    let lines = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let indexes = text.split(" using ").skip(1).filter_map(|rest| rest.split_whitespace().next());
    let indexes = indexes.map(str::to_owned).collect();
    let buffers = text.lines().find(|line| line.contains("Buffers: shared"));
    let numbers = buffers.unwrap_or_default().split(['=', ' ']);
    let pages = numbers.take_while(|part| *part != "dirtied").filter_map(|n| n.parse::<u64>().ok());
    Seen { indexes, pages: pages.sum(), text }
}

#[tokio::test]
async fn hot_statements_find_their_rows_by_index_in_large_tables() {
    // One of its own: what all runs tell shows once every older transaction has ended, and here
    // are long ones.
    let cluster = Cluster::start();
    let (_backend, client) = migrated(&cluster.url()).await;
    // Statistics must not come by themselves.
    let tables = "SELECT string_agg(format('ALTER TABLE %I SET (autovacuum_enabled = off)',
        relname), ';') FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND relkind = 'r'";
    let off: String = client.query_one(tables, &[]).await.unwrap().get(0);
    client.batch_execute(&off).await.unwrap();
    client.batch_execute(ROWS).await.unwrap();
    for statistics in ["", "ANALYZE", LATE] {
        client.batch_execute(statistics).await.unwrap();
        for (text, params, expected) in HOT {
            let seen = explain(&client, text, params).await;
            let expected = expected.split_whitespace().map(str::to_owned).collect();
            assert_eq!(seen.indexes, expected, "{text}\n{}", seen.text);
            assert!(seen.pages <= PAGES, "{} pages of {text}\n{}", seen.pages, seen.text);
            let scans = ["Seq Scan", "Bitmap"].iter().any(|scan| seen.text.contains(scan));
            assert!(!scans, "{text}\n{}", seen.text);
        }
        // Off the path: no index has what is finished, so it is looked for in the order of ids.
        let seen = explain(&client, sql::OLD_TASKS, "now(), 10").await;
        assert!(seen.indexes.contains("task_states_pkey"), "{}", seen.text);
        assert!(!seen.text.contains("Sort"), "{}", seen.text);
    }
}

/// Lane 1 has a key whose one slot is held, lane 2 has none. Both are known and served, and one
/// task is wanted.
const FULL_LANE: &str = "INSERT INTO lanes VALUES (1, '[]', '[\"full\"]'), (2, '[]', '[]');
    INSERT INTO capacity_keys VALUES ('full', 1, 'epoch');
    INSERT INTO slots VALUES ('full', 0, gen_random_uuid(), 1)";

/// So many more ready tasks in a lane.
fn ready(lane: i64, count: usize) -> String {
    format!(
        "WITH new AS (INSERT INTO tasks (project_id, input, origin)
             SELECT 'p', '1', 'segue' FROM generate_series(1, {count}) RETURNING id)
         INSERT INTO task_states SELECT id, 1, {lane}, 0, 'epoch', 0, 0, 0, 0, 0, NULL, 0, NULL,
             0, 0, 'epoch', 'epoch' FROM new"
    )
}

#[tokio::test]
async fn a_claim_reads_nothing_of_a_full_lane() {
    let (_backend, client) = migrated(&cluster::url()).await;
    client.batch_execute(FULL_LANE).await.unwrap();
    client.batch_execute(&ready(2, 50)).await.unwrap();
    let claim = "now(), ARRAY[1, 2], ARRAY[1], ARRAY['full'], ARRAY[1, 2], 1, gen_random_uuid(), 7";
    let or_fail = format!("{claim}, 99");
    let heads = "now(), ARRAY[1, 2], ARRAY[1], ARRAY['full'], 1";
    let mut pages = Vec::new();
    for more in [10, 10_000] {
        client.batch_execute(&ready(1, more)).await.unwrap();
        for (text, params) in
            [(sql::CLAIM, claim), (sql::CLAIM_OR_FAIL, &or_fail), (sql::LANE_HEAD, heads)]
        {
            // The first time the connection also reads what the tables are.
            explain(&client, text, params).await;
            let seen = explain(&client, text, params).await;
            pages.push((seen.pages, seen.text));
        }
    }
    let (few, many) = pages.split_at(3);
    for ((few, _), (many, text)) in few.iter().zip(many) {
        // An index that is higher costs a page for each time that it is looked into.
        assert!(*many <= few + 20, "{many} pages beside 10,000, {few} beside 10\n{text}");
    }
}
