//! The plans of SQLite, which are the same with and without statistics.

use rusqlite::{Connection, StatementStatus, types::Value};
use segue::{
    backend::{Backend, sqlite::Options},
    id::{RunId, TaskId},
    model::{ItemFilter, ItemState, RunFilter, RunState, TaskFilter, TaskState},
};

#[allow(dead_code, reason = "not every statement has a plan that matters")]
#[path = "../../../src/backend/sqlite/sql/mod.rs"]
mod sql;

async fn migrated() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.db");
    Options::new(&path).open().unwrap().migrate().await.unwrap();
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    (folder, conn)
}

#[tokio::test]
async fn every_statement_fits_the_tables() {
    let (_folder, conn) = migrated().await;
    let all = super::statements!(
        DROP_SLOTS_OF NEXT_LANE LANE_REST SLOTS_HELD NEXT_HOLDER NOTE_PRUNED_ENTRIES PARTS_OF_PAGE DATA_VERSION SHRINK FOLD CHECKPOINT BACK_UP
    );
    for (name, texts) in &all {
        for text in texts {
            conn.prepare(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    for (name, value) in sql::PRAGMAS {
        conn.pragma_update(None, name, value).unwrap();
    }
    for source in [
        include_str!("../../../src/backend/sqlite/sql/mod.rs"),
        include_str!("../../../src/backend/sqlite/sql/flows.rs"),
        include_str!("../../../src/backend/sqlite/sql/agents.rs"),
    ] {
        super::expect_all(source, &all, &["PRAGMAS"]);
    }
}

#[tokio::test]
async fn lists_fit_the_tables_whatever_they_filter_by() {
    let (_folder, conn) = migrated().await;
    let text = || Some("x".to_owned());
    let all = TaskFilter {
        project: text(),
        states: vec![TaskState::Failed],
        kind: text(),
        parent: Some(TaskId::new()),
        arena: Some(uuid::Uuid::nil().into()),
        chat: Some(uuid::Uuid::nil().into()),
        run: Some(uuid::Uuid::nil().into()),
        label: text().zip(text()),
    };
    for filter in [TaskFilter::default(), all] {
        conn.prepare(&sql::list_tasks(&filter)).unwrap();
    }
}

/// A page begins where the one before ended, whatever it filters by, and nothing is sorted.
#[tokio::test]
async fn pages_of_runs_walk_an_index() {
    let (_folder, conn) = migrated().await;
    let text = || Some("x".to_owned());
    let states = vec![RunState::Failed];
    let of_project = RunFilter { project: text(), states, flow: text() };
    let (all, any) = (RunFilter { project: None, ..of_project.clone() }, RunFilter::default());
    let by_project = "SEARCH r INDEX flow_runs_by_project (project_id=?";
    let by_id = "SEARCH r PRIMARY KEY (id<?)".to_owned();
    let rows = [
        (&of_project, None, format!("{by_project})")),
        (&of_project, Some(RunId::new()), format!("{by_project} AND id<?)")),
        (&all, None, "SCAN r; SEARCH s ".to_owned()),
        (&all, Some(RunId::new()), by_id.clone()),
        (&any, Some(RunId::new()), by_id),
    ];
    for (filter, after, expected) in rows {
        let plan = plan(&conn, &sql::list_runs(filter, after));
        assert!(plan.starts_with(&expected), "{filter:?}, {after:?}: {plan}");
        assert!(!plan.contains("B-TREE"), "{plan}");
    }
}

/// 300,000 tasks: 80,000 ready in 8 lanes, 10,000 scheduled, 9,000 that wait for others, 1,000
/// running in 5 instances, 200,000 finished; and what they leave behind.
const ROWS: &str = "
    CREATE TEMP TABLE n AS WITH RECURSIVE c (n) AS
        (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 299999)
        SELECT n, unhex(printf('%032x', n)) AS id FROM c;
    INSERT INTO segue_tasks (id, project_id, input, parent_task_id, run_id, origin, created_at)
        SELECT id, 'p', '1', CASE WHEN n % 10 = 1 THEN unhex(printf('%032x', n - 1)) END,
        CASE WHEN n < 50000 THEN unhex(printf('%032x', n % 500)) END, 'segue', n FROM n;
    INSERT INTO segue_task_states SELECT id,
        CASE WHEN n >= 100000 THEN 6 + n % 3 WHEN n % 10 < 8 THEN 1 WHEN n % 10 = 8 THEN 2
            WHEN n % 100 = 9 THEN 4 ELSE 0 END,
        n % 10, 0, n, 1, 0, 0, 1, 1,
        CASE WHEN n < 100000 AND n % 100 = 9 THEN unhex(printf('%032x', n / 100 % 5)) END,
        n / 100, NULL, 0, 0, n, n FROM n;
    INSERT INTO segue_task_attempts (task_id, lease, attempt, started_at, ended_at, outcome)
        SELECT id, 1, 1, n, n, 0 FROM n WHERE n >= 100000;
    INSERT INTO segue_unique_keys SELECT 'p', n, id FROM n WHERE n < 50000;
    INSERT INTO segue_inbox_items SELECT id, id, 1, 'q', 'k', '', '', n % 50 > 0, NULL, NULL, n, n
        FROM n WHERE n < 20000;
    INSERT INTO segue_lanes SELECT n, '[]', '[]' FROM n WHERE n < 10;
    INSERT INTO segue_capacity_keys SELECT 'k' || n, 1000, n FROM n WHERE n < 20;
    INSERT INTO segue_slots SELECT 'k' || (n % 20), n / 20, CASE WHEN n % 3 = 0 THEN id END, 1
        FROM n WHERE n < 20000;
    INSERT INTO segue_flow_runs SELECT id, 'p', 'f', 1, 'small', NULL, '', '', NULL, NULL, NULL, NULL,
        '', NULL, n FROM n WHERE n < 500;
    INSERT INTO segue_flow_run_states SELECT id, n % 2, 0, 9, 0, 100, 1,
        CASE WHEN n % 3 = 0 THEN unhex(printf('%032x', n + 1000)) END, NULL, 9, n, 'p', 0, n
        FROM n WHERE n < 500;
    INSERT INTO segue_flow_run_attempts SELECT id, 1, NULL, 0, n, n FROM n WHERE n < 500;
    INSERT INTO segue_flow_steps SELECT unhex(printf('%032x', n % 500)), n / 500, 's', 0, 0, 1, 1,
        1, id, 0, NULL, NULL, NULL, NULL, NULL, n FROM n WHERE n < 50000;
    INSERT INTO segue_flow_edges SELECT run_id, no, no + 1, NULL
        FROM segue_flow_steps WHERE no < 99;
    INSERT INTO segue_memos SELECT randomblob(32), id, 1 FROM segue_tasks;
    INSERT INTO segue_flow_step_inputs SELECT run_id, no, '1' FROM segue_flow_steps;
    INSERT INTO segue_entries (stream, seq, kind, at, body)
        SELECT unhex(printf('%032x', n % 500)), n / 500 + 1, 0, n, '' FROM n WHERE n < 50000;
    INSERT INTO segue_sessions (id, project_id, title, created_at)
        SELECT id, 'p', '', n FROM n WHERE n < 20000;
    INSERT INTO segue_chats (id, project_id, title, next_seq, created_at)
        SELECT id, 'p', '', 1, n FROM n WHERE n < 20000;
    INSERT INTO segue_messages (chat_id, seq, id, role, content, created_at)
        SELECT unhex(printf('%032x', n % 500)), n / 500, id, 'user', '', n FROM n WHERE n < 20000;
    INSERT INTO segue_agent_sessions SELECT id, unhex(printf('%032x', n % 500)), 'a', n / 500, 'cli',
        NULL, NULL, NULL, 'h', 3, '', 'full', 0, 1, 0, 0, 0, 0, 0, 0, 100, '{}', '', n, n, n
        FROM n WHERE n < 5000;
    INSERT INTO segue_usage_ledger SELECT unhex(printf('%032x', n % 500)), n / 500 + 1, n,
        unhex(printf('%032x', n % 1000)), 'a', 1, unhex(printf('%032x', n % 5000)), NULL, id, NULL,
        'delta', 0, 0, 0, 0, 0, 0, '', n FROM n WHERE n < 5000;
    INSERT INTO segue_turns SELECT id, unhex(printf('%032x', n % 500)), 'a', id, n / 500, id, 1,
        CASE WHEN n < 500 THEN 1 ELSE 2 END, NULL, 0, 0, 0, 0, 0, 0, n, n, n FROM n WHERE n < 5000;
    INSERT INTO segue_prompts SELECT id, unhex(printf('%032x', n % 500)), 'a', n FROM n WHERE n < 5000;
    INSERT INTO segue_message_parts SELECT unhex(printf('%032x', n / 10)), n % 10, 0, 0, ''
        FROM n WHERE n < 5000;
    INSERT INTO segue_instances SELECT id, '', '', 0, 0, 0, '', 0 FROM n WHERE n < 5";

/// A statement, its parameters, and how it must find its rows.
type Case = (&'static str, &'static [&'static str], &'static str);

const ID: &str = "unhex(printf('%032x', 77))";
const READY: &str = "unhex(printf('%032x', 70))";

const HOT: &[Case] = &[
    (sql::TASK, &[ID], "SEARCH task_states PRIMARY KEY (id=?)"),
    (
        sql::ROUTE,
        &[ID],
        "SEARCH s PRIMARY KEY (id=?); SEARCH t INDEX sqlite_autoindex_tasks_1 (id=?)",
    ),
    (sql::SPEC, &[ID], "SEARCH tasks INDEX sqlite_autoindex_tasks_1 (id=?)"),
    (sql::CHILDREN, &[ID], "SEARCH tasks INDEX tasks_by_parent (parent_task_id=?)"),
    (
        sql::ATTEMPTS,
        &[ID],
        "SEARCH task_attempts INDEX sqlite_autoindex_task_attempts_1 (task_id=?)",
    ),
    (sql::ITEM, &[ID], "SEARCH inbox_items PRIMARY KEY (id=?)"),
    (sql::ITEMS_OF, &[ID], "SEARCH inbox_items INDEX inbox_items_by_task (task_id=?)"),
    (sql::UNIQUE, &["'p'", "'7'"], "SEARCH unique_keys PRIMARY KEY (project_id=? AND key=?)"),
    (sql::SLOTS, &["'none'"], "SEARCH slots PRIMARY KEY (key=?)"),
    (sql::WRITER_MIN, &[], "SEARCH meta PRIMARY KEY (name=?)"),
    (sql::CAPACITY, &["'k1'"], "SEARCH capacity_keys PRIMARY KEY (name=?)"),
    (sql::SLOTS_HELD, &["'none'"], "SEARCH slots PRIMARY KEY (key=?)"),
    (
        sql::DROP_SLOTS,
        &["'k1'"],
        "SEARCH slots PRIMARY KEY (key=? AND n>?); SCALAR SUBQUERY 1; SEARCH capacity_keys PRIMARY KEY (name=?)",
    ),
    (sql::LANE, &["7"], "SEARCH lanes INTEGER PRIMARY KEY (rowid=?)"),
    (sql::SESSION, &[ID], "SEARCH sessions PRIMARY KEY (id=?)"),
    (sql::CHAT, &[ID], "SEARCH chats PRIMARY KEY (id=?)"),
    (sql::MESSAGE, &[ID], "SEARCH messages INDEX sqlite_autoindex_messages_1 (id=?)"),
    (sql::INSTANCE, &[ID], "SEARCH instances PRIMARY KEY (id=?)"),
    (sql::RUN_SPEC, &[ID], "SEARCH flow_runs PRIMARY KEY (id=?)"),
    (sql::RUN, &[ID], "SEARCH flow_run_states PRIMARY KEY (id=?)"),
    (sql::STEP, &[ID, "7"], "SEARCH flow_steps PRIMARY KEY (run_id=? AND no=?)"),
    (sql::STEPS_OF, &[ID], "SEARCH flow_steps PRIMARY KEY (run_id=?)"),
    (sql::STEPS_HUNGRY, &[ID, "64"], "SEARCH flow_steps INDEX flow_steps_hungry (run_id=?)"),
    (sql::EDGES_FROM, &[ID, "7"], "SEARCH flow_edges PRIMARY KEY (run_id=? AND from_no=?)"),
    (sql::EDGES_OF, &[ID], "SEARCH flow_edges PRIMARY KEY (run_id=?)"),
    (
        sql::UPDATE_TASK,
        &[READY, "1", "0", "1", "0", "0", "1", "2", "NULL", "0", "0", "0", "0"],
        "SEARCH task_states PRIMARY KEY (id=?)",
    ),
    (
        sql::INSERT_ATTEMPT,
        &[ID, "9", "1", "NULL", "0", "0", "0", "NULL", "NULL", "NULL", "NULL"],
        "",
    ),
    (sql::FREE_SLOTS, &[ID], "SEARCH slots INDEX slots_by_task (task_id=?)"),
    (sql::FREE_UNIQUE, &[ID], "SEARCH unique_keys COVERING INDEX unique_keys_by_task (task_id=?)"),
    (sql::DROP_SLOTS_OF, &[ID], "SEARCH slots COVERING INDEX slots_by_task (task_id=?)"),
    (
        sql::UPDATE_STEP,
        &[ID, "7", "1", "0", "0", "1", "NULL", "NULL", "NULL", "0"],
        "SEARCH flow_steps PRIMARY KEY (run_id=? AND no=?)",
    ),
    (
        sql::RUNS_UNDER,
        &["unhex(printf('%032x', 1300))"],
        "SEARCH flow_run_states INDEX flow_run_states_under (parent_task_id=?)",
    ),
    (sql::RUN_ATTEMPTS, &[ID], "SEARCH flow_run_attempts PRIMARY KEY (run_id=?)"),
    (sql::MEMO, &["randomblob(32)"], "SEARCH memos PRIMARY KEY (key=?)"),
    (sql::STEP_INPUT, &[ID, "7"], "SEARCH flow_step_inputs PRIMARY KEY (run_id=? AND no=?)"),
    (
        sql::DELETE_EDGE,
        &[ID, "7", "8"],
        "SEARCH flow_edges PRIMARY KEY (run_id=? AND from_no=? AND to_no=?)",
    ),
    (sql::DELETE_STEP[0], &[ID, "7"], "SEARCH flow_step_inputs PRIMARY KEY (run_id=? AND no=?)"),
    (sql::DELETE_STEP[1], &[ID, "7"], "SEARCH flow_steps PRIMARY KEY (run_id=? AND no=?)"),
    (sql::NEXT_LANE, &["-1"], "SEARCH task_states COVERING INDEX task_states_ready (lane>?)"),
    (sql::NEXT_LANE, &["7"], "SEARCH task_states COVERING INDEX task_states_ready (lane>?)"),
    (
        sql::LANE_REST,
        &["3", "0", ID, "10"],
        "SEARCH task_states COVERING INDEX task_states_ready (lane=? AND (priority,id)>(?,?))",
    ),
    (sql::CLAIM, &[READY, ID, "7", "0"], "SEARCH task_states PRIMARY KEY (id=?)"),
    (
        sql::CLAIMED_BEFORE,
        &[ID, "7"],
        "SEARCH task_states INDEX task_states_running (holder=? AND claim=?); USE TEMP B-TREE FOR ORDER BY",
    ),
    (
        sql::TAKE_SLOT,
        &["'k1'", ID, "7"],
        "SEARCH slots PRIMARY KEY (key=? AND n=?); SCALAR SUBQUERY 1; SEARCH slots PRIMARY KEY (key=?)",
    ),
    (sql::TURN, &[ID], "SEARCH turns PRIMARY KEY (id=?)"),
    (sql::TURN_ROUTE, &[ID], "SEARCH turns PRIMARY KEY (id=?)"),
    (sql::PROMPT, &[ID], "SEARCH prompts PRIMARY KEY (task_id=?)"),
    (
        sql::PROMPTS_IN_LINE,
        &[ID, "'a'", "0", "256"],
        "SEARCH prompts COVERING INDEX prompts_by_chat (chat_id=? AND agent=? AND place>?)",
    ),
    (sql::PROMPTS_OF, &[ID], "SEARCH prompts COVERING INDEX prompts_by_chat (chat_id=?)"),
    (sql::DELETE_PROMPT, &[ID], "SEARCH prompts PRIMARY KEY (task_id=?)"),
    (sql::OPEN_TURNS, &[ID], "SEARCH turns INDEX turns_open (chat_id=?)"),
    (
        sql::AGENT_SESSION,
        &[ID],
        "SEARCH agent_sessions INDEX sqlite_autoindex_agent_sessions_1 (id=?)",
    ),
    (
        sql::NEWEST_AGENT_SESSION,
        &[ID, "'a'"],
        "SEARCH agent_sessions INDEX agent_sessions_by_chat (chat_id=? AND agent=?)",
    ),
    (
        sql::BOOKING,
        &[ID, "'77'"],
        "SEARCH usage_ledger INDEX usage_ledger_by_source (agent_session=? AND source=?)",
    ),
    (
        sql::PART,
        &[ID, "7"],
        "SEARCH message_parts INDEX sqlite_autoindex_message_parts_1 (message_id=? AND no=?)",
    ),
    (
        sql::PARTS_OF_PAGE,
        &[ID, "0", "9"],
        "SEARCH m INDEX sqlite_autoindex_messages_2 (chat_id=? AND seq>? AND seq<?); SEARCH p INDEX sqlite_autoindex_message_parts_1 (message_id=?)",
    ),
    (sql::BEAT, &[ID], "SEARCH instances PRIMARY KEY (id=?)"),
    (sql::RIPE, &["9999999", "10"], "SEARCH task_states INDEX task_states_timer (run_at<?)"),
    (sql::RIPE, &["0", "10"], "SEARCH task_states INDEX task_states_timer (run_at<?)"),
    (sql::NEXT_TIMER, &[], "SEARCH task_states COVERING INDEX task_states_timer"),
    (sql::FOREIGN, &["10"], "SCAN tasks INDEX tasks_foreign"),
    (
        sql::HELD,
        &["unhex(printf('%032x', 2))", "10"],
        "SEARCH task_states INDEX task_states_running (holder=?)",
    ),
    (
        sql::NEXT_HOLDER,
        &["x''"],
        "SEARCH task_states COVERING INDEX task_states_running (holder>?)",
    ),
    (
        sql::NEXT_HOLDER,
        &["unhex(printf('%032x', 4))"],
        "SEARCH task_states COVERING INDEX task_states_running (holder>?)",
    ),
    (
        sql::ANY_READY,
        &[],
        "SCAN CONSTANT ROW; SCALAR SUBQUERY 1; SCAN task_states COVERING INDEX task_states_ready",
    ),
    (
        sql::LAST_ENTRY,
        &[],
        "SCAN CONSTANT ROW; SCALAR SUBQUERY 1; SEARCH entries; SCALAR SUBQUERY 2; SEARCH meta PRIMARY KEY (name=?)",
    ),
    (
        sql::TAIL,
        &[ID, "7", "10"],
        "SEARCH entries INDEX sqlite_autoindex_entries_1 (stream=? AND seq>?)",
    ),
    (sql::TAIL_ALL, &["49000", "10"], "SEARCH entries INTEGER PRIMARY KEY (rowid>?)"),
    (
        sql::ENTRY_IS_KEPT,
        &[ID, "7"],
        "SCAN CONSTANT ROW; SCALAR SUBQUERY 1; SEARCH entries COVERING INDEX sqlite_autoindex_entries_1 (stream=? AND seq=?)",
    ),
    (sql::TASKS_OF_RUN, &[ID], "SEARCH tasks INDEX tasks_by_run (run_id=?)"),
    (
        sql::DELETE_TASK[0],
        &[ID],
        "SEARCH task_attempts INDEX sqlite_autoindex_task_attempts_1 (task_id=?)",
    ),
    (sql::DELETE_TASK[1], &[ID], "SEARCH inbox_items INDEX inbox_items_by_task (task_id=?)"),
    (
        sql::DELETE_TASK[2],
        &[ID],
        "SEARCH unique_keys COVERING INDEX unique_keys_by_task (task_id=?)",
    ),
    (sql::DELETE_TASK[3], &[ID], "SEARCH task_states PRIMARY KEY (id=?)"),
];

/// So many steps of SQLite's machine are enough for the few rows that are asked for.
const STEPS: i32 = 3_000;

/// How a statement finds its rows, in short.
fn plan(conn: &Connection, text: &str) -> String {
    let mut explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
    let lines = explained.raw_query().mapped(|row| row.get::<_, String>(3));
    let lines = lines.map(|line| line.unwrap().replace("segue_", "").replace("USING ", ""));
    lines.collect::<Vec<_>>().join("; ")
}

/// How much work a statement is, and undoes it.
fn steps(conn: &mut Connection, text: &str, params: &[&str]) -> i32 {
    let tx = conn.transaction().unwrap();
    let value = |text: &&str| -> Value {
        tx.query_row(&format!("SELECT {text}"), [], |row| row.get(0)).unwrap()
    };
    let values: Vec<Value> = params.iter().map(value).collect();
    let mut statement = tx.prepare(text).unwrap();
    let mut rows = statement.query(rusqlite::params_from_iter(values)).unwrap();
    while rows.next().unwrap().is_some() {}
    drop(rows);
    statement.get_status(StatementStatus::VmStep)
}

#[tokio::test]
async fn hot_statements_find_their_rows_by_index_in_large_tables() {
    let (_folder, mut conn) = migrated().await;
    conn.pragma_update(None, "foreign_keys", "0").unwrap();
    conn.execute_batch(&format!("BEGIN; {ROWS}; COMMIT")).unwrap();
    conn.pragma_update(None, "foreign_keys", "1").unwrap();
    for statistics in ["", "ANALYZE"] {
        conn.execute_batch(statistics).unwrap();
        for (text, params, expected) in HOT {
            assert_eq!(plan(&conn, text), *expected, "{text}");
            let steps = steps(&mut conn, text, params);
            assert!(steps <= STEPS, "{steps} steps of {text}");
        }
        // Off the path: no index has what is finished, so it is looked for in the order of ids.
        let old = "SCAN s; CORRELATED SCALAR SUBQUERY 1; SEARCH c COVERING INDEX tasks_by_parent \
                   (parent_task_id=?)";
        assert_eq!(plan(&conn, sql::OLD_TASKS), old);
        lists_begin_with_what_is_few(&conn);
    }
}

fn lists_begin_with_what_is_few(conn: &Connection) {
    let project = Some("p".to_owned());
    let open = ItemFilter { project: project.clone(), ..ItemFilter::open() };
    let closed = ItemFilter { states: vec![ItemState::Answered], project, ..Default::default() };
    let of_task = ItemFilter { task: Some(TaskId::new()), ..Default::default() };
    let cases = [
        (sql::list_inbox(&open), "SCAN i INDEX inbox_items_open; SEARCH t "),
        (sql::list_inbox(&closed), "SCAN i; "),
        (sql::list_inbox(&of_task), "SEARCH i INDEX inbox_items_by_task (task_id=?); "),
        (sql::LEDGER_OF_CHAT.into(), "SEARCH usage_ledger INDEX usage_ledger_by_chat (chat_id=?)"),
        (sql::SPENT_OF_TASK.into(), "SEARCH usage_ledger INDEX usage_ledger_by_task (task_id=?)"),
        (sql::LIST_TURNS.into(), "SEARCH turns INDEX turns_by_chat (chat_id=?)"),
        (
            sql::LIST_AGENT_SESSIONS.into(),
            "SEARCH agent_sessions INDEX agent_sessions_by_chat (chat_id=?)",
        ),
        (
            sql::COUNT_PROJECT.into(),
            "COMPOUND QUERY; LEFT-MOST SUBQUERY; SEARCH t COVERING INDEX tasks_by_project (project_id=?); SEARCH s PRIMARY KEY (id=?)",
        ),
    ];
    for (text, expected) in cases {
        let plan = plan(conn, &text);
        assert!(plan.starts_with(expected), "{plan}\n{text}");
        assert!(!plan.contains("SCAN t"), "{plan}\n{text}");
    }
}

/// Text would be compared as text.
#[tokio::test]
async fn times_are_integers_in_every_table() {
    let (_folder, conn) = migrated().await;
    let lax = "SELECT name FROM pragma_table_list
        WHERE name LIKE 'segue!_%' ESCAPE '!' AND type = 'table' AND NOT strict";
    let lax: Vec<String> = conn
        .prepare(lax)
        .unwrap()
        .query([])
        .unwrap()
        .mapped(|row| row.get(0))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(lax, ["segue_schema_history"], "tables that take values of any type");
    let times = "SELECT t.name || '.' || c.name, c.type
        FROM pragma_table_list t JOIN pragma_table_info(t.name) c
        WHERE t.name LIKE 'segue!_%' ESCAPE '!' AND t.type = 'table' AND t.strict
        AND (c.name LIKE '%!_at' ESCAPE '!' OR c.name IN ('at', 'parked_until', 'beat'))";
    let mut times = conn.prepare(times).unwrap();
    let times = times.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let times: Vec<(String, String)> = times.collect::<Result<_, _>>().unwrap();
    assert!(times.len() > 15, "{times:?}");
    assert!(times.iter().all(|(_, kind)| kind == "INTEGER"), "{times:?}");
    let text =
        "INSERT INTO segue_tasks (project_id, input, run_at) VALUES ('p', '1', '2026-01-01')";
    assert!(conn.execute(text, []).is_err(), "a time as text");
}
