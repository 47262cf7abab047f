//! Commits, step by step: the quick changes and the claim in one round trip, then the plan where
//! there is one. Most are carried out by [`swift`](super::swift) before they get here.

use tokio_postgres::Row;

use super::{
    claim::{Claiming, Lanes},
    failure::{Attempted, only},
    load,
    pipe::{Line, Pipe},
    rows::Cells,
    save::{self, Misses},
    sql,
};
use crate::{
    clock::Clock,
    error::{Error, Result},
    model::{Batch, Changes, Claimed, Committed, Plan, Receipt, Split},
};

/// What commits share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub lanes: &'a Lanes,
    pub clock: &'a Clock,
    /// The newest schema that this program knows.
    pub newest: i64,
}

/// Carries out a batch in the transaction that `line` is in, or that `pipe` begins. The caller
/// ends it.
pub(super) async fn carry_out<'a>(
    context: Context<'_>,
    line: Line<'_>,
    pipe: Pipe<'a>,
    batch: Batch,
) -> Attempted<Committed> {
    let Batch { commands, claim } = batch;
    let now = context.clock.now();
    let mut split = Split::new(commands, now);
    context.lanes.learn(split.changes().lanes.values().cloned());
    let claiming = claim.as_ref().map(|claim| {
        let (lanes, limit) = (context.lanes, claim.limit);
        Claiming { claim, lanes, now, limit }
    });
    let quick = claiming.filter(|claiming| !claiming.claim.again && !split.must_plan());

    let mut first = send_first(context, line, pipe, split.changes(), quick).await?;
    may_write(&first.version, context.newest)?;
    let mut done = Committed::default();
    done.note(split.changes());
    let planned = match split.plan(&first.missed) {
        Some(plan) => carry_out_plan(context, line, plan, &mut done).await?,
        None => Vec::new(),
    };
    if let Some(claiming) = claiming {
        let sent = first.claim.take();
        done.claimed = finish_claim(line, claiming, sent, !planned.is_empty()).await?;
    }
    done.receipts = split.finish(planned);
    Ok(done)
}

/// What the first round trip answers.
struct First {
    version: Vec<Row>,
    missed: std::collections::BTreeSet<crate::id::TaskId>,
    claim: Option<Vec<Row>>,
}

async fn send_first(
    context: Context<'_>,
    line: Line<'_>,
    pipe: Pipe<'_>,
    changes: &Changes,
    claiming: Option<Claiming<'_>>,
) -> Attempted<First> {
    // The changes are borrowed for this trip only.
    let mut pipe: Pipe<'_> = pipe;
    let version = pipe.add(sql::WRITER_MIN, Vec::new());
    let guards = save::guarded(&mut pipe, changes, context.lanes, Misses::Told);
    let claim = claiming.map(|claiming| claiming.add(&mut pipe));
    let mut answers = pipe.send(line).await?;
    let missed = guards.missed(changes, &answers)?;
    let mut take = |place: usize| std::mem::take(&mut answers[place]);
    Ok(First { version: take(version), missed, claim: claim.map(take) })
}

/// Refuses to write to the tables of a newer program.
pub(super) fn may_write(answer: &[Row], newest: i64) -> Result<()> {
    let oldest: i64 = Cells::new(only(answer.first())?).next()?;
    match oldest <= newest {
        true => Ok(()),
        false => Err(Error::schema_moved_on(format!(
            "the tables may only be written by programs that know schema {oldest}; this one \
             knows {newest}"
        ))),
    }
}

/// The same check for what is no commit of commands.
pub(super) async fn check_version(
    line: Line<'_>,
    mut pipe: Pipe<'_>,
    newest: i64,
) -> Attempted<()> {
    let place = pipe.add(sql::WRITER_MIN, Vec::new());
    Ok(may_write(&pipe.send(line).await?[place], newest)?)
}

async fn carry_out_plan(
    context: Context<'_>,
    line: Line<'_>,
    mut plan: Plan,
    done: &mut Committed,
) -> Attempted<Vec<Receipt>> {
    while let Some(needs) = plan.needs() {
        let rows = load::lock(line, &needs).await?;
        plan.supply(rows, context.clock.now());
    }
    let (changes, receipts) = plan.finish();
    context.lanes.learn(changes.lanes.values().cloned());
    save::save(line, &changes, context.lanes).await?;
    done.note(&changes);
    Ok(receipts)
}

/// Claims, or goes on with the claim that was sent with the quick changes. Where a plan came
/// after that one, it takes what the plan released as well.
async fn finish_claim(
    line: Line<'_>,
    claiming: Claiming<'_>,
    sent: Option<Vec<Row>>,
    planned: bool,
) -> Attempted<Vec<Claimed>> {
    let Some(rows) = sent else {
        return match claiming.claim.again {
            true => claiming.again(line).await,
            false => claiming.take(line).await,
        };
    };
    let mut claimed = claiming.go_on(line, rows).await?;
    let limit = claiming.limit - claimed.len() as u32;
    if planned && limit > 0 {
        claimed.extend(Claiming { limit, ..claiming }.take(line).await?);
    }
    Ok(claimed)
}
