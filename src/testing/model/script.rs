//! Who decides what the model says.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, PoisonError},
};

use super::{Ask, Reply, Usage, markers::Markers};

/// What a [`ModelServer`](super::ModelServer) says to whom.
///
/// One is made of a function ([`by`](Self::by)), of replies in their order
/// ([`queue`](Self::queue)), or lets the prompt decide ([`markers`](Self::markers)).
pub struct Script {
    answer: Box<Answer>,
    usage: Usage,
    pub(super) models: Vec<String>,
}

type Answer = dyn Fn(&Ask) -> Reply + Send + Sync;

impl Script {
    /// What this function returns. It is called once for each request, in no order where several
    /// come at once.
    pub fn by(answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Self {
        // Five numbers that differ, so that one taken for another is seen.
        let usage = Usage { input: 100, cache_read: 11, cache_write: 7, output: 17, reasoning: 3 };
        Self { answer: Box::new(answer), usage, models: vec!["scripted".into()] }
    }

    /// These replies, one for each request; then errors with status 500.
    pub fn queue(replies: impl IntoIterator<Item = Reply>) -> Self {
        let queue: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::by(move |_| {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.unwrap_or_else(|| Reply::error(500, "the script has no more replies"))
        })
    }

    /// What the prompt itself says in [markers](super::MARKERS).
    pub fn markers() -> Self {
        let markers = Markers::default();
        Self::by(move |ask| markers.answer(ask))
    }

    /// Bills these tokens for each answer that does not say its own.
    pub fn usage(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// Offers these models in `/v1/models`. Whatever model is asked for answers, listed or not.
    pub fn models<T: Into<String>>(self, models: impl IntoIterator<Item = T>) -> Self {
        Self { models: models.into_iter().map(Into::into).collect(), ..self }
    }

    /// The reply, and what it costs.
    pub(super) fn answer(&self, ask: &Ask) -> (Reply, Usage) {
        let reply = (self.answer)(ask);
        let usage = reply.usage.unwrap_or(self.usage);
        (reply, usage)
    }

    /// What a reply costs that does not say it.
    pub(super) const fn default_usage(&self) -> Usage {
        self.usage
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("usage", &self.usage).finish_non_exhaustive()
    }
}
