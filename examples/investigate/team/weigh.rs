//! What validators say is weighed by code: an objection counts where its citation was verified.

use segue::evidence::Checked;
use serde::{Deserialize, Serialize};

use super::roles::{Conclusion, Point, Review, Verdict};

/// What a run returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// The answer.
    pub answer: String,
    /// Its parts, each with what validators made of it.
    pub points: Vec<Weighed>,
    /// What readers found, with the verdicts on their citations.
    pub evidence: Vec<Checked>,
}

/// A part of the answer, and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// What is said.
    pub point: Point,
    /// How it stands.
    pub standing: Standing,
    /// What validators say of it that counts.
    pub because: Vec<Checked>,
}

/// How a point stands when everyone has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Someone tried to refute it and could not, and nobody did.
    Confirmed,
    /// It is wrong in part, by evidence.
    Disputed,
    /// It is wrong, by evidence.
    Refuted,
    /// Nobody has looked at it, or what was said against it cites nothing that is there.
    Open,
}

/// Weighs what was said of each point. `objections` are the verdicts of all reviews, in their order.
pub fn weigh(
    evidence: Vec<Checked>,
    conclusion: Conclusion,
    reviews: &[Review],
    objections: Vec<Checked>,
) -> Findings {
    let verdicts = reviews.iter().flat_map(|review| &review.verdicts);
    let said: Vec<_> = verdicts.zip(objections).collect();
    let weighed = conclusion.points.into_iter().enumerate().map(|(no, point)| {
        let of_point = said.iter().filter(|(it, _)| it.point == no + 1);
        let of_point: Vec<_> = of_point.map(|(it, checked)| (it.verdict, checked)).collect();
        let counts =
            |checked: &Checked| checked.verdicts.iter().any(segue::evidence::Verdict::is_verified);
        let has = |verdict| of_point.iter().any(|(it, checked)| *it == verdict && counts(checked));
        let standing = if has(Verdict::Refuted) {
            Standing::Refuted
        } else if has(Verdict::Partly) {
            Standing::Disputed
        } else if of_point.iter().any(|(it, _)| *it == Verdict::Confirmed) {
            Standing::Confirmed
        } else {
            Standing::Open
        };
        let because =
            of_point.iter().filter(|(it, checked)| *it != Verdict::Confirmed && counts(checked));
        let because = because.map(|(_, checked)| (*checked).clone()).collect();
        Weighed { point, standing, because }
    });
    Findings { answer: conclusion.answer, points: weighed.collect(), evidence }
}

#[cfg(test)]
mod tests {
    use segue::evidence::{Claim, Verdict as Found};

    use super::{super::roles::Judgement, *};

    #[test]
    fn an_objection_counts_where_its_citation_is_there() {
        for (verdict, found, standing) in [
            (Verdict::Confirmed, None, Standing::Confirmed),
            (Verdict::Refuted, Some(Found::Verified), Standing::Refuted),
            (Verdict::Refuted, Some(Found::NoSuchFile), Standing::Open),
            (Verdict::Refuted, None, Standing::Open),
            (Verdict::Partly, Some(Found::Verified), Standing::Disputed),
        ] {
            let citation = |_: &Found| "a.rs:1".parse().expect("a citation");
            let citations = found.iter().map(citation).collect();
            let claim = Claim { text: "no".into(), citations };
            let objection = Checked { claim, verdicts: found.into_iter().collect() };
            let judgement =
                Judgement { point: 1, verdict, why: "no".into(), citations: Vec::new() };
            let conclusion = Conclusion {
                answer: "so".into(),
                points: vec![Point::default(), Point::default()],
            };
            let reviews = [Review { verdicts: vec![judgement] }];
            let findings = weigh(Vec::new(), conclusion, &reviews, vec![objection]);
            assert_eq!(findings.points[0].standing, standing, "{findings:?}");
            assert_eq!(findings.points[1].standing, Standing::Open, "nobody spoke of it");
        }
    }
}
