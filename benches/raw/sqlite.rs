//! SQLite: WAL, synchronous=FULL, one connection.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::{Case, FINISHED, Held, NewTask, RawLoop, Report, Result, all_cases, bytes, measure};

const TABLES: &str = include_str!("../../migrations/sqlite/V1__tasks.sql");

const INSERT_TASK: &str = "
INSERT INTO segue_tasks (id, project_id, kind, input, priority, options, origin, created_at)
VALUES (?1, 'project', 'agent', ?2, 0, '{}', 'raw', ?3)";
const INSERT_STATE: &str = "
INSERT INTO segue_task_states (id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at)
VALUES (?1, 1, ?2, 0, 0, 0, 0, 0, 0, 0, NULL, 0, NULL, 0, 0, 0, 0)";

const SETTLE: &str = "
UPDATE segue_task_states SET phase = 6, rev = rev + 1, holder = NULL, ended_at = ?4
WHERE id = ?1 AND lease = ?2 AND rev = ?3 AND phase = 4";
const INSERT_ATTEMPT: &str = "
INSERT INTO segue_task_attempts (task_id, lease, attempt, holder, started_at, ended_at, outcome, output)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)";

/// The first ready task of the next lane: one index probe a lane.
const NEXT_LANE: &str = "
SELECT lane, priority, id FROM segue_task_states
WHERE phase = 1 AND lane > ?1
ORDER BY lane, priority, id LIMIT 1";
/// The ready tasks of a lane behind one of them.
const BEHIND: &str = "
SELECT priority, id FROM segue_task_states
WHERE phase = 1 AND lane = ?1 AND (priority, id) > (?2, ?3)
ORDER BY priority, id LIMIT ?4";
const CLAIM: &str = "
UPDATE segue_task_states SET phase = 4, attempt = attempt + 1, lease = lease + 1, rev = rev + 1,
    holder = ?2, claim = ?3, started_at = ?4
WHERE id = ?1
RETURNING id, lease, rev, attempt, lane, priority, run_at, failures, interruptions, run_id, step_no, flags,
    started_at";
/// Heads and claim in one statement: the queue of the recursion is ordered, so that it merges lanes.
const CLAIM_AT_ONCE: &str = "
WITH RECURSIVE lanes (lane) AS (
    SELECT min(lane) FROM segue_task_states WHERE phase = 1
    UNION ALL
    SELECT (SELECT min(s.lane) FROM segue_task_states s WHERE s.phase = 1 AND s.lane > l.lane)
    FROM lanes l WHERE l.lane IS NOT NULL),
heads (lane, priority, id) AS (
    SELECT s.lane, s.priority, s.id FROM lanes l CROSS JOIN segue_task_states s
    WHERE s.id = (SELECT n.id FROM segue_task_states n WHERE n.phase = 1 AND n.lane = l.lane
                  ORDER BY n.priority, n.id LIMIT 1)
    UNION ALL
    SELECT s.lane, s.priority, s.id FROM heads h CROSS JOIN segue_task_states s
    WHERE s.id = (SELECT n.id FROM segue_task_states n WHERE n.phase = 1 AND n.lane = h.lane
                  AND (n.priority, n.id) > (h.priority, h.id) ORDER BY n.priority, n.id LIMIT 1)
    ORDER BY 2, 3 LIMIT ?1)
UPDATE segue_task_states SET phase = 4, attempt = attempt + 1, lease = lease + 1, rev = rev + 1,
    holder = ?2, claim = ?3, started_at = ?4
WHERE id IN (SELECT id FROM heads)
RETURNING id, lease, rev, attempt, lane, priority, run_at, failures, interruptions, run_id, step_no, flags,
    started_at";
const COLD: &str = "
SELECT project_id, kind, input, session_id, chat_id, agent, model, mode_id, thinking_option_id, options, meta
FROM segue_tasks WHERE id = ?1";

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Designed,
    /// The three large tables with a rowid, their keys as separate indexes.
    Rowid,
    /// Only the tables that hold payloads with a rowid.
    ColdRowid,
}

#[derive(Clone, Copy, PartialEq)]
enum Claim {
    /// Lanes, heads of each merged here, one update a task.
    Merge,
    /// One statement.
    AtOnce,
}

pub struct Sqlite {
    conn: Connection,
    claim: Claim,
    me: Uuid,
    seq: i64,
    held: Vec<Held>,
    output: String,
    _dir: tempfile::TempDir,
}

impl Sqlite {
    fn create(layout: Layout, claim: Claim) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let conn = Connection::open(dir.path().join("raw.db"))?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;",
        )?;
        conn.execute_batch(&std::env::var("SEGUE_RAW_PRAGMAS").unwrap_or_default())?;
        conn.execute_batch(&tables(layout))?;
        let output = format!("\"{}\"", "x".repeat(bytes("SEGUE_RAW_OUTPUT", 2)));
        let db =
            Self { conn, claim, me: Uuid::now_v7(), seq: 0, held: Vec::new(), output, _dir: dir };
        db.durable(true)?;
        Ok(db)
    }

    /// `SEGUE_RAW_SYNC=off` keeps it off.
    fn durable(&self, on: bool) -> Result<()> {
        let on = on && std::env::var("SEGUE_RAW_SYNC").as_deref() != Ok("off");
        Ok(self.conn.pragma_update(None, "synchronous", if on { "FULL" } else { "OFF" })?)
    }
}

/// The migration, with `WITHOUT ROWID` taken from some tables.
fn tables(layout: Layout) -> String {
    let with_rowid: &[&str] = match layout {
        Layout::Designed => &[],
        Layout::Rowid => &["segue_tasks", "segue_task_states", "segue_task_attempts"],
        Layout::ColdRowid => &["segue_tasks", "segue_task_attempts"],
    };
    let mut sql = TABLES.to_owned();
    for table in with_rowid {
        let start = sql.find(&format!("CREATE TABLE {table} (")).expect("the table");
        let end = start + sql[start..].find(";\n").expect("its end");
        let rowid = sql[start..end].replace(" STRICT, WITHOUT ROWID", " STRICT");
        sql.replace_range(start..end, &rowid);
    }
    sql
}

impl RawLoop for Sqlite {
    fn enqueue(&mut self, tasks: &[NewTask]) -> Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert_task = tx.prepare_cached(INSERT_TASK)?;
        let mut insert_state = tx.prepare_cached(INSERT_STATE)?;
        for task in tasks {
            insert_task.execute(params![task.id.as_bytes(), task.input, now()])?;
            insert_state.execute(params![task.id.as_bytes(), task.lane])?;
        }
        drop((insert_task, insert_state));
        Ok(tx.commit()?)
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        self.seq += 1;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        settle(&tx, &self.held, self.me, &self.output)?;
        self.held = match self.claim {
            _ if batch == 0 => Vec::new(),
            Claim::Merge => claim_merged(&tx, batch, self.me, self.seq)?,
            Claim::AtOnce => claim_at_once(&tx, batch, self.me, self.seq)?,
        };
        read_cold(&tx, &self.held)?;
        tx.commit()?;
        Ok(self.held.len())
    }

    fn load_finished(&mut self, count: i64) -> Result<()> {
        self.durable(false)?;
        self.conn.execute(
            "INSERT INTO segue_tasks (id, project_id, kind, input, options, origin, created_at)
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
             SELECT unhex(printf('%012x7%03x8%015x', 1700000000000 + n / 10, n % 10, random() & 0xffffffffffff)),
                    'project', 'agent', '{\"prompt\":\"Fix the failing test\"}', '{}', 'loaded', 1
             FROM n WHERE ?1 > 0",
            [count],
        )?;
        self.conn.execute_batch(
            "INSERT INTO segue_task_states
             SELECT id, 6, 1, 0, 0, 1, 0, 0, 1, 2, NULL, 1, NULL, 0, 0, 1, 2 FROM segue_tasks WHERE origin = 'loaded' ORDER BY id;
             INSERT INTO segue_task_attempts
             SELECT id, 1, 1, zeroblob(16), 1, 2, 1, 'null', NULL, NULL FROM segue_tasks WHERE origin = 'loaded' ORDER BY id;
             PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(RESTART);",
        )?;
        self.durable(true)
    }

    fn clear(&mut self) -> Result<()> {
        self.held.clear();
        self.durable(false)?;
        self.conn.execute_batch(
            "BEGIN IMMEDIATE;
             DELETE FROM segue_tasks WHERE id IN (SELECT id FROM segue_task_states WHERE phase = 1);
             DELETE FROM segue_task_states WHERE phase = 1;
             COMMIT; PRAGMA wal_checkpoint(RESTART);",
        )?;
        self.durable(true)
    }

    fn plans(&mut self) -> Result<String> {
        let mut text = String::new();
        let statements = [
            ("next lane", NEXT_LANE),
            ("behind", BEHIND),
            ("claim", CLAIM),
            ("claim at once", CLAIM_AT_ONCE),
            ("cold", COLD),
            ("settle", SETTLE),
        ];
        for (name, sql) in statements {
            let mut plan = self.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let nulls = vec![rusqlite::types::Null; plan.parameter_count()];
            let details =
                plan.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3))?;
            text += &format!("SQLite, {name}:\n");
            for detail in details {
                text += &format!("    {}\n", detail?);
            }
        }
        Ok(text)
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

fn settle(tx: &Transaction, held: &[Held], me: Uuid, output: &str) -> Result<()> {
    let now = now();
    let mut update = tx.prepare_cached(SETTLE)?;
    let mut insert = tx.prepare_cached(INSERT_ATTEMPT)?;
    for h in held {
        let id = h.id.as_bytes();
        if update.execute(params![id, h.lease, h.rev, now])? == 1 {
            insert.execute(params![
                id,
                h.lease,
                h.attempt,
                me.as_bytes(),
                h.started,
                now,
                output
            ])?;
        }
    }
    Ok(())
}

/// Decodes every column that a claim returns.
fn held(row: &Row) -> rusqlite::Result<Held> {
    for column in 4..9 {
        std::hint::black_box(row.get::<_, i64>(column)?);
    }
    std::hint::black_box(row.get::<_, Option<[u8; 16]>>(9)?);
    Ok(Held {
        id: Uuid::from_bytes(row.get(0)?),
        lease: row.get(1)?,
        rev: row.get(2)?,
        attempt: row.get(3)?,
        started: row.get(12)?,
    })
}

fn claim_at_once(tx: &Transaction, batch: usize, me: Uuid, seq: i64) -> Result<Vec<Held>> {
    let mut claim = tx.prepare_cached(CLAIM_AT_ONCE)?;
    let rows = claim.query_map(params![batch as i64, me.as_bytes(), seq, now()], held)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn claim_merged(tx: &Transaction, batch: usize, me: Uuid, seq: i64) -> Result<Vec<Held>> {
    let now = now();
    let mut claim = tx.prepare_cached(CLAIM)?;
    heads(tx, batch)?
        .iter()
        .map(|id| Ok(claim.query_row(params![id.as_bytes(), me.as_bytes(), seq, now], held)?))
        .collect()
}

/// The first `batch` ready tasks over all lanes by (priority, id), reading little more than those.
fn heads(tx: &Transaction, batch: usize) -> Result<Vec<Uuid>> {
    let mut lanes = first_of_lanes(tx)?;
    let chunk = (batch / lanes.len().max(1)).max(1);
    let mut behind = tx.prepare_cached(BEHIND)?;
    let mut merge: BinaryHeap<_> =
        lanes.iter().enumerate().map(|(n, lane)| Reverse((lane.first, n))).collect();
    let mut chosen = Vec::with_capacity(batch);
    while let Some(Reverse((head, n))) = merge.pop() {
        chosen.push(head.1);
        if chosen.len() == batch {
            break;
        }
        let lane = &mut lanes[n];
        if lane.read.is_empty() {
            let rows = behind
                .query_map(params![lane.id, head.0, head.1.as_bytes(), chunk as i64], |row| {
                    Ok((row.get(0)?, Uuid::from_bytes(row.get(1)?)))
                })?;
            lane.read = rows.collect::<rusqlite::Result<_>>()?;
        }
        merge.extend(lane.read.pop_front().map(|next| Reverse((next, n))));
    }
    Ok(chosen)
}

struct Lane {
    id: i64,
    first: (i64, Uuid),
    /// What was read behind the task that stands in the merge.
    read: VecDeque<(i64, Uuid)>,
}

fn first_of_lanes(tx: &Transaction) -> Result<Vec<Lane>> {
    let mut next = tx.prepare_cached(NEXT_LANE)?;
    let mut lanes: Vec<Lane> = Vec::new();
    loop {
        let after = lanes.last().map_or(i64::MIN, |lane| lane.id);
        let lane = next.query_row([after], |row| {
            let first = (row.get(1)?, Uuid::from_bytes(row.get(2)?));
            Ok(Lane { id: row.get(0)?, first, read: VecDeque::new() })
        });
        match lane.optional()? {
            Some(lane) => lanes.push(lane),
            None => return Ok(lanes),
        }
    }
}

fn read_cold(tx: &Transaction, held: &[Held]) -> Result<()> {
    let mut cold = tx.prepare_cached(COLD)?;
    for h in held {
        let row: (String, String, Option<String>) =
            cold.query_row([h.id.as_bytes()], |row| Ok((row.get(1)?, row.get(2)?, row.get(9)?)))?;
        std::hint::black_box(row);
    }
    Ok(())
}

/// The least that a queue can be: one table, one partial index.
struct Minimal {
    conn: Connection,
    held: Vec<(i64, i64)>,
    _dir: tempfile::TempDir,
}

impl Minimal {
    fn create() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let conn = Connection::open(dir.path().join("raw.db"))?;
        let off = std::env::var("SEGUE_RAW_SYNC").as_deref() == Ok("off");
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", if off { "OFF" } else { "FULL" })?;
        conn.execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, state INTEGER, priority INTEGER, lease INTEGER);
             CREATE INDEX ready ON t (priority, id) WHERE state = 1;",
        )?;
        Ok(Self { conn, held: Vec::new(), _dir: dir })
    }
}

impl RawLoop for Minimal {
    fn enqueue(&mut self, tasks: &[NewTask]) -> Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for _ in tasks {
            tx.prepare_cached("INSERT INTO t (state, priority, lease) VALUES (1, 0, 0)")?
                .execute([])?;
        }
        Ok(tx.commit()?)
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for held in &self.held {
            tx.prepare_cached("UPDATE t SET state = 6 WHERE id = ?1 AND lease = ?2")?
                .execute(*held)?;
        }
        self.held = tx
            .prepare_cached(
                "UPDATE t SET state = 4, lease = lease + 1
                 WHERE id IN (SELECT id FROM t WHERE state = 1 ORDER BY priority, id LIMIT ?1) RETURNING id, lease",
            )?
            .query_map([batch as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        tx.commit()?;
        Ok(self.held.len())
    }

    fn load_finished(&mut self, _: i64) -> Result<()> {
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        self.held.clear();
        Ok(self.conn.execute_batch("DELETE FROM t WHERE state = 1")?)
    }

    fn plans(&mut self) -> Result<String> {
        Ok(String::new())
    }
}

pub fn run(report: &mut Report) -> Result<()> {
    let empty = Case { waiting: 10, finished: 0, lanes: 1 };
    report.add(measure(&mut Minimal::create()?, "sqlite minimal", empty)?);
    let mut designed = Sqlite::create(Layout::Designed, Claim::Merge)?;
    println!("{}", designed.plans()?);
    all_cases(&mut designed, "sqlite", report)?;
    designed.claim = Claim::AtOnce;
    variants(&mut designed, "sqlite claim at once", FINISHED, report)?;
    drop(designed);
    for (name, layout) in
        [("sqlite rowid", Layout::Rowid), ("sqlite cold rowid", Layout::ColdRowid)]
    {
        let mut db = Sqlite::create(layout, Claim::Merge)?;
        variants(&mut db, name, 0, report)?;
        db.load_finished(FINISHED)?;
        variants(&mut db, name, FINISHED, report)?;
    }
    Ok(())
}

/// The two extremes of backlog and lanes.
fn variants(db: &mut Sqlite, name: &str, finished: i64, report: &mut Report) -> Result<()> {
    for (waiting, lanes) in [(10, 1), (100_000, 50)] {
        report.add(measure(db, name, Case { waiting, finished, lanes })?);
    }
    Ok(())
}
