//! What is particular to PostgreSQL; the rest is in the conformance kit.

mod claims;
mod foreign;
mod host;
mod locks;
mod migrations;
mod outages;
mod streams;

use std::{collections::BTreeSet, sync::Arc, task::Poll, time::Duration};

use crate::support::cluster::{self, Cluster, fresh_schema, options};
use segue::{
    Error,
    backend::{
        Backend,
        postgres::{Options, PostgresBackend, enqueue_in},
    },
    clock::{ManualClock, Timestamp},
    id::{ChatId, InstanceId, RunId, TaskId, TurnId},
    model::*,
};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

const SOON: Duration = Duration::from_secs(20);

fn spec(kind: &str) -> TaskSpec {
    TaskSpec::new(TaskId::new(), kind, Payload::null())
}

fn keyed(kind: &str, keys: &[&str]) -> TaskSpec {
    let capacity = keys.iter().map(|key| (*key).to_owned()).collect();
    TaskSpec { options: TaskOptions { capacity, ..TaskOptions::default() }, ..spec(kind) }
}

fn enqueue(spec: TaskSpec) -> Command {
    Command::Enqueue(Box::new(spec))
}

fn serves(names: &[&str]) -> Arc<BTreeSet<String>> {
    Arc::new(names.iter().map(|name| (*name).to_owned()).collect())
}

fn claim(seq: i64, limit: u32, of: &[&str]) -> Claim {
    Claim { instance: me(), seq, limit, serves: serves(of), again: false }
}

fn me() -> InstanceId {
    InstanceId::from(uuid::Uuid::from_u128(7))
}

fn complete(held: &Claimed) -> Command {
    settle(held, Decision::Complete(Payload::text("done")))
}

fn settle(held: &Claimed, decision: Decision) -> Command {
    Command::Settle(Box::new(Settle::new(held.task.clone(), Retry::default(), decision)))
}

async fn commit(db: &PostgresBackend, commands: Vec<Command>) -> Committed {
    db.commit(Batch { commands, claim: None }).await.unwrap()
}

async fn take(db: &PostgresBackend, claim: Claim) -> Vec<Claimed> {
    db.commit(Batch { commands: vec![], claim: Some(claim) }).await.unwrap().claimed
}

fn ids(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|claimed| claimed.task.id).collect()
}

async fn dump(db: &PostgresBackend) -> Rows {
    let rows = db.read(&Needs::everything()).await.unwrap();
    let wrong = audit(&rows);
    assert!(wrong.is_empty(), "{wrong:?}");
    rows
}

async fn host(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn sql(db: &PostgresBackend) -> Client {
    let client = host(&cluster::url()).await;
    client.batch_execute(&format!("SET search_path = {}", db.schema())).await.unwrap();
    client
}

/// Waits until wake-ups arrive; that they do is a wake-up.
async fn listening(db: &PostgresBackend) {
    let wait = async {
        while !db.is_listening() {
            db.wait(SOON).await;
        }
    };
    timeout(SOON, wait).await.expect("it listens soon");
}

/// Takes the hints that are left of the subscription.
async fn drain(db: &PostgresBackend) {
    while timeout(Duration::from_millis(100), db.wait(SOON)).await.is_ok() {}
}

async fn heard(db: &PostgresBackend) -> bool {
    timeout(SOON / 2, db.wait(SOON)).await.is_ok()
}
