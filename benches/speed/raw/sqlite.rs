//! SQLite: one connection, WAL, `synchronous = FULL`. The statements of the backend.

use rusqlite::{
    Connection, Params, Transaction, TransactionBehavior::Immediate, params, types::Null,
};
use uuid::Uuid;

use super::{
    super::{Result, place::Place},
    Chat, Queue, lane, told,
};

#[allow(dead_code, unused_imports, reason = "a raw loop runs few of them")]
#[path = "../../../src/backend/sqlite/sql/mod.rs"]
mod sql;

/// What the settling of a claimed task needs.
struct Held {
    id: [u8; 16],
    run_at: i64,
    attempt: i64,
    failures: i64,
    interruptions: i64,
    lease: i64,
    rev: i64,
    flags: i64,
    started_at: i64,
}

pub struct Own {
    conn: Connection,
    held: Vec<Held>,
    lane: i64,
    me: [u8; 16],
    seq: i64,
}

/// Begins a transaction as each of the backend's begins.
fn begin(conn: &mut Connection) -> Result<Transaction<'_>> {
    let tx = conn.transaction_with_behavior(Immediate)?;
    tx.prepare_cached(sql::WRITER_MIN)?.query_row([], |row| row.get::<_, i64>(0))?;
    Ok(tx)
}

fn run(tx: &Transaction<'_>, text: &str, params: impl Params) -> Result<()> {
    tx.prepare_cached(text)?.execute(params)?;
    Ok(())
}

impl Own {
    pub fn new(place: &Place) -> Result<Self> {
        let (conn, me) = (place.connection()?, *Uuid::now_v7().as_bytes());
        Ok(Self { conn, held: Vec::new(), lane: lane(), me, seq: 0 })
    }

    /// Completes what is held.
    fn settle(tx: &Transaction<'_>, held: &[Held], me: [u8; 16], now: i64) -> Result<()> {
        let mut update = tx.prepare_cached(sql::UPDATE_TASK)?;
        for task in held {
            update.execute(params![
                task.id,
                6,
                task.run_at,
                task.attempt,
                task.failures,
                task.interruptions,
                task.lease,
                task.rev + 1,
                Null,
                0,
                task.flags,
                task.started_at,
                now
            ])?;
        }
        let mut insert = tx.prepare_cached(sql::INSERT_ATTEMPT)?;
        for task in held {
            insert.execute(params![
                task.id,
                task.lease,
                task.attempt,
                me,
                task.started_at,
                now,
                1,
                "null",
                Null,
                Null,
                Null
            ])?;
        }
        Ok(())
    }

    /// The ids of the first tasks of the lanes; there is one.
    fn heads(tx: &Transaction<'_>, batch: usize) -> Result<Vec<[u8; 16]>> {
        let (mut ids, mut at) = (Vec::new(), -1_i64);
        let mut next = tx.prepare_cached(sql::NEXT_LANE)?;
        let mut rest = tx.prepare_cached(sql::LANE_REST)?;
        loop {
            let mut rows = next.query([at])?;
            let Some(first) = rows.next()? else { return Ok(ids) };
            let (lane, priority, id): (i64, i64, [u8; 16]) =
                (first.get(0)?, first.get(1)?, first.get(2)?);
            drop(rows);
            at = lane;
            ids.push(id);
            let after = params![lane, priority, id, batch as i64 - 1];
            for id in rest.query_map(after, |row| row.get(2))? {
                ids.push(id?);
            }
        }
    }
}

fn held(row: &rusqlite::Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held {
        id: row.get(0)?,
        run_at: row.get(4)?,
        attempt: row.get(5)?,
        failures: row.get(6)?,
        interruptions: row.get(7)?,
        lease: row.get(8)?,
        rev: row.get(9)?,
        flags: row.get(14)?,
        started_at: row.get(15)?,
    })
}

impl Queue for Own {
    fn enqueue(&mut self, count: usize) -> Result<()> {
        let tx = begin(&mut self.conn)?;
        let now = now();
        let ids: Vec<[u8; 16]> = (0..count).map(|_| *Uuid::now_v7().as_bytes()).collect();
        let mut cold = tx.prepare_cached(sql::INSERT_SPEC)?;
        for id in &ids {
            cold.execute(params![
                id, "default", "count", "null", 0, Null, Null, Null, Null, Null, Null, Null, Null,
                Null, Null, Null, Null, Null, Null, Null, now
            ])?;
        }
        let mut hot = tx.prepare_cached(sql::INSERT_TASK)?;
        for id in &ids {
            hot.execute(params![
                id, 1, self.lane, 0, now, 0, 0, 0, 0, 0, Null, 0, Null, 0, 0, 0, 0
            ])?;
        }
        drop((cold, hot));
        Ok(tx.commit()?)
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        self.seq += 1;
        let (me, seq, now) = (self.me, self.seq, now());
        let tx = begin(&mut self.conn)?;
        Self::settle(&tx, &self.held, me, now)?;
        let heads = Self::heads(&tx, batch)?;
        let mut take = tx.prepare_cached(sql::CLAIM)?;
        let mut cold = tx.prepare_cached(sql::SPEC)?;
        self.held.clear();
        for id in heads {
            self.held.push(take.query_row(params![id, me, seq, now], held)?);
            cold.query_row([id], |row| {
                std::hint::black_box((row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?));
                Ok(())
            })?;
        }
        drop((take, cold));
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
            "INSERT INTO segue_chats (id, project_id, next_seq, created_at) VALUES (?1, 'default', 1, 0)",
            [chat.as_bytes()],
        )?;
        Ok(Self { conn, chat, seq: 0 })
    }
}

impl Chat for Talk {
    fn append(&mut self) -> Result<()> {
        self.seq += 1;
        let (chat, seq, now) = (*self.chat.as_bytes(), self.seq, now());
        let message = Uuid::now_v7();
        let tx = begin(&mut self.conn)?;
        tx.prepare_cached(sql::CHAT)?.query_row([chat], |row| row.get::<_, i64>(5))?;
        tx.prepare_cached(sql::MESSAGE)?.exists([message.as_bytes()])?;
        run(
            &tx,
            sql::PUT_CHAT,
            params![chat, "default", Null, "", Null, seq + 1, now, Null, Null],
        )?;
        let said = params![chat, seq, message.as_bytes(), "user", "\"hello\"", Null, now];
        run(&tx, sql::INSERT_MESSAGE, said)?;
        run(&tx, sql::INSERT_ENTRY, params![2, chat, seq, now, told(message, seq)?])?;
        Ok(tx.commit()?)
    }

    fn tail(&mut self) -> Result<usize> {
        let (mut after, mut count) = (0, 0);
        loop {
            let mut page = self.conn.prepare_cached(sql::TAIL)?;
            let page = page.query_map(params![self.chat.as_bytes(), after, 256], |row| {
                Ok((row.get(3)?, row.get::<_, String>(5)?))
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
