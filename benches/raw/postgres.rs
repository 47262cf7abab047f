//! PostgreSQL: one connection on a unix socket, fsync on, statements pipelined.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::{try_join_all, try_join3, try_join4};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

use super::cluster::Cluster;
use super::{Case, FINISHED, Held, NewTask, RawLoop, Report, Result, all_cases, measure};

const TABLES: &str = include_str!("../../migrations/postgres/V1__tasks.sql");

/// What every connection sets. The hot statements have one good plan each, whatever the tables
/// hold: statistics that lag behind must not choose another.
const SETTINGS: &str = "SET search_path = segue; SET plan_cache_mode = force_generic_plan; SET jit = off;
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

const ENQUEUE: &str = "
WITH new AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS u (id, lane, input)),
cold AS (
    INSERT INTO tasks (id, project_id, kind, input, priority, options, origin)
    SELECT id, 'project', 'agent', input, 0, '{}', 'raw' FROM new)
INSERT INTO task_states (id, phase, lane, priority, run_at, attempt, failures, interruptions, lease, rev,
    holder, claim, run_id, step_no, flags, started_at, ended_at)
SELECT id, 1, lane, 0, 'epoch', 0, 0, 0, 0, 0, NULL, 0, NULL, 0, 0, 'epoch', 'epoch' FROM new";

/// `phase + 0`, since a bare `phase = 4` lets the planner read the whole partial index of the running
/// tasks instead of the primary key, when its statistics say that nothing runs.
///
/// Parameters: ids, leases, revs, outputs, holder.
const SETTLE: &str = "
WITH settled AS (
    UPDATE task_states s SET phase = 6, rev = s.rev + 1, holder = NULL, ended_at = now()
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[]) AS u (id, lease, rev, output)
    WHERE s.id = u.id AND s.lease = u.lease AND s.rev = u.rev AND s.phase + 0 = 4
    RETURNING s.id, s.lease, s.attempt, s.started_at, s.ended_at, u.output),
attempts AS (
    INSERT INTO task_attempts (task_id, lease, attempt, holder, started_at, ended_at, outcome, output)
    SELECT id, lease, attempt, $5::uuid, started_at, ended_at, 1, output FROM settled)
SELECT id FROM settled";

/// The lanes that hold a ready task, one index probe each.
const LANES: &str = "lane_walk (lane) AS (
    (SELECT lane FROM task_states WHERE phase = 1 ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT s.lane FROM task_states s WHERE s.phase = 1 AND s.lane > w.lane ORDER BY s.lane LIMIT 1)
    FROM lane_walk w WHERE w.lane IS NOT NULL),
lanes AS MATERIALIZED (SELECT lane FROM lane_walk WHERE lane IS NOT NULL)";
/// The lanes of a parameter.
const GIVEN_LANES: &str = "lanes AS MATERIALIZED (SELECT unnest($4::bigint[]) AS lane)";

/// Each lane shows its share and a little more, all are put in order, and the first of them that
/// nobody holds are locked: as many locks as tasks. The place of a row saves looking up its id again.
const LAZY_HEADS: &str = "shown AS MATERIALIZED (
    SELECT h.place FROM lanes l CROSS JOIN LATERAL (
        SELECT s.ctid AS place, s.priority, s.id FROM task_states s WHERE s.phase = 1 AND s.lane = l.lane
        ORDER BY s.priority, s.id LIMIT (SELECT (2 * $1::bigint + 32) / count(*) + 1 FROM lanes)) h
    ORDER BY h.priority, h.id),
heads AS MATERIALIZED (
    SELECT h.place FROM shown c CROSS JOIN LATERAL (
        SELECT s.ctid AS place FROM task_states s WHERE s.ctid = c.place AND s.phase + 0 = 1
        FOR UPDATE SKIP LOCKED) h
    LIMIT $1::bigint)";
/// The heads of every lane, locked: each lane gives up to twice its share of the batch.
const SHARED_HEADS: &str = "heads AS MATERIALIZED (
    SELECT h.place FROM lanes l CROSS JOIN LATERAL (
        SELECT s.ctid AS place, s.priority, s.id FROM task_states s WHERE s.phase = 1 AND s.lane = l.lane
        ORDER BY s.priority, s.id LIMIT (SELECT least($1::bigint, 2 * $1::bigint / count(*) + 1) FROM lanes)
        FOR UPDATE SKIP LOCKED) h
    ORDER BY h.priority, h.id LIMIT $1::bigint)";
/// The same, each lane giving up to the whole batch: the order is exact, the locks are many.
const EXACT_HEADS: &str = "heads AS MATERIALIZED (
    SELECT h.place FROM lanes l CROSS JOIN LATERAL (
        SELECT s.ctid AS place, s.priority, s.id FROM task_states s WHERE s.phase = 1 AND s.lane = l.lane
        ORDER BY s.priority, s.id LIMIT $1::bigint
        FOR UPDATE SKIP LOCKED) h
    ORDER BY h.priority, h.id LIMIT $1::bigint)";
/// Each lane from where the last claim ended: what is dead before it is not walked over again.
const FLOORS: &str = "lanes AS MATERIALIZED (
    SELECT * FROM unnest($4::bigint[], $5::smallint[], $6::uuid[]) AS l (lane, priority, floor))";
/// No condition on the phase: the heads are locked, and were looked at again when they were.
const TAKE: &str = "taken AS (
    UPDATE task_states s SET phase = 4, attempt = s.attempt + 1, lease = s.lease + 1, rev = s.rev + 1,
        holder = $2::uuid, claim = $3::bigint, started_at = now()
    FROM heads h WHERE s.ctid = h.place
    RETURNING s.*)
SELECT s.*, t.project_id, t.kind, t.input, t.session_id, t.chat_id, t.agent, t.model, t.mode_id,
    t.thinking_option_id, t.options, t.meta
FROM taken s JOIN tasks t ON t.id = s.id ORDER BY s.priority, s.id";

/// How the statements of an exchange are put together and sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    /// BEGIN, settle, claim and COMMIT in one round trip; lanes by a walk, heads locked lazily.
    Best,
    /// COMMIT is sent when the rest was answered.
    TwoTrips,
    /// Settle and claim are one statement that commits itself.
    OneStatement,
    /// The lanes are a parameter.
    GivenLanes,
    SharedHeads,
    ExactHeads,
    /// The planner as it comes.
    PlainSettings,
    /// Another connection keeps a snapshot, so that no dead row can be removed.
    OldSnapshot,
    /// The same, each lane read from where the last claim ended.
    Floors,
}

fn claim_sql(variant: Variant) -> String {
    let lanes = match variant {
        Variant::GivenLanes => GIVEN_LANES,
        Variant::Floors => FLOORS,
        _ => LANES,
    };
    let heads = match variant {
        Variant::ExactHeads => EXACT_HEADS.to_owned(),
        Variant::SharedHeads => SHARED_HEADS.to_owned(),
        Variant::Floors => LAZY_HEADS.replace(
            "s.lane = l.lane",
            "s.lane = l.lane AND (s.priority, s.id) > (l.priority, l.floor)",
        ),
        _ => LAZY_HEADS.to_owned(),
    };
    format!("WITH RECURSIVE {lanes},\n{heads},\n{TAKE}")
}

/// Both statements as one, the parameters of the settle behind those of the claim.
fn fused_sql() -> String {
    let mut settle = SETTLE
        .trim()
        .trim_end_matches("SELECT id FROM settled")
        .trim()
        .trim_start_matches("WITH ")
        .to_owned();
    for n in (1..=4).rev() {
        settle = settle.replace(&format!("${n}"), &format!("${}", n + 3));
    }
    settle = settle.replace("$5::uuid", "$2::uuid");
    format!("WITH RECURSIVE {settle},\n{LANES},\n{LAZY_HEADS},\n{TAKE}")
}

type Parameter<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);

struct Statements {
    settle: Statement,
    claim: Statement,
    enqueue: Statement,
}

struct Postgres<'a> {
    runtime: &'a Runtime,
    client: Client,
    variant: Variant,
    statements: Statements,
    /// Each lane, and the last task that was claimed there.
    floors: BTreeMap<i64, Uuid>,
    me: Uuid,
    seq: i64,
    held: Vec<Held>,
}

fn connect(runtime: &Runtime, cluster: &Cluster) -> Result<Client> {
    let config = format!("host={} user=postgres", cluster.socket().display());
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&config, NoTls))?;
    runtime.spawn(connection);
    let mut settings = SETTINGS.to_owned();
    if std::env::var("SEGUE_RAW_SYNC").as_deref() == Ok("off") {
        settings += "; SET synchronous_commit = off";
    }
    settings += &std::env::var("SEGUE_RAW_SETTINGS").map(|s| format!("; {s}")).unwrap_or_default();
    runtime.block_on(client.batch_execute(&settings))?;
    Ok(client)
}

impl<'a> Postgres<'a> {
    fn open(runtime: &'a Runtime, cluster: &Cluster, variant: Variant) -> Result<Self> {
        let client = connect(runtime, cluster)?;
        if variant == Variant::PlainSettings {
            runtime.block_on(client.batch_execute("RESET ALL; SET search_path = segue"))?;
        }
        let claim = if variant == Variant::OneStatement { fused_sql() } else { claim_sql(variant) };
        let (settle, claim, enqueue) = runtime.block_on(try_join3(
            client.prepare(SETTLE),
            client.prepare(&claim),
            client.prepare(ENQUEUE),
        ))?;
        let statements = Statements { settle, claim, enqueue };
        Ok(Self {
            runtime,
            client,
            variant,
            statements,
            floors: BTreeMap::new(),
            me: Uuid::now_v7(),
            seq: 0,
            held: Vec::new(),
        })
    }

    async fn send(&self, batch: i64) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
        let ids: Vec<Uuid> = self.held.iter().map(|h| h.id).collect();
        let leases: Vec<i64> = self.held.iter().map(|h| h.lease).collect();
        let revs: Vec<i64> = self.held.iter().map(|h| h.rev).collect();
        let outputs = vec!["null"; ids.len()];
        let (db, sql) = (&self.client, &self.statements);
        if self.variant == Variant::OneStatement {
            return db
                .query(&sql.claim, &[&batch, &self.me, &self.seq, &ids, &leases, &revs, &outputs])
                .await;
        }
        let settle_with: [Parameter; 5] = [&ids, &leases, &revs, &outputs, &self.me];
        let mut claim_with: Vec<Parameter> = vec![&batch, &self.me, &self.seq];
        let lanes: Vec<i64> = self.floors.keys().copied().collect();
        let priorities = vec![0_i16; lanes.len()];
        let floors: Vec<Uuid> = self.floors.values().copied().collect();
        match self.variant {
            Variant::GivenLanes => claim_with.push(&lanes),
            Variant::Floors => claim_with.extend::<[Parameter; 3]>([&lanes, &priorities, &floors]),
            _ => {}
        }
        let begin = db.batch_execute("BEGIN");
        let settle = db.query(&sql.settle, &settle_with);
        let claim = db.query(&sql.claim, &claim_with);
        if self.variant == Variant::TwoTrips {
            let (_, _, rows) = try_join3(begin, settle, claim).await?;
            db.batch_execute("COMMIT").await?;
            return Ok(rows);
        }
        Ok(try_join4(begin, settle, claim, db.batch_execute("COMMIT")).await?.2)
    }

    fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.client.batch_execute(sql))?)
    }

    /// How many updates of the hot rows needed no new entry in an index.
    fn hot_updates(&self) -> Result<String> {
        let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'task_states'";
        let row = self.runtime.block_on(self.client.query_one(sql, &[]))?;
        Ok(format!(
            "task_states: {} updates, {} of them HOT",
            row.get::<_, i64>(0),
            row.get::<_, i64>(1)
        ))
    }

    fn explain(&self, name: &str, sql: &str) -> Result<String> {
        let parameters = sql.matches("::").count();
        let nulls =
            vec!["NULL"; (1..=parameters).filter(|n| sql.contains(&format!("${n}::"))).count()]
                .join(", ");
        self.execute(&format!("PREPARE plan AS {sql}"))?;
        let rows = self.runtime.block_on(
            self.client.simple_query(&format!("EXPLAIN (COSTS OFF) EXECUTE plan ({nulls})")),
        );
        self.execute("DEALLOCATE plan")?;
        let mut plan = format!("PostgreSQL, {name}:\n");
        for message in rows? {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                plan += &format!("    {}\n", row.get(0).unwrap_or_default());
            }
        }
        Ok(plan)
    }
}

impl RawLoop for Postgres<'_> {
    fn enqueue(&mut self, tasks: &[NewTask]) -> Result<()> {
        let ids: Vec<Uuid> = tasks.iter().map(|t| t.id).collect();
        let lanes: Vec<i64> = tasks.iter().map(|t| t.lane).collect();
        let inputs: Vec<&str> = tasks.iter().map(|t| t.input.as_str()).collect();
        for lane in &lanes {
            self.floors.entry(*lane).or_default();
        }
        self.runtime
            .block_on(self.client.execute(&self.statements.enqueue, &[&ids, &lanes, &inputs]))?;
        Ok(())
    }

    fn exchange(&mut self, batch: usize) -> Result<usize> {
        self.seq += 1;
        let rows = self.runtime.block_on(self.send(batch as i64))?;
        self.held = rows.iter().map(held).collect();
        for row in &rows {
            self.floors.insert(row.get("lane"), row.get("id"));
        }
        Ok(self.held.len())
    }

    fn load_finished(&mut self, count: i64) -> Result<()> {
        self.execute(&format!(
            "INSERT INTO tasks (id, project_id, kind, input, options, origin)
             SELECT (lpad(to_hex(1700000000000 + n / 10), 12, '0') || '7' || lpad(to_hex(n % 10), 3, '0') || '8'
                     || substr(md5(n::text), 1, 15))::uuid,
                    'project', 'agent', '{{\"prompt\":\"Fix the failing test\"}}', '{{}}', 'loaded'
             FROM generate_series(1, {count}) n;
             INSERT INTO task_states
             SELECT id, 6, 1, 0, 'epoch', 1, 0, 0, 1, 2, NULL, 1, NULL, 0, 0, now(), now()
             FROM tasks WHERE origin = 'loaded';
             INSERT INTO task_attempts
             SELECT id, 1, 1, id, now(), now(), 1, 'null' FROM tasks WHERE origin = 'loaded';"
        ))?;
        self.execute("VACUUM ANALYZE")?;
        self.execute("CHECKPOINT")
    }

    fn clear(&mut self) -> Result<()> {
        self.held.clear();
        self.execute(
            "WITH gone AS (DELETE FROM task_states WHERE phase = 1 RETURNING id)
             DELETE FROM tasks t USING gone WHERE t.id = gone.id;",
        )?;
        self.execute("VACUUM task_states")?;
        self.execute("VACUUM tasks")
    }

    fn plans(&mut self) -> Result<String> {
        Ok(self.explain("settle", SETTLE)? + &self.explain("claim", &claim_sql(self.variant))?)
    }
}

/// Decodes what a claim returns.
fn held(row: &Row) -> Held {
    let cold: (&str, &str, Option<&str>) = (row.get("kind"), row.get("input"), row.get("options"));
    std::hint::black_box(cold);
    Held {
        id: row.get("id"),
        lease: row.get("lease"),
        rev: row.get("rev"),
        attempt: row.get("attempt"),
        started: 0,
    }
}

const VARIANTS: [(&str, Variant); 8] = [
    ("postgres two trips", Variant::TwoTrips),
    ("postgres one statement", Variant::OneStatement),
    ("postgres given lanes", Variant::GivenLanes),
    ("postgres shared heads", Variant::SharedHeads),
    ("postgres exact heads", Variant::ExactHeads),
    ("postgres plain settings", Variant::PlainSettings),
    ("postgres old snapshot", Variant::OldSnapshot),
    ("postgres snapshot, floors", Variant::Floors),
];

pub fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = Cluster::start()?;
    let client = connect(&runtime, &cluster)?;
    runtime.block_on(client.batch_execute("CREATE SCHEMA segue"))?;
    runtime.block_on(client.batch_execute(TABLES))?;
    let mut db = Postgres::open(&runtime, &cluster, Variant::Best)?;
    println!("Empty tables\n{}", db.plans()?);
    all_cases(&mut db, "postgres", report)?;
    println!("Full tables\n{}", db.plans()?);
    println!("{}", db.hot_updates()?);
    for lanes in [1, 50] {
        for variant in [Variant::Best, Variant::SharedHeads, Variant::ExactHeads] {
            println!("{}", contend(&runtime, &cluster, variant, lanes)?);
        }
    }
    for (name, variant) in VARIANTS {
        let mut db = Postgres::open(&runtime, &cluster, variant)?;
        if variant == Variant::OldSnapshot {
            let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()";
            runtime.block_on(client.batch_execute(sql))?;
        }
        for (waiting, lanes) in [(10, 1), (100_000, 50)] {
            report.add(measure(&mut db, name, Case { waiting, finished: FINISHED, lanes })?);
        }
    }
    Ok(())
}

/// Four connections over one backlog: what the statements lose to each other's locks.
fn contend(runtime: &Runtime, cluster: &Cluster, variant: Variant, lanes: i64) -> Result<String> {
    let mut dbs = Vec::new();
    for _ in 0..4 {
        dbs.push(Postgres::open(runtime, cluster, variant)?);
    }
    dbs[0].clear()?;
    super::fill(&mut dbs[0], 30_000, lanes)?;
    let start = Instant::now();
    let counts = runtime.block_on(try_join_all(dbs.iter_mut().map(|db| async move {
        let (mut claimed, mut short) = (0, 0);
        while start.elapsed() < super::WINDOW {
            let rows = db.send(10).await?;
            db.held = rows.iter().map(held).collect();
            claimed += rows.len();
            short += usize::from(rows.len() < 10);
        }
        db.send(0).await?;
        Ok::<_, tokio_postgres::Error>((claimed, short))
    })))?;
    let (claimed, short) = counts.iter().fold((0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
    let rate = claimed as f64 / start.elapsed().as_secs_f64();
    Ok(format!(
        "4 connections, batches of 10, {lanes} lanes, {variant:?}: {rate:.0} a second, {short} short claims"
    ))
}
