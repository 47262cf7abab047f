//! From the arguments to the report, with an agent in all roles.

use std::path::Path;

use segue::{Builder, Flow, clock::Timestamp, evidence::Commit, model::RunSpec};

use super::{agent_in, flow, program, weigh::Findings};
use crate::{
    args::Args,
    evidence::Question,
    session::{self, Ending, Outcome, Session},
};

/// Investigates anew: in a repository, what is checked out as of now.
///
/// # Errors
/// When there is no such agent, or the run failed.
pub async fn investigate(
    args: &Args,
    agent: &str,
    question: Question,
    start: Timestamp,
) -> Outcome<Ending> {
    let (session, flow) = begin(args, agent, &question.folder).await?;
    session.tell_of_others().await?;
    // Without a repository the folder itself is read.
    let commit = Commit::open(Path::new(&question.folder), "HEAD").ok();
    let launch = session.engine.launch(&flow, question).band(args.band);
    let launch = match commit {
        Some(commit) => launch.base(commit.id()),
        None => launch,
    };
    let run = launch.await?;
    session.follow(args, run, start).await
}

/// Continues a run.
///
/// # Errors
/// When its agent is gone, or the run failed.
pub async fn resume(
    args: &Args,
    spec: &RunSpec,
    question: Question,
    start: Timestamp,
) -> Outcome<Ending> {
    let agent = agent_in(&spec.flow);
    let agent = agent.ok_or_else(|| format!("`{}` is no flow of this program", spec.flow))?;
    let (session, flow) = begin(args, agent, &question.folder).await?;
    let run = session.engine.run_of(&flow, spec.id);
    session.follow(args, run, start).await
}

/// The flow as a Mermaid flowchart.
///
/// # Errors
/// None: any agent may be drawn.
pub fn graph(args: &Args, agent: &str) -> Outcome<String> {
    Ok(flow(agent, ".").mermaid(args.band))
}

/// An engine that has the agent, when it was found that the agent is there.
async fn begin(
    args: &Args,
    agent: &str,
    folder: &str,
) -> Outcome<(Session, Flow<Question, Findings>)> {
    let (builder, flow) = (session::builder(args)?, flow(agent, folder));
    let with_flow = |builder: Builder| builder.flow(&flow);
    let (builder, is_known) = match program::adapter(agent) {
        Some(adapter) => (with_flow(builder).agent(agent, adapter), true),
        None => (builder, false),
    };
    let session = Session::start(args, builder).await?;
    match program::look(&session.engine, agent, is_known).await {
        Ok(()) => Ok((session, flow)),
        Err(error) => {
            session.engine.shutdown().await?;
            Err(error)
        }
    }
}
