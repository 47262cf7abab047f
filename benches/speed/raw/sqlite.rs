//! SQLite: one connection, WAL, `synchronous = FULL`.

use rusqlite::{Connection, Transaction, TransactionBehavior::Immediate, params};
use uuid::Uuid;

use super::{
    super::{Result, place::Place},
    Chat, Queue,
};

const LANE: i64 = 7;

pub struct Own {
    conn: Connection,
    /// Ids, leases and revisions of what was claimed.
    held: Vec<([u8; 16], i64, i64)>,
    seq: i64,
}

impl Own {
    pub fn new(place: &Place) -> Result<Self> {
        Ok(Self { conn: place.connection()?, held: Vec::new(), seq: 0 })
    }

    fn settle(tx: &Transaction<'_>, held: &[([u8; 16], i64, i64)], me: &[u8]) -> Result<()> {
        let mut update = tx.prepare_cached(
            "UPDATE segue_task_states SET phase = 6, rev = rev + 1, holder = NULL, ended_at = ?4
             WHERE id = ?1 AND lease = ?2 AND rev = ?3 AND phase = 4",
        )?;
        let mut insert = tx.prepare_cached(
            "INSERT INTO segue_task_attempts (task_id, lease, attempt, holder, started_at,
             ended_at, outcome, output) VALUES (?1, ?2, 1, ?3, ?4, ?4, 1, 'null')",
        )?;
        let now = now();
        for (id, lease, rev) in held {
            update.execute(params![id, lease, rev, now])?;
            insert.execute(params![id, lease, me, now])?;
        }
        Ok(())
    }
}

impl Queue for Own {
    fn enqueue(&mut self, count: usize) -> Result<()> {
        let tx = self.conn.transaction_with_behavior(Immediate)?;
        let mut cold = tx.prepare_cached(
            "INSERT INTO segue_tasks (id, project_id, kind, input, priority, options, origin,
             created_at) VALUES (?1, 'default', 'count', 'null', 0, NULL, 'raw', ?2)",
        )?;
        let mut hot = tx.prepare_cached(
            "INSERT INTO segue_task_states (id, phase, lane, priority, run_at, attempt, failures,
             interruptions, lease, rev, holder, claim, run_id, step_no, flags, started_at,
             ended_at) VALUES (?1, 1, ?2, 0, 0, 0, 0, 0, 0, 0, NULL, 0, NULL, 0, 0, 0, 0)",
        )?;
        for _ in 0..count {
            let id = Uuid::now_v7();
            cold.execute(params![id.as_bytes(), now()])?;
            hot.execute(params![id.as_bytes(), LANE])?;
        }
        drop((cold, hot));
        Ok(tx.commit()?)
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        self.seq += 1;
        let (me, seq) = ([7_u8; 16], self.seq);
        let tx = self.conn.transaction_with_behavior(Immediate)?;
        Self::settle(&tx, &self.held, &me)?;
        let mut heads = tx.prepare_cached(
            "SELECT id FROM segue_task_states WHERE phase = 1 AND lane = ?1
             ORDER BY priority, id LIMIT ?2",
        )?;
        let ids = heads.query_map(params![LANE, batch as i64], |row| row.get(0))?;
        let ids: Vec<[u8; 16]> = ids.collect::<rusqlite::Result<_>>()?;
        let mut take = tx.prepare_cached(
            "UPDATE segue_task_states SET phase = 4, attempt = attempt + 1, lease = lease + 1,
             rev = rev + 1, holder = ?2, claim = ?3, started_at = ?4 WHERE id = ?1
             RETURNING id, lease, rev, attempt, lane, priority, run_at, failures, interruptions,
             run_id, step_no, flags, started_at",
        )?;
        let mut cold = tx.prepare_cached(
            "SELECT project_id, kind, input, session_id, chat_id, agent, model, mode_id,
             thinking_option_id, options, meta FROM segue_tasks WHERE id = ?1",
        )?;
        self.held.clear();
        let now = now();
        for id in ids {
            let held = take.query_row(params![id, me, seq, now], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            let text: (String, String) =
                cold.query_row([id], |row| Ok((row.get(1)?, row.get(2)?)))?;
            std::hint::black_box(text);
            self.held.push(held);
        }
        drop((heads, take, cold));
        tx.commit()?;
        Ok(self.held.len())
    }
}

pub struct Minimal {
    conn: Connection,
    held: Vec<(i64, i64)>,
}

impl Minimal {
    pub fn new(place: &Place) -> Result<Self> {
        let conn = place.connection()?;
        conn.execute_batch(
            "CREATE TABLE least (id INTEGER PRIMARY KEY, state INTEGER, priority INTEGER,
                 lease INTEGER);
             CREATE INDEX least_ready ON least (priority, id) WHERE state = 1;",
        )?;
        Ok(Self { conn, held: Vec::new() })
    }
}

impl Queue for Minimal {
    fn enqueue(&mut self, count: usize) -> Result<()> {
        let tx = self.conn.transaction_with_behavior(Immediate)?;
        let insert = "INSERT INTO least (state, priority, lease) VALUES (1, 0, 0)";
        let mut insert = tx.prepare_cached(insert)?;
        for _ in 0..count {
            insert.execute([])?;
        }
        drop(insert);
        Ok(tx.commit()?)
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        let tx = self.conn.transaction_with_behavior(Immediate)?;
        let settle = "UPDATE least SET state = 6 WHERE id = ?1 AND lease = ?2";
        let mut settle = tx.prepare_cached(settle)?;
        for held in &self.held {
            settle.execute(*held)?;
        }
        let mut take = tx.prepare_cached(
            "UPDATE least SET state = 4, lease = lease + 1 WHERE id IN (SELECT id FROM least
             WHERE state = 1 ORDER BY priority, id LIMIT ?1) RETURNING id, lease",
        )?;
        let taken = take.query_map([batch as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.held = taken.collect::<rusqlite::Result<_>>()?;
        drop((settle, take));
        tx.commit()?;
        Ok(self.held.len())
    }
}

pub struct Talk {
    conn: Connection,
    chat: Uuid,
    seq: i64,
}

impl Talk {
    pub fn new(place: &Place) -> Result<Self> {
        let (conn, chat) = (place.connection()?, Uuid::now_v7());
        conn.execute(
            "INSERT INTO segue_chats (id, project_id, next_seq, created_at) VALUES (?1, 'p', 1, 0)",
            [chat.as_bytes()],
        )?;
        Ok(Self { conn, chat, seq: 0 })
    }
}

impl Chat for Talk {
    fn append(&mut self) -> Result<()> {
        self.seq += 1;
        let (chat, seq, now) = (self.chat.as_bytes(), self.seq, now());
        let tx = self.conn.transaction_with_behavior(Immediate)?;
        tx.prepare_cached("SELECT next_seq FROM segue_chats WHERE id = ?1")?
            .query_row([chat], |row| row.get::<_, i64>(0))?;
        tx.prepare_cached("UPDATE segue_chats SET next_seq = ?2 WHERE id = ?1")?
            .execute(params![chat, seq + 1])?;
        tx.prepare_cached(
            "INSERT INTO segue_messages (chat_id, seq, id, role, content, created_at)
             VALUES (?1, ?2, ?3, 'user', '\"hello\"', ?4)",
        )?
        .execute(params![chat, seq, Uuid::now_v7().as_bytes(), now])?;
        tx.prepare_cached(
            "INSERT INTO segue_entries (stream, seq, kind, at, body) VALUES (?1, ?2, 1, ?3, '[]')",
        )?
        .execute(params![chat, seq, now])?;
        Ok(tx.commit()?)
    }

    fn tail(&mut self) -> Result<usize> {
        let (mut after, mut count) = (0, 0);
        loop {
            let mut page = self.conn.prepare_cached(
                "SELECT seq, pos, kind, at, body FROM segue_entries WHERE stream = ?1 AND seq > ?2
                 ORDER BY seq LIMIT 256",
            )?;
            let page = page.query_map(params![self.chat.as_bytes(), after], |row| {
                Ok((row.get(0)?, row.get::<_, String>(4)?))
            })?;
            let page: Vec<(i64, String)> = page.collect::<rusqlite::Result<_>>()?;
            match std::hint::black_box(&page).last() {
                Some((seq, _)) => after = *seq,
                None => return Ok(count),
            }
            count += page.len();
        }
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

pub fn fill(place: &Place, finished: usize, waiting: usize) -> Result<()> {
    let conn = place.connection()?;
    conn.execute_batch(&format!(
        "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE;
         CREATE TEMP TABLE n AS WITH RECURSIVE c (n) AS
             (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {finished} + {waiting})
             SELECT n, unhex(printf('%012x7%03x8%015x', 1700000000000 + n / 10, n % 10,
                 random() & 0xffffffffffff)) AS id FROM c WHERE {finished} + {waiting} > 0;
         INSERT INTO segue_tasks (id, project_id, kind, input, priority, origin, created_at)
             SELECT id, 'default', 'count', 'null', 0, 'filled', 1 FROM n ORDER BY id;
         INSERT INTO segue_task_states SELECT id, iif(n > {finished}, 1, 6),
             (SELECT max(id) FROM segue_lanes), 0, 0, n <= {finished}, 0, 0, n <= {finished}, n <= {finished}, NULL, 0,
             NULL, 0, 0, 1, 2 FROM n ORDER BY id;
         INSERT INTO segue_task_attempts (task_id, lease, attempt, holder, started_at, ended_at,
             outcome, output) SELECT id, 1, 1, zeroblob(16), 1, 2, 1, 'null' FROM n WHERE n <= {finished}
             ORDER BY id;
         COMMIT; DROP TABLE n; PRAGMA wal_checkpoint(TRUNCATE);"
    ))?;
    Ok(())
}
