//! The flow with a coding agent in all roles: readers side by side, each with an angle of its own; code
//! that checks what they cite; one that concludes; validators who try to refute it; code that
//! weighs what they say.
//!
//! All turns only read, in a worktree of the commit that the run began with, so that nobody is
//! disturbed by who edits the files meanwhile.

mod program;
mod report;
mod roles;
mod session;
mod weigh;

use segue::{
    Agent, Context, Draft, Ended, Failure, Flow, Step,
    evidence::{Checked, Commit, Folder, Tree, check_claims},
    model::{Band, OnFailure},
};

pub use self::session::{graph, investigate, resume};
use self::{
    roles::{Conclusion, Notes, Review},
    weigh::Findings,
};
use crate::{evidence::Question, flow::readers};

/// What stands before the agent's name in the name of the flow.
const NAME: &str = "investigate with ";

/// How many validators a band has.
const fn validators(band: Band) -> usize {
    match band {
        Band::Small | Band::Medium => 1,
        Band::Large => 2,
    }
}

/// The flow with this agent, in a folder.
fn flow(agent: &str, folder: &str) -> Flow<Question, Findings> {
    let turns = Agent::named(agent).read_only().folder(folder);
    Flow::banded(format!("{NAME}{agent}"), |draft, band| draw(draft, band, &turns))
}

/// The agent of a run, by the name of its flow. None: it has none.
fn agent_in(flow: &str) -> Option<&str> {
    flow.strip_prefix(NAME)
}

fn draw(mut draft: Draft, band: Band, agent: &Agent) -> Flow<Question, Findings> {
    let question = draft.input::<Question>();
    let (readers, validators) = (readers(band), validators(band));
    let mut notes: Vec<Step<Notes>> = Vec::new();
    for no in 1..=readers {
        let ask = move |question| roles::reader(&question, no, readers);
        notes.push(draft.agent(format!("read {no}"), question, agent, ask));
    }
    let read: Vec<_> = notes.iter().map(|notes| notes.result()).collect();
    let evidence = draft.code("check", (question, read.clone()), gather);
    let asked = (question, evidence);
    let conclusion: Step<Conclusion> = draft.agent("conclude", asked, agent, roles::synthesizer);
    let asked = (question, evidence, conclusion);
    let mut reviews: Vec<Step<Review>> = Vec::new();
    for no in 1..=validators {
        reviews.push(draft.agent(format!("validate {no}"), asked, agent, roles::validator));
    }
    // One that fails leaves a gap, which the report names.
    notes.iter().for_each(|step| draft.on_failure(*step, OnFailure::Ignore));
    reviews.iter().for_each(|step| draft.on_failure(*step, OnFailure::Ignore));
    let reviewed: Vec<_> = reviews.iter().map(|review| review.result()).collect();
    let weighed = draft.code("weigh", (question, evidence, conclusion, reviewed.clone()), weigh);
    let told = (question, weighed, read, reviewed);
    let reported =
        draft.code("report", told, async |context, told| Ok(report::report(context.base(), &told)));
    draft.reports(reported);
    draft.returns(question, weighed)
}

/// What readers brought, each citation looked up in the commit that they read.
async fn gather(
    context: Context,
    (question, notes): (Question, Vec<Result<Notes, Ended>>),
) -> Result<Vec<Checked>, Failure> {
    let failed = notes.iter().find_map(|notes| notes.as_ref().err()).cloned();
    let notes: Vec<_> = notes.into_iter().filter_map(Result::ok).collect();
    match failed {
        Some(ended) if notes.is_empty() => {
            Err(Failure::fatal(format!("no reader came back; the first one {ended}")))
        }
        _ => checked(&context, &question, roles::merged(notes)).await,
    }
}

async fn weigh(
    context: Context,
    told: (Question, Vec<Checked>, Conclusion, Vec<Result<Review, Ended>>),
) -> Result<Findings, Failure> {
    let (question, evidence, conclusion, reviews) = told;
    let reviews: Vec<_> = reviews.into_iter().filter_map(Result::ok).collect();
    let objections = checked(&context, &question, roles::objections(&reviews)).await?;
    Ok(weigh::weigh(evidence, conclusion, &reviews, objections))
}

/// Claims, with each of their citations looked up in the tree that the run began with.
async fn checked(
    context: &Context,
    question: &Question,
    claims: Vec<segue::evidence::Claim>,
) -> Result<Vec<Checked>, Failure> {
    let (folder, base) = (question.folder.clone(), context.base().map(str::to_owned));
    let stop = context.stop().clone();
    let work = move || {
        let tree: Box<dyn Tree> = match base {
            Some(base) => Box::new(Commit::open(folder, &base)?),
            None => Box::new(Folder::new(folder)),
        };
        check_claims(&*tree, claims, &stop).ok_or_else(Failure::cancelled)
    };
    tokio::task::spawn_blocking(work).await?
}
