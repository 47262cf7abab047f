//! Enqueuing in the host's own transaction.

use tokio_postgres::Client;

use super::{
    claim::Lanes,
    commit::{self, Context},
    failure::{Attempted, only},
    migrate,
    options::check_schema,
    pipe::{Line, Pipe, params},
    rows::Cells,
    sql,
};
use crate::{
    clock::{Clock, ManualClock},
    error::{Error, Result},
    model::{Batch, Command, Outcome, Receipt, TaskSpec},
};

/// How often it is tried when another transaction takes the same unique key at the same time.
const TRIES: u32 = 3;

/// Enqueues a task in the host's own transaction on the same database: it exists if and only
/// if that transaction commits. Call [`wake`](crate::backend::Backend::wake) after the commit,
/// so that workers look at once (without it they find the task at their next poll).
///
/// `schema` is where segue's tables are. The transaction's search path is left as it was.
///
/// # Errors
/// When the rules refuse the task, the database fails, or a newer program has changed the
/// tables. The transaction is then as it was before the call, and can go on.
pub async fn enqueue_in(
    transaction: &tokio_postgres::Transaction<'_>,
    schema: &str,
    spec: TaskSpec,
) -> Result<Outcome> {
    check_schema(schema)?;
    let client = transaction.client();
    let mut tried = 0;
    loop {
        tried += 1;
        client.batch_execute(sql::SAVEPOINT).await?;
        match try_enqueue(client, schema, spec.clone()).await {
            Ok(receipt) => {
                client.batch_execute(sql::RELEASE).await?;
                return Ok(receipt?);
            }
            Err(failure) => {
                client.batch_execute(sql::UNDO).await?;
                if !failure.again || tried == TRIES {
                    return Err(failure.into());
                }
            }
        }
    }
}

async fn try_enqueue(client: &Client, schema: &str, spec: TaskSpec) -> Attempted<Receipt> {
    let line = Line::Host(client);
    let mut pipe = Pipe::default();
    let path = pipe.add(sql::SWAP_PATH, params![sql::quoted(schema)]);
    let now = pipe.add(sql::NOW, Vec::new());
    let answers = pipe.send(line).await?;
    let path: String = Cells::new(only(answers[path].first())?).next()?;
    let now = Cells::new(only(answers[now].first())?).time()?;

    let clock = Clock::Manual(ManualClock::at(now));
    let context = Context { lanes: &Lanes::default(), clock: &clock, newest: migrate::newest() };
    let batch = Batch { commands: vec![Command::Enqueue(Box::new(spec))], claim: None };
    let done = commit::carry_out(context, line, Pipe::default(), batch).await?;

    Pipe::one(sql::SWAP_PATH, params![path]).send(line).await?;
    let receipt = done.receipts.into_iter().next();
    Ok(receipt.ok_or_else(|| Error::database("a command without an answer"))?)
}
