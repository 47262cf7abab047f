//! Commits in as few round trips as there can be: COMMIT is sent along with the last
//! statements, before their answers are known. One when no row must be loaded, else one for
//! each load and one to save.
//!
//! What may not be committed fails by itself: a guard that misses, a lane that is not known, a
//! table that a newer program has moved on. The transaction is then rolled back, and the
//! batch is carried out again, step by step, by [`commit`](super::commit).

use super::{
    claim::Claiming,
    commit::{Context, check_version},
    failure::Attempted,
    load,
    pipe::{Line, Pipe},
    save::{self, Misses},
    sql,
};
use crate::{
    clock::Timestamp,
    model::{Batch, Claim, Claimed, Committed, Plan, Receipt, Split},
};

/// Whether a batch can be carried out like this. A claim that was sent before needs an answer
/// first; so do limited capacity keys.
pub(super) fn suits(context: Context<'_>, batch: &Batch) -> bool {
    let plain = |claim: &Claim| !claim.again && !context.lanes.are_keyed(&claim.serves);
    batch.claim.as_ref().is_none_or(plain) && !(batch.commands.is_empty() && batch.claim.is_none())
}

/// Carries out a batch in a transaction of its own, which is committed when this succeeds.
pub(super) async fn commit(
    context: Context<'_>,
    line: Line<'_>,
    batch: Batch,
) -> Attempted<Committed> {
    let Batch { commands, claim } = batch;
    let now = context.clock.now();
    let mut split = Split::new(commands, now);
    context.lanes.learn(split.changes().lanes.values().cloned());
    let mut done = Committed::default();
    let last = Last { context, line, claim: claim.as_ref(), now };
    let planned = if split.must_plan() {
        // What must be planned does not depend on guards that hold.
        let plan = split.plan(&Default::default());
        let mut first = Pipe::default();
        first.add(sql::BEGIN, Vec::new());
        save::guarded(&mut first, split.changes(), context.lanes, Misses::Fail(context.newest));
        done.note(split.changes());
        match plan {
            Some(plan) => last.carry_out(first, plan, &mut done).await?,
            None => Vec::new(),
        }
    } else {
        let mut pipe = Pipe::default();
        save::guarded(&mut pipe, split.changes(), context.lanes, Misses::Fail(context.newest));
        done.note(split.changes());
        done.claimed = last.send(pipe, true).await?;
        Vec::new()
    };
    context.lanes.keep(split.changes().lanes.keys().copied());
    done.receipts = split.finish(planned);
    Ok(done)
}

/// What comes at the end of a commit.
struct Last<'a> {
    context: Context<'a>,
    line: Line<'a>,
    claim: Option<&'a Claim>,
    now: Timestamp,
}

impl Last<'_> {
    /// Loads what a plan needs, beginning with the statements of `first`, and saves it.
    async fn carry_out(
        &self,
        first: Pipe<'_>,
        mut plan: Plan,
        done: &mut Committed,
    ) -> Attempted<Vec<Receipt>> {
        let Context { lanes, clock, newest } = self.context;
        let mut begin = Some(first);
        while let Some(needs) = plan.needs() {
            let rows = match begin.take() {
                Some(pipe) => {
                    let load = load::Load::locked(pipe, &needs);
                    let (version, rows) = load.send_with_version(self.line).await?;
                    super::commit::may_write(&version, newest)?;
                    rows
                }
                None => load::lock(self.line, &needs).await?,
            };
            plan.supply(rows, clock.now());
        }
        if let Some(pipe) = begin {
            check_version(self.line, pipe, newest).await?;
        }
        let (changes, receipts) = plan.finish();
        lanes.learn(changes.lanes.values().cloned());
        let mut pipe = Pipe::default();
        save::add(&mut pipe, &changes, lanes, Misses::Fail(newest));
        done.claimed = self.send(pipe, false).await?;
        lanes.keep(changes.lanes.keys().copied());
        done.note(&changes);
        Ok(receipts)
    }

    /// Sends the last statements with the claim and COMMIT. Says what was claimed. A single
    /// statement that is the `first` of its transaction commits by itself.
    async fn send(&self, mut pipe: Pipe<'_>, first: bool) -> Attempted<Vec<Claimed>> {
        let Context { lanes, newest, .. } = self.context;
        let claiming =
            self.claim.map(|claim| Claiming { claim, lanes, now: self.now, limit: claim.limit });
        let mut place = claiming.map(|claiming| claiming.add_or_fail(&mut pipe, newest));
        if !(first && pipe.len() == 1) {
            if first {
                pipe.add_first(sql::BEGIN);
                place = place.map(|place| place + 1);
            }
            pipe.add(sql::COMMIT, Vec::new());
        }
        let answers = pipe.send(self.line).await?;
        match claiming.zip(place) {
            Some((claiming, place)) => claiming.took(&answers[place]),
            None => Ok(Vec::new()),
        }
    }
}
