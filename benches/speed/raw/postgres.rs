//! PostgreSQL: one connection, fsync on, an exchange pipelined into one round trip.

use std::sync::Arc;

use futures_util::future::try_join4;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{
    super::{Result, place::Place},
    Chat, Queue,
};

/// One good plan each, whatever the statistics say.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET jit = off;
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off";

const ENQUEUE: &str = "WITH new AS (SELECT unnest($1::uuid[]) AS id), cold AS (
    INSERT INTO tasks (id, project_id, kind, input, priority, options, origin)
    SELECT id, 'default', 'count', 'null', 0, NULL, 'raw' FROM new)
    INSERT INTO task_states (id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at)
    SELECT id, 1, 7, 0, 'epoch', 0, 0, 0, 0, 0, NULL, 0, NULL, 0, 0, 'epoch', 'epoch' FROM new";

const SETTLE: &str = "WITH settled AS (
    UPDATE task_states s SET phase = 6, rev = s.rev + 1, holder = NULL, ended_at = now()
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS u (id, lease, rev)
    WHERE s.id = u.id AND s.lease = u.lease AND s.rev = u.rev AND s.phase + 0 = 4
    RETURNING s.id, s.lease, s.attempt, s.started_at, s.ended_at)
    INSERT INTO task_attempts (task_id, lease, attempt, holder, started_at, ended_at, outcome,
    output) SELECT id, lease, attempt, $4::uuid, started_at, ended_at, 1, 'null' FROM settled";

const CLAIM: &str = "WITH heads AS MATERIALIZED (SELECT id FROM task_states
    WHERE phase = 1 AND lane = 7 ORDER BY priority, id LIMIT $1::bigint FOR UPDATE SKIP LOCKED),
    taken AS (UPDATE task_states s SET phase = 4, attempt = s.attempt + 1, lease = s.lease + 1,
    rev = s.rev + 1, holder = $2::uuid, claim = $3::bigint, started_at = now()
    FROM heads h WHERE s.id = h.id RETURNING s.*)
    SELECT s.*, t.project_id, t.kind, t.input, t.session_id, t.chat_id, t.agent, t.model,
    t.mode_id, t.thinking_option_id, t.options, t.meta
    FROM taken s JOIN tasks t ON t.id = s.id ORDER BY s.priority, s.id";

fn client(place: &Place) -> Result<Client> {
    let client = place.client()?;
    place.runtime().block_on(client.batch_execute(SETTINGS))?;
    Ok(client)
}

pub struct Own {
    runtime: Arc<Runtime>,
    client: Client,
    enqueue: Statement,
    settle: Statement,
    claim: Statement,
    held: Vec<(Uuid, i64, i64)>,
    seq: i64,
}

impl Own {
    pub fn new(place: &Place) -> Result<Self> {
        let (runtime, client) = (Arc::clone(place.runtime()), client(place)?);
        let enqueue = runtime.block_on(client.prepare(ENQUEUE))?;
        let settle = runtime.block_on(client.prepare(SETTLE))?;
        let claim = runtime.block_on(client.prepare(CLAIM))?;
        Ok(Self { runtime, client, enqueue, settle, claim, held: Vec::new(), seq: 0 })
    }
}

fn held(row: &Row) -> (Uuid, i64, i64) {
    std::hint::black_box((row.get::<_, &str>("kind"), row.get::<_, &str>("input")));
    (row.get("id"), row.get("lease"), row.get("rev"))
}

impl Queue for Own {
    fn enqueue(&mut self, count: usize) -> Result<()> {
        let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        self.runtime.block_on(self.client.execute(&self.enqueue, &[&ids]))?;
        Ok(())
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        self.seq += 1;
        let ids: Vec<Uuid> = self.held.iter().map(|held| held.0).collect();
        let leases: Vec<i64> = self.held.iter().map(|held| held.1).collect();
        let revs: Vec<i64> = self.held.iter().map(|held| held.2).collect();
        let (me, batch, db) = (Uuid::nil(), batch as i64, &self.client);
        let trip = async {
            try_join4(
                db.batch_execute("BEGIN"),
                db.query(&self.settle, &[&ids, &leases, &revs, &me]),
                db.query(&self.claim, &[&batch, &me, &self.seq]),
                db.batch_execute("COMMIT"),
            )
            .await
        };
        let rows = self.runtime.block_on(trip)?.2;
        self.held = rows.iter().map(held).collect();
        Ok(rows.len())
    }
}

pub struct Minimal {
    runtime: Arc<Runtime>,
    client: Client,
    enqueue: Statement,
    exchange: Statement,
    held: Vec<(i64, i64)>,
}

impl Minimal {
    pub fn new(place: &Place) -> Result<Self> {
        let (runtime, client) = (Arc::clone(place.runtime()), client(place)?);
        runtime.block_on(client.batch_execute(
            "CREATE TABLE least (id bigserial PRIMARY KEY, state int, priority int, lease bigint);
             CREATE INDEX least_ready ON least (priority, id) WHERE state = 1",
        ))?;
        let enqueue = runtime.block_on(client.prepare(
            "INSERT INTO least (state, priority, lease)
             SELECT 1, 0, 0 FROM generate_series(1, $1::bigint)",
        ))?;
        let exchange = runtime.block_on(client.prepare(
            "WITH done AS (UPDATE least t SET state = 6
                 FROM unnest($1::bigint[], $2::bigint[]) AS u (id, lease)
                 WHERE t.id = u.id AND t.lease = u.lease),
             heads AS MATERIALIZED (SELECT id FROM least WHERE state = 1
                 ORDER BY priority, id LIMIT $3::bigint FOR UPDATE SKIP LOCKED)
             UPDATE least t SET state = 4, lease = t.lease + 1 FROM heads h WHERE t.id = h.id
             RETURNING t.id, t.lease",
        ))?;
        Ok(Self { runtime, client, enqueue, exchange, held: Vec::new() })
    }
}

impl Queue for Minimal {
    fn enqueue(&mut self, count: usize) -> Result<()> {
        self.runtime.block_on(self.client.execute(&self.enqueue, &[&(count as i64)]))?;
        Ok(())
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        let (ids, leases): (Vec<i64>, Vec<i64>) = self.held.iter().copied().unzip();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&ids, &leases, &(batch as i64)];
        let rows = self.runtime.block_on(self.client.query(&self.exchange, &params))?;
        self.held = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(rows.len())
    }
}

pub struct Talk {
    runtime: Arc<Runtime>,
    client: Client,
    append: Statement,
    page: Statement,
    chat: Uuid,
}

impl Talk {
    pub fn new(place: &Place) -> Result<Self> {
        let (runtime, client) = (Arc::clone(place.runtime()), client(place)?);
        let chat = Uuid::now_v7();
        runtime.block_on(client.execute(
            "INSERT INTO chats (id, project_id, next_seq, created_at) VALUES ($1, 'p', 1, now())",
            &[&chat],
        ))?;
        let append = runtime.block_on(client.prepare(
            "WITH told AS (UPDATE chats SET next_seq = next_seq + 1 WHERE id = $1::uuid
                 RETURNING next_seq - 1 AS seq),
             said AS (INSERT INTO messages (chat_id, seq, id, role, content, created_at)
                 SELECT $1, seq, $2::uuid, 'user', '\"hello\"', now() FROM told)
             INSERT INTO entries (stream, seq, kind, at, body) SELECT $1, seq, 1, now(), '[]'
             FROM told",
        ))?;
        let page = runtime.block_on(client.prepare(
            "SELECT seq, pos, kind, at, body FROM entries WHERE stream = $1::uuid
             AND seq > $2::bigint ORDER BY seq LIMIT 256",
        ))?;
        Ok(Self { runtime, client, append, page, chat })
    }
}

impl Chat for Talk {
    fn append(&mut self) -> Result<()> {
        let message = Uuid::now_v7();
        // The statement is a transaction by itself.
        self.runtime.block_on(self.client.execute(&self.append, &[&self.chat, &message]))?;
        Ok(())
    }

    fn tail(&mut self) -> Result<usize> {
        let (mut after, mut count) = (0_i64, 0);
        loop {
            let page =
                self.runtime.block_on(self.client.query(&self.page, &[&self.chat, &after]))?;
            match std::hint::black_box(&page).last() {
                Some(row) => after = row.get(0),
                None => return Ok(count),
            }
            count += page.len();
        }
    }
}

pub fn fill(place: &Place, finished: usize, waiting: usize) -> Result<()> {
    let client = place.client()?;
    let sql = format!(
        "SET synchronous_commit = off; SET session_replication_role = replica;
         CREATE TEMP TABLE n AS SELECT n, (lpad(to_hex(1700000000000 + n / 10), 12, '0') || '7'
             || lpad(to_hex(n % 10), 3, '0') || '8' || substr(md5(n::text), 1, 15))::uuid AS id
             FROM generate_series(1, {finished} + {waiting}) n;
         INSERT INTO tasks (id, project_id, kind, input, priority, origin)
             SELECT id, 'default', 'count', 'null', 0, 'filled' FROM n ORDER BY id;
         INSERT INTO task_states SELECT id, CASE WHEN n > {finished} THEN 1 ELSE 6 END,
             (SELECT max(id) FROM lanes), 0, 'epoch', (n <= {finished})::int, 0, 0, (n <= {finished})::int,
             (n <= {finished})::int, NULL, 0, NULL, 0, 0, now(), now() FROM n ORDER BY id;
         INSERT INTO task_attempts (task_id, lease, attempt, holder, started_at, ended_at,
             outcome, output) SELECT id, 1, 1, id, now(), now(), 1, 'null'
             FROM n WHERE n <= {finished} ORDER BY id;
         DROP TABLE n;"
    );
    place.runtime().block_on(async {
        client.batch_execute(&sql).await?;
        for table in ["tasks", "task_states", "task_attempts"] {
            client.batch_execute(&format!("VACUUM ANALYZE {table}")).await?;
        }
        Ok(client.batch_execute("CHECKPOINT").await?)
    })
}
