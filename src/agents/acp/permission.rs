//! What an agent asks leave for, and what it is answered.
//! Invariant: nothing here performs I/O.

use serde_json::{Value, json};

use super::read;
use crate::{
    agents::{Answer, Choice, ChoiceKind, Request, ToolKind},
    model::Access,
};

/// A request for leave: who is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    /// A person.
    Person(Request),
    /// Nobody: it is against the rules of the turn. The option by which that is said, if there is
    /// one.
    Nobody { call: String, rejection: Option<String> },
}

/// What the parameters of a `session/request_permission` ask for. Where nothing may be changed,
/// what may change something is never allowed, whoever would allow it; nor is another mode.
pub(super) fn asked(params: &Value, access: Access) -> Asked {
    let call = read::tool(&params["toolCall"]);
    let options: Vec<_> =
        params["options"].as_array().into_iter().flatten().filter_map(choice).collect();
    let writes = call.kind.unwrap_or(ToolKind::Other).writes();
    if access == Access::ReadOnly && writes {
        let mut kinds = [ChoiceKind::RejectOnce, ChoiceKind::RejectAlways].into_iter();
        let rejection = kinds.find_map(|kind| options.iter().find(|it| it.kind == kind));
        return Asked::Nobody { call: call.id, rejection: rejection.map(|it| it.id.clone()) };
    }
    let question = call.title.clone().unwrap_or_else(|| "a tool".to_owned());
    Asked::Person(Request { call, question, options })
}

fn choice(option: &Value) -> Option<Choice> {
    let id = option["optionId"].as_str()?.to_owned();
    let kind = match option["kind"].as_str() {
        Some("allow_once") => ChoiceKind::AllowOnce,
        Some("allow_always") => ChoiceKind::AllowAlways,
        Some("reject_once") => ChoiceKind::RejectOnce,
        Some("reject_always") => ChoiceKind::RejectAlways,
        _ => ChoiceKind::Answer,
    };
    let name = option["name"].as_str().unwrap_or(&id).to_owned();
    Some(Choice { id, name, kind })
}

/// Whether an answer to a request says no.
pub(super) fn denies(request: &Request, answer: &Answer) -> bool {
    match answer {
        Answer::Cancelled => true,
        Answer::Chosen(id) => {
            let chosen = request.options.iter().find(|option| option.id == *id);
            chosen.is_none_or(|it| {
                matches!(it.kind, ChoiceKind::RejectOnce | ChoiceKind::RejectAlways)
            })
        }
    }
}

/// The result that an answer is sent as. What was not offered is no answer.
pub(super) fn answered(request: &Request, answer: &Answer) -> Value {
    match answer {
        Answer::Chosen(id) if request.options.iter().any(|option| option.id == *id) => selected(id),
        _ => cancelled(),
    }
}

/// The result that says which option was chosen.
pub(super) fn selected(option: &str) -> Value {
    json!({"outcome": {"outcome": "selected", "optionId": option}})
}

/// The result that says that nobody answers.
pub(super) fn cancelled() -> Value {
    json!({"outcome": {"outcome": "cancelled"}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(kind: &str) -> Value {
        json!({
            "toolCall": {"toolCallId": "c", "title": "touch x", "kind": kind},
            "options": [
                {"optionId": "bypass", "name": "Bypass", "kind": "allow_always"},
                {"optionId": "once", "name": "Allow", "kind": "allow_once"},
                {"optionId": "no", "name": "Reject", "kind": "reject_once"},
                {"name": "without an id"}
            ]
        })
    }

    #[test]
    fn a_person_is_asked_and_what_was_offered_is_an_answer() {
        let Asked::Person(request) = asked(&params("execute"), Access::Write) else {
            panic!("a person is to be asked");
        };
        assert_eq!(request.question, "touch x");
        let kinds: Vec<_> = request.options.iter().map(|option| option.kind).collect();
        use ChoiceKind::{AllowAlways, AllowOnce, RejectOnce};
        assert_eq!(kinds, [AllowAlways, AllowOnce, RejectOnce]);
        let chosen = |id: &str| Answer::Chosen(id.into());
        assert_eq!(answered(&request, &chosen("once")), selected("once"));
        assert!(!denies(&request, &chosen("once")));
        assert_eq!(answered(&request, &chosen("no")), selected("no"));
        for no in [chosen("no"), chosen("other"), Answer::Cancelled] {
            assert!(denies(&request, &no), "{no:?}");
        }
        assert_eq!(answered(&request, &chosen("other")), cancelled());
        assert_eq!(answered(&request, &Answer::Cancelled), cancelled());
    }

    #[test]
    fn where_nothing_may_be_changed_nobody_is_asked_for_it() {
        for kind in ["execute", "edit", "delete", "move", "switch_mode", "other", "new"] {
            let rejection = Some("no".to_owned());
            let nobody = Asked::Nobody { call: "c".into(), rejection };
            assert_eq!(asked(&params(kind), Access::ReadOnly), nobody, "{kind}");
        }
        for kind in ["read", "search", "think", "fetch"] {
            let asked = asked(&params(kind), Access::ReadOnly);
            assert!(matches!(asked, Asked::Person(_)), "{kind}");
        }
    }
}
