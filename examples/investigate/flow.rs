//! The flow: survey, readers side by side, check, conclude, report.

use std::path::PathBuf;

use segue::{
    Agent, Context, Draft, Failure, Flow, Step,
    evidence::{Folder, check},
    model::Band,
};

use crate::{
    evidence::{Brief, Checked, Question, Reading, Survey, Synthesis},
    reader::Assignment,
    report, survey,
};

/// What the flow is called.
pub const NAME: &str = "investigate";

/// The agent that reads.
pub const READER: &str = "reader";

/// The agent that concludes.
pub const CONCLUDER: &str = "concluder";

/// How many readers a band has.
pub const fn readers(band: Band) -> usize {
    match band {
        Band::Small => 2,
        Band::Medium => 4,
        Band::Large => 6,
    }
}

/// The flow, in the width of each band.
pub fn investigate() -> Flow<Question, Synthesis> {
    Flow::banded(NAME, draw)
}

fn draw(mut draft: Draft, band: Band) -> Flow<Question, Synthesis> {
    let readers = readers(band);
    let question = draft.input::<Question>();
    let surveyed = draft.code("survey", question, move |context, question| {
        survey_folder(context, question, readers)
    });
    let readings: Vec<Step<Reading>> =
        (1..=readers).map(|reader| read(&mut draft, question, surveyed, reader)).collect();
    let checked = draft.code("check", (question, readings.clone()), check_citations);
    let concluder = Agent::named(CONCLUDER).read_only();
    let concluded =
        draft.agent("conclude", (question, readings.clone(), checked), &concluder, brief);
    let reported = draft.code(
        "report",
        (question, surveyed, readings, concluded),
        async |_, (question, survey, readings, synthesis)| {
            Ok(report::report(&question, &survey, &readings, &synthesis))
        },
    );
    draft.reports(reported);
    draft.returns(question, concluded)
}

async fn survey_folder(
    context: Context,
    question: Question,
    readers: usize,
) -> Result<Survey, Failure> {
    let stop = context.stop().clone();
    let folder = PathBuf::from(question.folder);
    let work = move || survey::survey(&folder, readers, &stop);
    tokio::task::spawn_blocking(work).await?
}

/// A reader. It is only told of its own area.
fn read(
    draft: &mut Draft,
    question: Step<Question>,
    surveyed: Step<Survey>,
    reader: usize,
) -> Step<Reading> {
    let agent = Agent::named(READER).read_only();
    let assignment = move |(question, mut survey): (Question, Survey)| {
        let area = survey.areas.swap_remove(reader - 1);
        prompt(&Assignment { reader, question, area })
    };
    draft.agent(format!("read {reader}"), (question, surveyed), &agent, assignment)
}

/// Looks every citation up. All findings come back, each with its verdict.
async fn check_citations(
    context: Context,
    (question, readings): (Question, Vec<Reading>),
) -> Result<Vec<Checked>, Failure> {
    let stop = context.stop().clone();
    let work = move || {
        let findings = readings.into_iter().flat_map(|reading| reading.findings);
        let findings: Vec<_> = findings.collect();
        let citations = findings.iter().map(|finding| &finding.citation);
        let verdicts = check(&Folder::new(question.folder), citations, &stop);
        let pairs = findings.into_iter().zip(verdicts.ok_or_else(Failure::cancelled)?);
        Ok(pairs.map(|(finding, verdict)| Checked { finding, verdict }).collect())
    };
    tokio::task::spawn_blocking(work).await?
}

fn brief((question, readings, evidence): (Question, Vec<Reading>, Vec<Checked>)) -> String {
    let mut brief = Brief {
        question,
        lines: readings.iter().map(|reading| reading.lines).sum(),
        hits: Default::default(),
        evidence,
    };
    for (term, hits) in readings.into_iter().flat_map(|reading| reading.hits) {
        *brief.hits.entry(term).or_default() += hits;
    }
    prompt(&brief)
}

fn prompt<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("names and numbers have a JSON form")
}
