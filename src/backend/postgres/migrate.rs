//! Migrations: applied in one transaction, or not at all.

use tokio_postgres::{Client, Transaction};

use super::{conn::Connector, failure::only, sql};
use crate::error::{Error, Result};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// A migration as it is applied.
struct Step {
    version: i32,
    name: String,
    checksum: String,
    sql: String,
}

/// The migrations that this program knows, in order.
fn known() -> Vec<Step> {
    let runner = embedded::migrations::runner();
    let mut steps: Vec<Step> = runner
        .get_migrations()
        .iter()
        .map(|migration| Step {
            version: migration.version(),
            name: migration.name().to_owned(),
            checksum: migration.checksum().to_string(),
            sql: migration.sql().unwrap_or_default().to_owned(),
        })
        .collect();
    steps.sort_by_key(|step| step.version);
    steps
}

/// The newest schema that this program knows.
pub(super) fn newest() -> i64 {
    known().last().map_or(0, |step| step.version.into())
}

/// Creates the schema, or brings its tables to this program's version. Who comes second waits
/// for the first, and finds nothing to do.
pub(super) async fn migrate(connector: &Connector) -> Result<()> {
    let (mut client, _driver) = connector.plain(std::sync::Arc::new(|_| ())).await?;
    migrate_with(&mut client, &connector.schema, &known()).await
}

async fn migrate_with(client: &mut Client, schema: &str, known: &[Step]) -> Result<()> {
    let tx = client.transaction().await?;
    tx.query(sql::MIGRATION_LOCK, &[&schema]).await?;
    tx.query(sql::SWAP_PATH, &[&sql::quoted(schema)]).await?;
    let found = version(&tx, schema).await?;
    let newest = known.last().map_or(0, |step| step.version);
    if found > newest {
        return Err(Error::migration(format!(
            "schema \"{schema}\" of the database is at version {found}, and this program knows \
             {newest} at most. It was not changed; use the newer program"
        )));
    }
    if found < newest {
        let applied = apply(&tx, schema, found, known).await;
        applied.map_err(|error| failed(schema, found, newest, error))?;
        tx.commit().await.map_err(|error| failed(schema, found, newest, error.into()))?;
    }
    Ok(())
}

/// Whether the tables are of this program's version.
pub(super) async fn check(connector: &Connector) -> Result<()> {
    let (mut client, _driver) = connector.plain(std::sync::Arc::new(|_| ())).await?;
    let tx = client.transaction().await?;
    tx.query(sql::SWAP_PATH, &[&sql::quoted(&connector.schema)]).await?;
    let (found, newest) = (version(&tx, &connector.schema).await?, newest());
    if i64::from(found) == newest {
        return Ok(());
    }
    Err(Error::migration(format!(
        "schema \"{}\" of the database is at version {found}, and this program needs {newest}: \
         start an engine of this version on it first, which brings it up to date",
        connector.schema
    )))
}

/// A lost connection is told as such, since another try may help.
fn failed(schema: &str, found: i32, newest: i32, error: Error) -> Error {
    if error.is_transient() || error.is_migration() {
        return error;
    }
    let message = format!(
        "schema \"{schema}\" could not be brought from version {found} to {newest}, and is as \
         it was: {error}. Put that right, and start again"
    );
    Error::migration(message).caused_by(error)
}

/// The newest migration that was applied; 0 where there is none of segue's tables.
async fn version(tx: &Transaction<'_>, schema: &str) -> Result<i32> {
    let row = tx.query_one(sql::HAS_SCHEMA, &[&schema]).await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let row = tx.query_one(sql::SCHEMA_VERSION, &[]).await?;
    Ok(row.try_get::<_, Option<i32>>(0)?.unwrap_or(0))
}

async fn apply(tx: &Transaction<'_>, schema: &str, found: i32, known: &[Step]) -> Result<()> {
    if found > 0 {
        check_history(tx, schema, known).await?;
        back_up(tx, schema, found).await?;
    }
    tx.batch_execute(&sql::create_schema(schema)).await?;
    tx.batch_execute(sql::CREATE_HISTORY).await?;
    for step in known.iter().filter(|step| step.version > found) {
        tracing::info!(schema, version = step.version, name = step.name, "migrating");
        tx.batch_execute(&step.sql).await?;
        let now = chrono::Utc::now().to_rfc3339();
        tx.execute(sql::ADD_HISTORY, &[&step.version, &step.name, &now, &step.checksum]).await?;
    }
    Ok(())
}

/// Refuses to build on migrations that are not this program's.
async fn check_history(tx: &Transaction<'_>, schema: &str, known: &[Step]) -> Result<()> {
    for row in tx.query(sql::HISTORY, &[]).await? {
        let (version, checksum): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        let same = known.iter().any(|step| step.version == version && step.checksum == checksum);
        if !same {
            return Err(Error::migration(format!(
                "migration {version} of schema \"{schema}\" is not the one that this program \
                 knows. The schema was not changed"
            )));
        }
    }
    Ok(())
}

/// Copies the tables into a schema beside this one, before they are changed.
async fn back_up(tx: &Transaction<'_>, schema: &str, version: i32) -> Result<()> {
    let copy = free_name(tx, schema, version).await?;
    tracing::info!(schema, copy, "copying the tables before they are migrated");
    tx.batch_execute(&sql::create_schema(&copy)).await?;
    for row in tx.query(sql::TABLES, &[&schema]).await? {
        let table: String = row.try_get(0)?;
        tx.batch_execute(&sql::back_up(schema, &copy, &table)).await?;
    }
    Ok(())
}

async fn free_name(tx: &Transaction<'_>, schema: &str, version: i32) -> Result<String> {
    let first = format!("{schema}_backup_v{version}");
    let mut name = first.clone();
    for n in 2.. {
        let rows = tx.query(sql::HAS_NAMESPACE, &[&name]).await?;
        if !only(rows.first())?.try_get::<_, bool>(0)? {
            break;
        }
        name = format!("{first}_{n}");
    }
    Ok(name)
}
