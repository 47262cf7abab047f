//! A database of either kind, seen from outside: by plain SQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use refinery::{Runner, Target};
use rusqlite::Connection;
use segue::{
    Builder, Engine, Result,
    backend::{Backend, postgres, sqlite},
    clock::{Clock, Timestamp},
    id::{InstanceId, TaskId},
    model::{Batch, Claim, Command, Payload, Prune, TaskSpec},
};
use tokio::sync::Semaphore;
use tokio_postgres::{Client, NoTls};

use crate::support::cluster;

mod on_sqlite {
    refinery::embed_migrations!("migrations/sqlite");
}

mod on_postgres {
    refinery::embed_migrations!("migrations/postgres");
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A database, or the copy of one: a file, or a schema.
#[derive(Clone, Debug)]
pub struct Place {
    kind: Kind,
    name: String,
    folder: Arc<tempfile::TempDir>,
}

/// What is in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    pub definitions: BTreeSet<String>,
    /// The rows of each table, as text and in order. Names are without segue's prefix.
    pub rows: BTreeMap<String, Vec<String>>,
}

impl Dump {
    /// An instance may go on to say that it lives.
    pub fn without_beats(mut self) -> Self {
        self.rows.remove("instances");
        self
    }
}

/// What a handler waits for.
#[derive(Clone)]
pub struct Probe {
    pub entered: Arc<Semaphore>,
    pub leave: Arc<Semaphore>,
}

impl Default for Probe {
    fn default() -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self { entered: closed(), leave: closed() }
    }
}

/// The id of the task that an older database holds.
pub fn first_task() -> TaskId {
    TaskId::from(uuid::Uuid::from_u128(1))
}

const OLD_ON_SQLITE: &str = "
    INSERT INTO segue_sessions (id, project_id, created_at) VALUES (zeroblob(16), 'p', 7);
    INSERT INTO segue_chats (id, project_id, session_id, next_seq, created_at)
        VALUES (zeroblob(16), 'p', zeroblob(16), 2, 8);
    INSERT INTO segue_messages (chat_id, seq, id, role, content, created_at)
        VALUES (zeroblob(16), 1, zeroblob(16), 'user', '\"hello\"', 9);
    INSERT INTO segue_tasks (id, project_id, kind, input, created_at)
        VALUES (x'00000000000000000000000000000001', 'p', 'echo', '\"old\"', 10);
    INSERT INTO segue_capacity_keys VALUES ('k', NULL, 0)";

const OLD_ON_POSTGRES: &str = "
    INSERT INTO sessions (id, project_id, created_at)
        VALUES ('00000000-0000-0000-0000-000000000000', 'p', 'epoch');
    INSERT INTO chats (id, project_id, session_id, next_seq, created_at)
        SELECT id, 'p', id, 2, 'epoch' FROM sessions;
    INSERT INTO messages (chat_id, seq, id, role, content, created_at)
        SELECT id, 1, id, 'user', '\"hello\"', 'epoch' FROM sessions;
    INSERT INTO tasks (id, project_id, kind, input)
        VALUES ('00000000-0000-0000-0000-000000000001', 'p', 'echo', '\"old\"');
    INSERT INTO capacity_keys VALUES ('k', NULL, 'epoch')";

impl Place {
    pub fn new(kind: Kind) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let name = match kind {
            Kind::Sqlite => "work.db".to_owned(),
            Kind::Postgres => cluster::schema(),
        };
        Self { kind, name, folder }
    }

    /// Another one that is empty, of the same kind.
    pub fn another(&self) -> Self {
        Self::new(self.kind)
    }

    /// The copy that is made of it before a migration.
    pub fn copy(&self, version: &str) -> Self {
        let name = match self.kind {
            Kind::Sqlite => format!("{}.backup-{version}", self.name),
            Kind::Postgres => format!("{}_backup_{version}", self.name),
        };
        Self { name, ..self.clone() }
    }

    /// The end of the name of the second copy.
    pub fn second(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "v1-2",
            Kind::Postgres => "v1_2",
        }
    }

    /// The rows of an older table as the newest program has them: new columns are empty.
    pub fn grown(&self, table: &str, rows: &[String]) -> Vec<String> {
        let new = if table == "chats" { 2 } else { 0 };
        let grown = |row: &String| match self.kind {
            Kind::Sqlite => format!("{row}{}", "Null ".repeat(new)),
            Kind::Postgres => format!("{}{})", row.trim_end_matches(')'), ",".repeat(new)),
        };
        rows.iter().map(grown).collect()
    }

    /// What segue's tables begin with.
    pub fn prefix(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "segue_",
            Kind::Postgres => "",
        }
    }

    pub fn builder(&self) -> Builder {
        let builder = match self.kind {
            Kind::Sqlite => Engine::sqlite(self.path()),
            Kind::Postgres => Engine::postgres_with(self.options()),
        };
        builder.poll(Duration::from_millis(50))
    }

    pub async fn backend(&self, clock: Clock) -> Arc<dyn Backend> {
        match self.kind {
            Kind::Sqlite => {
                Arc::new(sqlite::Options::new(self.path()).clock(clock).open().expect("a file"))
            }
            Kind::Postgres => {
                Arc::new(self.options().clock(clock).connect().await.expect("a server"))
            }
        }
    }

    pub async fn migrate(&self) -> Result<()> {
        self.backend(Clock::System).await.migrate().await
    }

    fn options(&self) -> postgres::Options {
        postgres::Options::new(cluster::url()).schema(&self.name).pool(2)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    fn sqlite(&self) -> Connection {
        let conn = Connection::open(self.path()).expect("a file");
        conn.busy_timeout(Duration::from_secs(10)).expect("a pragma");
        conn
    }

    async fn postgres(&self) -> Client {
        let url = cluster::url();
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a server");
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path = {}", self.name)).await.expect("a setting");
        client
    }

    pub async fn execute(&self, sql: &str) {
        match self.kind {
            Kind::Sqlite => self.sqlite().execute_batch(sql).expect(sql),
            Kind::Postgres => {
                let schema = format!("CREATE SCHEMA IF NOT EXISTS {}", self.name);
                let client = self.postgres().await;
                client.batch_execute(&schema).await.expect("a schema");
                client.batch_execute(sql).await.expect(sql);
            }
        }
    }

    /// Makes it as the first version of the program left it, with rows.
    pub async fn make_older(&self) {
        self.make_version(1).await;
    }

    /// Makes it as an older version of the program left it, with rows.
    pub async fn make_version(&self, version: u32) {
        match self.kind {
            Kind::Sqlite => {
                let mut conn = self.sqlite();
                conn.pragma_update(None, "journal_mode", "wal").expect("a pragma");
                let target = Target::Version(version.try_into().expect("a small number"));
                let mut runner = on_sqlite::migrations::runner().set_target(target);
                runner.set_migration_table_name("segue_schema_history");
                runner.run(&mut conn).expect("the first migrations");
                conn.execute_batch(OLD_ON_SQLITE).expect("rows");
            }
            Kind::Postgres => {
                self.execute(&first_of(&on_postgres::migrations::runner(), version)).await;
                self.execute(OLD_ON_POSTGRES).await;
            }
        }
    }

    /// Makes something of this name that is not empty.
    pub async fn occupy(&self) {
        self.execute("CREATE TABLE precious (what text)").await;
        self.execute("INSERT INTO precious VALUES ('keep')").await;
    }

    pub async fn exists(&self) -> bool {
        match self.kind {
            Kind::Sqlite => self.path().exists(),
            Kind::Postgres => self.dump().await != Dump::default(),
        }
    }

    /// What a newer program does to the tables.
    pub fn raise_writer_min(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "UPDATE segue_meta SET value = 99 WHERE name = 'writer_min'",
            Kind::Postgres => "UPDATE meta SET value = 99 WHERE name = 'writer_min'",
        }
    }

    /// What tells that a newer program has migrated them.
    pub fn move_on(&self) -> &'static str {
        "INSERT INTO segue_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '0')"
    }

    /// All that there is, to the last byte where that can be seen.
    pub async fn image(&self) -> (Dump, Vec<u8>) {
        let dump = self.dump().await;
        match self.kind {
            // Whoever closed the file last may still be folding its log back.
            Kind::Sqlite => (dump, {
                let fold = "PRAGMA wal_checkpoint(TRUNCATE)";
                let folded = self.sqlite().query_row(fold, [], |_| Ok(()));
                folded.expect("the log is folded back");
                std::fs::read(self.path()).expect("a file")
            }),
            Kind::Postgres => (dump, Vec::new()),
        }
    }

    pub async fn dump(&self) -> Dump {
        match self.kind {
            Kind::Sqlite => dump_sqlite(&self.sqlite()).expect("rows"),
            Kind::Postgres => dump_postgres(&self.postgres().await, &self.name).await,
        }
    }
}

/// A script of the first migrations and their places in the history.
fn first_of(runner: &Runner, version: u32) -> String {
    let mut steps: Vec<_> = runner.get_migrations().iter().collect();
    steps.sort_by_key(|step| step.version());
    steps.retain(|step| i64::from(step.version()) <= i64::from(version));
    let mut script = "CREATE TABLE segue_schema_history (version int4 PRIMARY KEY,
        name varchar(255), applied_on varchar(255), checksum varchar(255));"
        .to_owned();
    for step in steps {
        script.push_str(step.sql().expect("it has statements"));
        script.push_str(&format!(
            "; INSERT INTO segue_schema_history VALUES ({}, '{}', '2026-01-01T00:00:00Z', '{}');",
            step.version(),
            step.name(),
            step.checksum()
        ));
    }
    script
}

fn dump_sqlite(conn: &Connection) -> rusqlite::Result<Dump> {
    let mut dump = Dump::default();
    let mut schema = conn.prepare("SELECT name, type, coalesce(sql, '') FROM sqlite_schema")?;
    let items = schema.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let items: Vec<(String, String, String)> = items.collect::<rusqlite::Result<_>>()?;
    for (name, kind, sql) in items {
        dump.definitions.insert(format!("{kind} {name} {sql}"));
        if kind != "table" || name.starts_with("sqlite_") {
            continue;
        }
        let mut statement = conn.prepare(&format!("SELECT * FROM {name}"))?;
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
            (0..columns)
                .map(|n| Ok(format!("{:?} ", row.get::<_, rusqlite::types::Value>(n)?)))
                .collect()
        };
        let mut rows = statement.query_map([], text)?.collect::<rusqlite::Result<Vec<_>>>()?;
        rows.sort();
        dump.rows.insert(name.trim_start_matches("segue_").to_owned(), rows);
    }
    Ok(dump)
}

async fn dump_postgres(client: &Client, schema: &str) -> Dump {
    let mut dump = Dump::default();
    let items = "SELECT c.relname::text, c.relkind::text || ' ' || c.relname || ' ' || coalesce(
            (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', '
                ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
            ''), c.relkind = 'r'
        FROM pg_class c WHERE c.relnamespace = to_regnamespace($1)";
    for item in client.query(items, &[&schema]).await.expect("a list") {
        let (name, definition, is_table): (String, String, bool) =
            (item.get(0), item.get(1), item.get(2));
        dump.definitions.insert(definition);
        if !is_table {
            continue;
        }
        let sql = format!("SELECT t::text FROM {schema}.{name} t ORDER BY 1");
        let rows = client.query(&sql, &[]).await.expect("rows");
        let rows = rows.iter().map(|row| row.get(0)).collect();
        dump.rows.insert(name.trim_start_matches("segue_").to_owned(), rows);
    }
    dump
}

pub fn enqueue_echo() -> Batch {
    let spec = TaskSpec::new(TaskId::new(), "echo", Payload::null());
    Batch { commands: vec![Command::Enqueue(Box::new(spec))], claim: None }
}

pub fn claim_echo() -> Batch {
    let claim = Claim {
        instance: InstanceId::new(),
        seq: 1,
        limit: 1,
        serves: Arc::new(["task:nobody".to_owned()].into()),
        again: false,
    };
    Batch { commands: vec![], claim: Some(claim) }
}

pub fn prune_all() -> Prune {
    let now = Timestamp::from_micros(i64::MAX);
    Prune { tasks_before: now, runs_before: now, entries_before: now, limit: 100 }
}
