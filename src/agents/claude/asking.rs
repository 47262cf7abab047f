//! What Claude Code asks in the middle of a turn, and how it is answered.

use serde_json::{Map, Value, json};

use crate::{
    agents::{Answer, Choice, ChoiceKind, Listener, Request, ToolCall, ToolStatus, read::called},
    model::Access,
};

/// The tool by which it asks questions.
const QUESTIONS: &str = "AskUserQuestion";

/// How it is answered.
#[derive(Debug, PartialEq)]
pub(super) enum Answered {
    /// It may, with this as the tool's input.
    Allowed { input: Value, rules: Option<Value> },
    /// It may not.
    Denied { message: &'static str },
    /// Nobody answers: the turn ends.
    Nobody,
}

impl Answered {
    /// As it goes over the wire.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Allowed { input, rules: None } => {
                json!({"behavior": "allow", "updatedInput": input})
            }
            Self::Allowed { input, rules } => {
                json!({"behavior": "allow", "updatedInput": input, "updatedPermissions": rules})
            }
            Self::Denied { message } => {
                json!({"behavior": "deny", "message": message, "interrupt": false})
            }
            Self::Nobody => {
                json!({"behavior": "deny", "message": "Nobody answers.", "interrupt": true})
            }
        }
    }
}

/// Asks whether a tool may be called, or what the tool wants to know. In a turn that only reads,
/// nobody is asked: what needs leave is not for it.
pub(super) async fn answer(request: &Value, access: Access, listener: &dyn Listener) -> Answered {
    let name = request["tool_name"].as_str().unwrap_or_default();
    if name == QUESTIONS {
        return questions(request, listener).await;
    }
    if access == Access::ReadOnly {
        return Answered::Denied { message: "This turn may only read." };
    }
    let rules = lasting(request);
    match listener.ask(leave(request, name, rules.is_some())).await {
        Answer::Cancelled => Answered::Nobody,
        Answer::Chosen(id) => {
            let input = request["input"].clone();
            match id.as_str() {
                ALLOW => Answered::Allowed { input, rules: None },
                ALWAYS => Answered::Allowed { input, rules },
                _ => Answered::Denied { message: "The user does not allow it." },
            }
        }
    }
}

const ALLOW: &str = "allow";
const ALWAYS: &str = "always";
const REJECT: &str = "reject";

/// The question whether a tool may be called.
fn leave(request: &Value, name: &str, may_last: bool) -> Request {
    let choice = |id: &str, name: &str, kind| Choice { id: id.into(), name: name.into(), kind };
    let mut options = vec![choice(ALLOW, "Allow", ChoiceKind::AllowOnce)];
    if may_last {
        options.push(choice(ALWAYS, "Allow in this session", ChoiceKind::AllowAlways));
    }
    options.push(choice(REJECT, "Reject", ChoiceKind::RejectOnce));
    let call = call(request, name);
    let what = call.title.as_deref().unwrap_or(name);
    Request { question: format!("May it use {what}?"), options, call }
}

fn call(request: &Value, name: &str) -> ToolCall {
    let id = request["tool_use_id"].as_str().unwrap_or_default();
    ToolCall { status: Some(ToolStatus::Pending), ..called(id, name, &request["input"]) }
}

/// The rules that it proposes, for as long as its session lasts. It proposes modes as well, which are
/// nobody's to change by the way.
fn lasting(request: &Value) -> Option<Value> {
    let proposed = request["permission_suggestions"].as_array()?.iter();
    let rules = proposed.filter(|it| it["type"] == "addRules" && it["behavior"] == "allow");
    let rules = rules.map(|rule| {
        let mut rule = rule.clone();
        // Elsewhere it would write them into files of the project or of the user.
        rule["destination"] = json!("session");
        rule
    });
    let rules: Vec<_> = rules.collect();
    (!rules.is_empty()).then(|| rules.into())
}

/// Asks its questions one after the other.
async fn questions(request: &Value, listener: &dyn Listener) -> Answered {
    let mut answers = Map::new();
    for question in request["input"]["questions"].as_array().into_iter().flatten() {
        let text = question["question"].as_str().unwrap_or_default();
        let options = question["options"].as_array().into_iter().flatten();
        let options = options.filter_map(|option| option["label"].as_str()).map(|label| Choice {
            id: label.to_owned(),
            name: label.to_owned(),
            kind: ChoiceKind::Answer,
        });
        let (call, options) = (call(request, QUESTIONS), options.collect());
        let asked = Request { call, question: text.to_owned(), options };
        match listener.ask(asked).await {
            Answer::Chosen(label) => answers.insert(text.to_owned(), label.into()),
            Answer::Cancelled => return Answered::Nobody,
        };
    }
    let mut input = request["input"].clone();
    input["answers"] = answers.into();
    Answered::Allowed { input, rules: None }
}
