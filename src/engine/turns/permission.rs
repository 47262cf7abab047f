//! What an agent asks a person in the middle of a turn.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    agents::{self, Choice, ChoiceKind, Request, ToolKind},
    engine::Job,
    error::Result,
    failure::Failure,
    id::{ChatId, ItemId},
    model::{Access, Ask, Begun, Command, Item, ItemKind, ItemState, Needs, Payload},
};

/// The answers to a request for leave.
const ALLOW: &str = "allow";
const REJECT: &str = "reject";
/// How the key of what an agent asks begins.
const OF_AGENT: &str = "agent ";
/// How often to look for an answer that nobody announced.
const LOOK: Duration = Duration::from_secs(1);

/// How a request ended.
pub(super) enum Asked {
    /// Someone answered, or need not be asked.
    Answered(agents::Answer),
    /// Nobody did in time: the task is to wait for the answer, holding no worker.
    Late(Failure),
}

/// Asks a person, unless the answer is known: someone gave it to an attempt that died, or the turn
/// may only read.
///
/// # Errors
/// When the database is away for too long, or the turn is not this worker's any more.
pub(super) async fn ask(
    job: &Job,
    chat: ChatId,
    begun: &Begun,
    request: &Request,
) -> Result<Asked> {
    if let Some(answer) = settled(job, request) {
        return Ok(Asked::Answered(answer));
    }
    let (task, lease) = (job.claimed.task.id, job.claimed.task.lease);
    let key = key(begun, request);
    let known = items(job).await?.into_iter().filter(|item| item.key == key);
    let waiting = |item: &Item| matches!(item.state, ItemState::Open | ItemState::Answered);
    let ask = match known.into_iter().find(waiting) {
        Some(item) => item.id,
        None => {
            let ask = question(&key, request);
            let id = ask.id;
            let ask = Box::new(ask);
            job.core.submit(Command::Ask { task, lease, chat: Some(chat), ask }).await?;
            id
        }
    };
    let mut changes = job.core.watch_changes();
    let deadline = tokio::time::Instant::now() + job.core.settings.permission;
    loop {
        let item = items(job).await?.into_iter().find(|item| item.id == ask);
        if let Some(answer) = item.as_ref().and_then(|item| item.answer.as_ref()) {
            job.core.submit(Command::UseAnswer { item: ask, lease }).await?;
            return Ok(Asked::Answered(choose(request, &answer.value)));
        }
        if item.is_none_or(|item| item.state != ItemState::Open) {
            return Ok(Asked::Answered(agents::Answer::Cancelled));
        }
        tokio::select! {
            _ = tokio::time::timeout(LOOK, changes.changed()) => {}
            () = job.token.cancelled() => return Ok(Asked::Answered(agents::Answer::Cancelled)),
            () = tokio::time::sleep_until(deadline) => {
                let ask = Ask { id: ask, ..question(&key, request) };
                return Ok(Asked::Late(Failure::asks(vec![ask])));
            }
        }
    }
}

async fn items(job: &Job) -> Result<Vec<Item>> {
    let needs = Needs { items_of: [job.claimed.task.id].into(), ..Needs::default() };
    Ok(job.core.backend.read(&needs).await?.items.into_values().collect())
}

/// Whether the task's agent has asked anything before.
pub(super) async fn has_asked(job: &Job) -> Result<bool> {
    Ok(items(job).await?.iter().any(|item| item.key.starts_with(OF_AGENT)))
}

/// What needs no person: nothing that may only read is allowed to write.
fn settled(job: &Job, request: &Request) -> Option<agents::Answer> {
    let writes = request.call.kind.is_none_or(ToolKind::writes);
    let reads = job.claimed.spec.options.access == Access::ReadOnly;
    (reads && writes && is_permission(request)).then(|| chosen(request, ChoiceKind::RejectOnce))
}

fn is_permission(request: &Request) -> bool {
    request.options.iter().any(|choice| choice.kind != ChoiceKind::Answer)
}

/// The name of what is asked: the same for an agent that is resumed and asks again, and another for
/// what is asked in another of its sessions.
fn key(begun: &Begun, request: &Request) -> String {
    let call = &request.call;
    let what = json!([request.question, call.title, call.kind, call.input]);
    let hash = Sha256::digest(what.to_string());
    format!("{OF_AGENT}{} {:.24}", begun.generation, format!("{hash:x}"))
}

fn question(key: &str, request: &Request) -> Ask {
    let permission = is_permission(request);
    let options = match permission {
        true => vec![ALLOW.to_owned(), REJECT.to_owned()],
        false => request.options.iter().map(|choice| choice.name.clone()).collect(),
    };
    let body = json!({"question": request.question, "call": request.call});
    Ask {
        id: ItemId::new(),
        kind: if permission { ItemKind::Permission } else { ItemKind::Question },
        key: key.to_owned(),
        body: Payload::of(&body).unwrap_or_else(|_| Payload::text(&request.question)),
        options,
    }
}

/// The agent's own option that an answer means. Leave is given once: never for what comes later.
fn choose(request: &Request, value: &Payload) -> agents::Answer {
    let value = value.decode::<String>().unwrap_or_else(|_| value.as_str().to_owned());
    if !is_permission(request) {
        let named = |choice: &&Choice| choice.name == value;
        let id =
            request.options.iter().find(named).map_or(value.clone(), |choice| choice.id.clone());
        return agents::Answer::Chosen(id);
    }
    chosen(request, if value == ALLOW { ChoiceKind::AllowOnce } else { ChoiceKind::RejectOnce })
}

fn chosen(request: &Request, kind: ChoiceKind) -> agents::Answer {
    let choice = request.options.iter().find(|choice| choice.kind == kind);
    choice.map_or(agents::Answer::Cancelled, |choice| agents::Answer::Chosen(choice.id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kinds: &[ChoiceKind]) -> Request {
        let choice = |kind: &ChoiceKind| Choice {
            id: format!("{kind:?}"),
            name: format!("say {kind:?}"),
            kind: *kind,
        };
        let options = kinds.iter().map(choice).collect();
        Request { call: agents::ToolCall::default(), question: "may I?".into(), options }
    }

    #[test]
    fn leave_is_given_once_or_not_at_all() {
        use ChoiceKind::*;
        let all = request(&[AllowAlways, AllowOnce, RejectAlways, RejectOnce]);
        assert_eq!(choose(&all, &Payload::text(ALLOW)), agents::Answer::Chosen("AllowOnce".into()));
        assert_eq!(
            choose(&all, &Payload::text(REJECT)),
            agents::Answer::Chosen("RejectOnce".into())
        );
        let always = request(&[AllowAlways, RejectAlways]);
        assert_eq!(choose(&always, &Payload::text(ALLOW)), agents::Answer::Cancelled);
        let question = request(&[ChoiceKind::Answer]);
        assert_eq!(
            choose(&question, &Payload::text("say Answer")),
            agents::Answer::Chosen("Answer".into())
        );
        assert_eq!(question_kind(&all), (ItemKind::Permission, 2));
        assert_eq!(question_kind(&question), (ItemKind::Question, 1));
    }

    fn question_kind(request: &Request) -> (ItemKind, usize) {
        let ask = super::question("key", request);
        (ask.kind, ask.options.len())
    }
}
