//! The report: a pure function of what the steps returned.

use segue::{
    Ended,
    evidence::{self, End, Ledger, Section, StepEnd, markdown},
    model::StepState,
};

use super::{
    roles::{Notes, Review},
    weigh::{Findings, Standing, Weighed},
};
use crate::evidence::Question;

/// What a report is made of: the question, what was found, and how readers and validators ended.
pub type Told = (Question, Findings, Vec<Result<Notes, Ended>>, Vec<Result<Review, Ended>>);

/// Writes the report in Markdown. `base` is the commit that was read.
pub fn report(base: Option<&str>, (question, findings, notes, reviews): &Told) -> String {
    let mut ledger = Ledger::default();
    for (no, notes) in notes.iter().enumerate() {
        let (angle, reader) = (format!("angle {}", no + 1), format!("read {}", no + 1));
        ledger.expect(&angle, &reader);
        if notes.is_ok() {
            ledger.cover(angle, &reader);
        }
        ledger.end(reader, end(notes));
    }
    let steps = reviews
        .iter()
        .enumerate()
        .map(|(no, review)| StepEnd { name: format!("validate {}", no + 1), end: end(review) });
    evidence::Report {
        question: question.text.clone(),
        opening: opening(base, question, findings),
        claims: findings.evidence.clone(),
        sections: vec![points(&findings.points)],
        ledger,
        units: "angles".into(),
        steps: steps.collect(),
        ..evidence::Report::default()
    }
    .markdown()
}

fn opening(base: Option<&str>, question: &Question, findings: &Findings) -> String {
    let tree = base.map_or_else(
        || "as it was while it was read".to_owned(),
        |base| format!("at commit {}", markdown::code(base)),
    );
    let folder = markdown::code(&question.folder);
    format!("In {folder}, {tree}.\n\n## Answer\n\n{}", markdown::escape(&findings.answer))
}

fn points(points: &[Weighed]) -> Section {
    let mut body = String::new();
    for (no, weighed) in points.iter().enumerate() {
        let standing = match weighed.standing {
            Standing::Confirmed => "confirmed",
            Standing::Disputed => "DISPUTED",
            Standing::Refuted => "REFUTED",
            Standing::Open => "NOT VALIDATED",
        };
        let rests = markdown::escape(&weighed.point.rests_on.join(", "));
        let text = markdown::escape(&weighed.point.text);
        body.push_str(&format!("{}. {text} ({rests}): {standing}.\n", no + 1));
        for objection in &weighed.because {
            let places = objection.claim.citations.iter().map(|it| markdown::code(&it.place()));
            let places: Vec<_> = places.collect();
            let why = markdown::escape(&objection.claim.text);
            body.push_str(&format!("   - {why}, see {}\n", places.join(", ")));
        }
    }
    Section { title: "Points".into(), body }
}

fn end<T>(result: &Result<T, Ended>) -> End {
    let Err(ended) = result else {
        return End::Completed;
    };
    let reason = ended.reason.clone().unwrap_or_default();
    match ended.state {
        StepState::Skipped => End::Skipped(reason),
        StepState::Cancelled => End::Cancelled(reason),
        _ => End::Failed(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_failed_is_named() {
        let question = Question { folder: "/f".into(), text: "Why?".into(), terms: Vec::new() };
        let ended = Ended { state: StepState::Failed, reason: Some("it gave up".into()) };
        let notes = vec![Ok(Notes::default()), Err(ended.clone())];
        let told = (question, Findings::default(), notes, vec![Err(ended)]);
        let report = report(Some("abc"), &told);
        assert!(report.contains("read 2") && report.contains("validate 1"), "{report}");
        assert!(report.contains("it gave up") && report.contains("1 of 2"), "{report}");
    }
}
