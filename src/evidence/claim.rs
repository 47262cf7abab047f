//! Claims: what is said, and what it rests on.

use serde::{Deserialize, Serialize};

use super::{Citation, Verdict};

/// Something that is said about the tree, with what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What is said, as plain text.
    pub text: String,
    /// Where it can be seen. None of them: the claim is [uncited](Standing::Uncited), and every
    /// report says so.
    #[serde(default)]
    pub citations: Vec<Citation>,
}

impl Claim {
    /// A claim in words, with the citations that [stand in them](Citation::all_in). The words are
    /// kept as they are.
    pub fn parse(text: impl Into<String>) -> Self {
        let text = text.into();
        let citations = Citation::all_in(&text);
        Self { text, citations }
    }

    /// Whether anything is cited, be it right or wrong.
    pub fn is_cited(&self) -> bool {
        !self.citations.is_empty()
    }
}

/// A claim with the verdicts on its citations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The claim.
    pub claim: Claim,
    /// One for each of its citations, in their order. A citation without a verdict counts as
    /// unverified.
    pub verdicts: Vec<Verdict>,
}

/// What the verdicts come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Every citation was verified, and there is one at least.
    Verified,
    /// Some were.
    Partly,
    /// None was.
    Unverified,
    /// There is no citation.
    Uncited,
}

impl Checked {
    /// What the verdicts come to.
    pub fn standing(&self) -> Standing {
        let verified = self.citations().filter(|(_, verdict)| is_good(*verdict)).count();
        match (self.claim.citations.len(), verified) {
            (0, _) => Standing::Uncited,
            (all, good) if all == good => Standing::Verified,
            (_, 0) => Standing::Unverified,
            _ => Standing::Partly,
        }
    }

    /// Each citation with its verdict.
    pub fn citations(&self) -> impl Iterator<Item = (&Citation, Option<&Verdict>)> {
        let citations = self.claim.citations.iter().enumerate();
        citations.map(|(no, citation)| (citation, self.verdicts.get(no)))
    }
}

fn is_good(verdict: Option<&Verdict>) -> bool {
    verdict.is_some_and(Verdict::is_verified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_stands_as_its_citations_do() {
        let good = Verdict::Verified;
        let bad = Verdict::NoSuchFile;
        for (cited, verdicts, standing) in [
            (0, vec![], Standing::Uncited),
            (0, vec![good.clone()], Standing::Uncited),
            (1, vec![good.clone()], Standing::Verified),
            (1, vec![bad.clone()], Standing::Unverified),
            (1, vec![], Standing::Unverified),
            (2, vec![good.clone(), good.clone()], Standing::Verified),
            (2, vec![good.clone(), bad], Standing::Partly),
            (2, vec![good], Standing::Partly),
        ] {
            let citations = vec!["a.rs:1".parse().expect("a citation"); cited];
            let checked = Checked { claim: Claim { text: "so".into(), citations }, verdicts };
            assert_eq!(checked.standing(), standing, "{checked:?}");
        }
    }
}
