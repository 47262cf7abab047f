//! The words of a question, and where they are in a line.

/// How many words of a question are searched for.
const TERMS: usize = 12;

/// Words that say nothing about the subject.
const FILLERS: &[&str] = &[
    "a", "about", "after", "all", "an", "and", "any", "are", "as", "at", "be", "been", "before",
    "but", "by", "can", "code", "could", "did", "do", "does", "done", "each", "explain", "file",
    "files", "find", "for", "from", "get", "gets", "had", "happen", "happens", "has", "have",
    "here", "how", "if", "in", "into", "is", "it", "its", "kind", "like", "made", "make", "many",
    "may", "me", "much", "must", "my", "no", "not", "of", "on", "one", "or", "our", "out",
    "project", "show", "so", "some", "such", "tell", "than", "that", "the", "their", "them",
    "then", "there", "these", "they", "this", "to", "up", "us", "use", "used", "uses", "using",
    "was", "we", "were", "what", "when", "where", "which", "while", "who", "whole", "whose", "why",
    "will", "with", "work", "works", "would", "you", "your",
];

/// Words that come before the name of what a line defines, in many languages.
const DEFINERS: &[&str] = &[
    "fn",
    "struct",
    "enum",
    "trait",
    "type",
    "mod",
    "macro_rules!",
    "const",
    "static",
    "union",
    "class",
    "interface",
    "def",
    "function",
    "func",
    "namespace",
    "module",
    "#define",
    "table",
    "view",
    "message",
    "service",
    "#",
    "##",
    "###",
    "####",
];

/// Words that may stand before those.
const MODIFIERS: &[&str] = &[
    "pub",
    "pub(crate)",
    "pub(super)",
    "pub(in",
    "async",
    "unsafe",
    "extern",
    "default",
    "export",
    "public",
    "private",
    "protected",
    "final",
    "abstract",
    "override",
    "inline",
    "create",
];

/// The words of a question that are worth a search, lower case, in its order. Endings are
/// taken off, so that `claimed` also finds `claim`.
pub fn of_question(question: &str) -> Vec<String> {
    let mut terms: Vec<String> = Vec::new();
    for word in question.split(|c: char| !c.is_alphanumeric()) {
        let word = word.to_lowercase();
        if FILLERS.contains(&word.as_str()) || word.chars().count() < 2 {
            continue;
        }
        let stem = stem(&word).to_owned();
        if !terms.contains(&stem) && terms.len() < TERMS {
            terms.push(stem);
        }
    }
    terms
}

fn stem(word: &str) -> &str {
    let endings = ["ations", "ation", "ings", "ing", "ies", "ed", "es", "s"];
    let bare = endings.iter().find_map(|ending| word.strip_suffix(ending));
    bare.filter(|bare| bare.chars().count() >= 4).unwrap_or(word)
}

/// Finds terms in lines. It keeps its buffer from line to line.
#[derive(Debug)]
pub struct Finder<'a> {
    terms: &'a [String],
    lower: String,
}

impl<'a> Finder<'a> {
    /// A finder of these terms.
    pub fn new(terms: &'a [String]) -> Self {
        Self { terms, lower: String::new() }
    }

    /// The terms that begin a word or a part of one (`claim` in `next_claim` and `nextClaim`,
    /// not in `reclaim`), as bits.
    pub fn find(&mut self, line: &str) -> u16 {
        self.lower.clear();
        if line.is_ascii() {
            self.lower.push_str(line);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower.extend(line.chars().flat_map(char::to_lowercase));
        }
        let mut found = 0;
        for (no, term) in self.terms.iter().enumerate() {
            let hits = self.lower.match_indices(term.as_str());
            let mut begins = hits.map(|(at, _)| begins_word(&self.lower, line, at));
            if begins.any(|begins| begins) {
                found |= 1 << no;
            }
        }
        found
    }
}

/// Whether a word begins at byte `at` of `lower`, the lower case of `line`.
fn begins_word(lower: &str, line: &str, at: usize) -> bool {
    let before = lower[..at].chars().next_back();
    if !before.is_some_and(char::is_alphanumeric) {
        return true;
    }
    let original = |at: usize| line.as_bytes().get(at).copied().unwrap_or(0);
    lower.len() == line.len()
        && original(at).is_ascii_uppercase()
        && !original(at - 1).is_ascii_uppercase()
}

/// The name that a line defines, if it begins like a definition (or is a Markdown heading).
pub fn definition(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let definer = words.by_ref().find(|word| !MODIFIERS.contains(word))?;
    if !DEFINERS.contains(&definer) {
        return None;
    }
    if definer.starts_with('#') && definer != "#define" {
        return Some(line.trim_start_matches(['#', ' ']).trim_end());
    }
    let rest = words.next()?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_becomes_terms() {
        let terms = of_question("How are claimed tasks given back when a worker dies?");
        assert_eq!(terms, ["claim", "task", "given", "back", "worker", "dies"]);
        assert!(of_question("what is it?").is_empty());
    }

    #[test]
    fn a_term_begins_a_word_or_a_part_of_one() {
        let terms = vec!["claim".to_owned(), "größe".to_owned()];
        let mut finder = Finder::new(&terms);
        for (line, found) in [
            ("fn next_claim()", 1),
            ("nextClaim()", 1),
            ("CLAIMED", 1),
            ("reclaim", 0),
            ("die Größe, claims", 3),
            ("", 0),
        ] {
            assert_eq!(finder.find(line), found, "{line}");
        }
    }

    #[test]
    fn definitions_are_seen() {
        for (line, name) in [
            ("    pub async fn claim(&self) {", Some("claim")),
            ("class Worker(Base):", Some("Worker")),
            ("## The rules", Some("The rules")),
            ("#define LIMIT 5", Some("LIMIT")),
            ("claim(&self)", None),
            ("fn", None),
        ] {
            assert_eq!(definition(line), name, "{line}");
        }
    }
}
