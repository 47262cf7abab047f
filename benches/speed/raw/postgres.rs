//! PostgreSQL: one connection, fsync on. The statements of the backend, sent in one round trip
//! each time.

use std::{sync::Arc, time::SystemTime};

use futures_util::future::{join_all, join3, try_join_all, try_join4};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Row, Statement, types::ToSql};
use uuid::Uuid;

use super::{
    super::{
        Result,
        place::{Address, Place},
    },
    Chat, Queue, lane, told,
};

#[allow(dead_code, unused_imports, reason = "a raw loop sends few of them")]
#[path = "../../../src/backend/postgres/sql/mod.rs"]
mod sql;

/// The newest schema that the loops say they know: any.
const NEWEST: i64 = i64::MAX;

/// The values of a statement, one array for each column.
type Values = Vec<Box<dyn ToSql + Sync>>;

macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as Box<dyn ToSql + Sync>),*] };
}

fn refs(values: &Values) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| &**value).collect()
}

fn client(place: &Place) -> Result<Client> {
    connect(place.runtime(), &place.address)
}

/// A connection with the settings of the engine's own.
fn connect(runtime: &Runtime, address: &Address) -> Result<Client> {
    let client = address.client(runtime)?;
    runtime.block_on(client.batch_execute(sql::SETTINGS))?;
    Ok(client)
}

/// New tasks as the engine sends them; ids and times are set when they are sent.
struct New {
    count: usize,
    values: Values,
}

impl New {
    fn of(count: usize) -> Self {
        let now = vec![SystemTime::now(); count];
        let values = values![
            vec![Uuid::nil(); count],
            vec!["default"; count],
            vec!["count"; count],
            vec!["null"; count],
            vec![0_i16; count],
            now.clone(),
            vec![1_i16; count],
            vec![lane(); count],
            now,
            NEWEST,
        ];
        Self { count, values }
    }

    /// Gives them ids and a time.
    fn fresh(&mut self) -> Vec<&(dyn ToSql + Sync)> {
        let ids: Vec<Uuid> = (0..self.count).map(|_| Uuid::now_v7()).collect();
        let now = vec![SystemTime::now(); self.count];
        self.values[0] = Box::new(ids);
        self.values[5] = Box::new(now.clone());
        self.values[8] = Box::new(now);
        refs(&self.values)
    }
}

/// Enqueues in statements of so many tasks, of which so many are in flight at once.
pub struct Pipeline {
    runtime: Arc<Runtime>,
    client: Client,
    enqueue: Statement,
}

impl Pipeline {
    pub fn new(runtime: &Arc<Runtime>, address: &Address) -> Result<Self> {
        let client = connect(runtime, address)?;
        let enqueue = runtime.block_on(client.prepare(sql::INSERT_PLAIN_OR_FAIL))?;
        Ok(Self { runtime: Arc::clone(runtime), client, enqueue })
    }

    /// Sends so many statements.
    pub fn enqueue(&self, tasks: usize, statements: usize, in_flight: usize) -> Result<()> {
        let mut lines: Vec<_> = (0..in_flight).map(|_| New::of(tasks)).collect();
        let each = statements.div_ceil(in_flight);
        let all = lines.iter_mut().map(|new| async {
            for _ in 0..each {
                self.client.execute(&self.enqueue, &new.fresh()).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        self.runtime.block_on(try_join_all(all))?;
        Ok(())
    }
}

/// What the settling of a claimed task needs.
struct Held {
    id: Uuid,
    run_at: SystemTime,
    attempt: i32,
    failures: i32,
    interruptions: i32,
    lease: i64,
    rev: i64,
    flags: i16,
    started_at: SystemTime,
}

impl Held {
    /// None of a row that says that nothing was claimed.
    fn read(row: &Row) -> Option<Self> {
        let id = row.get::<_, Option<Uuid>>(2)?;
        std::hint::black_box((row.get::<_, &str>(21), row.get::<_, &str>(22)));
        Some(Self {
            id,
            run_at: row.get(6),
            attempt: row.get(7),
            failures: row.get(8),
            interruptions: row.get(9),
            lease: row.get(10),
            rev: row.get(11),
            flags: row.get(16),
            started_at: row.get(17),
        })
    }
}

pub struct Own {
    runtime: Arc<Runtime>,
    client: Client,
    enqueue: Statement,
    settle: Statement,
    claim: Statement,
    held: Vec<Held>,
    new: New,
    me: Uuid,
    seq: i64,
}

impl Own {
    pub fn new(place: &Place) -> Result<Self> {
        let (runtime, client) = (Arc::clone(place.runtime()), client(place)?);
        let enqueue = runtime.block_on(client.prepare(sql::INSERT_PLAIN_OR_FAIL))?;
        let settle = runtime.block_on(client.prepare(sql::UPDATE_TASK_OR_FAIL))?;
        let claim = runtime.block_on(client.prepare(sql::CLAIM_OR_FAIL))?;
        let (held, new, me) = (Vec::new(), New::of(1), Uuid::now_v7());
        Ok(Self { runtime, client, enqueue, settle, claim, held, new, me, seq: 0 })
    }

    /// What is held as completed, with its attempts.
    fn completed(&self, now: SystemTime) -> Values {
        macro_rules! column {
            (|$held:ident| $value:expr) => {
                self.held.iter().map(|$held| $value).collect::<Vec<_>>()
            };
        }
        // Where all are NULL, none is sent.
        let no_text = Vec::<&str>::new();
        values![
            column!(|held| held.id),
            column!(|_held| 6_i16),
            column!(|held| held.run_at),
            column!(|held| held.attempt),
            column!(|held| held.failures),
            column!(|held| held.interruptions),
            column!(|held| held.lease),
            column!(|held| held.rev + 1),
            Vec::<Uuid>::new(),
            column!(|_held| 0_i64),
            column!(|held| held.flags),
            column!(|held| held.started_at),
            column!(|_held| now),
            column!(|held| held.id),
            column!(|held| held.lease),
            column!(|held| held.attempt),
            column!(|_held| self.me),
            column!(|held| held.started_at),
            column!(|_held| now),
            column!(|_held| 1_i16),
            column!(|_held| "null"),
            no_text.clone(),
            no_text,
            Vec::<Uuid>::new(),
            NEWEST,
        ]
    }
}

impl Queue for Own {
    fn enqueue(&mut self, count: usize) -> Result<()> {
        if self.new.count != count {
            self.new = New::of(count);
        }
        self.runtime.block_on(self.client.execute(&self.enqueue, &self.new.fresh()))?;
        Ok(())
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        self.seq += 1;
        let (now, lanes, db) = (SystemTime::now(), vec![lane()], &self.client);
        let (none, no_keys) = (Vec::<i64>::new(), Vec::<&str>::new());
        let settle = self.completed(now);
        let claim = values![
            now,
            lanes.clone(),
            none,
            no_keys,
            lanes,
            batch as i64,
            self.me,
            self.seq,
            NEWEST,
        ];
        let (settle, claim) = (refs(&settle), refs(&claim));
        let trip = async {
            try_join4(
                db.batch_execute(sql::BEGIN),
                db.query(&self.settle, &settle),
                db.query(&self.claim, &claim),
                db.batch_execute(sql::COMMIT),
            )
            .await
        };
        let rows = self.runtime.block_on(trip)?.2;
        self.held = rows.iter().filter_map(Held::read).collect();
        Ok(self.held.len())
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

/// The statements of a chat of which the loop counts the entries itself: so the rows that the
/// engine must read first can be read in the same round trip.
pub struct Talk {
    runtime: Arc<Runtime>,
    client: Client,
    append: Vec<Statement>,
    page: Statement,
    chat: Uuid,
    seq: i64,
}

impl Talk {
    pub fn new(place: &Place) -> Result<Self> {
        let (runtime, client) = (Arc::clone(place.runtime()), client(place)?);
        let chat = Uuid::now_v7();
        runtime.block_on(client.execute(
            "INSERT INTO chats (id, project_id, next_seq, created_at) VALUES ($1, 'default', 1, now())",
            &[&chat],
        ))?;
        let lock = format!("{}{}", sql::CHAT, sql::LOCKED);
        let texts = [
            &lock,
            sql::MESSAGE,
            sql::WRITER_MIN,
            sql::PUT_CHAT,
            sql::INSERT_MESSAGE,
            sql::INSERT_ENTRY,
        ];
        let append = runtime.block_on(try_join_all(texts.map(|text| client.prepare(text))))?;
        let page = runtime.block_on(client.prepare(sql::TAIL))?;
        Ok(Self { runtime, client, append, page, chat, seq: 0 })
    }
}

impl Chat for Talk {
    fn append(&mut self) -> Result<()> {
        self.seq += 1;
        let (chat, message, seq) = (vec![self.chat], vec![Uuid::now_v7()], vec![self.seq]);
        let (now, none) = (vec![SystemTime::now()], vec![None::<Uuid>]);
        let told = told(message[0], self.seq)?;
        let values = [
            values![chat.clone()],
            values![message.clone()],
            values![],
            values![
                chat.clone(),
                vec!["default"],
                none.clone(),
                vec![""],
                vec![None::<&str>],
                vec![self.seq + 1],
                now.clone(),
                none.clone(),
                vec![None::<i64>],
            ],
            values![
                chat.clone(),
                seq.clone(),
                message,
                vec!["user"],
                vec!["\"hello\""],
                none,
                now.clone(),
            ],
            values![vec![2_i16], chat, seq, now, vec![told]],
        ];
        let db = &self.client;
        let trip = async {
            let sent =
                self.append.iter().zip(&values).map(|(text, values)| async move {
                    db.query(text, &refs(values)).await.map(drop)
                });
            let (begun, sent, ended) =
                join3(db.batch_execute(sql::BEGIN), join_all(sent), db.batch_execute(sql::COMMIT))
                    .await;
            begun?;
            sent.into_iter().collect::<std::result::Result<(), _>>()?;
            ended
        };
        Ok(self.runtime.block_on(trip)?)
    }

    fn tail(&mut self) -> Result<usize> {
        let (mut after, mut count) = (0_i64, 0);
        loop {
            let values: [&(dyn ToSql + Sync); 3] = [&self.chat, &after, &256_i64];
            let page = self.runtime.block_on(self.client.query(&self.page, &values))?;
            match std::hint::black_box(&page).last() {
                Some(row) => after = row.get(4),
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
