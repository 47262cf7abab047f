//! An agent that plays a turn that was recorded.

use std::fmt;

use async_trait::async_trait;

use crate::agents::{Agent, Listener, Outcome, Profile, Reply, Resume, Turn, Update};

/// An agent that tells in each turn what it was given, and ends it so. It costs nothing and needs
/// no program.
///
/// ```
/// use segue::{agents::{Reply, Update}, testing::Replay};
///
/// let text = Update::Text { message: None, text: "42".into() };
/// let agent = Replay::new([text]).ending(|| Reply::text("42"));
/// ```
pub struct Replay {
    updates: Vec<Update>,
    outcome: Box<dyn Fn() -> Outcome + Send + Sync>,
    session: Option<String>,
    profile: Profile,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("updates", &self.updates).finish_non_exhaustive()
    }
}

impl Replay {
    /// One that tells these and answers with the texts among them.
    pub fn new(updates: impl IntoIterator<Item = Update>) -> Self {
        let updates: Vec<_> = updates.into_iter().collect();
        let texts = updates.iter().filter_map(|update| match update {
            Update::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let text: String = texts.collect();
        let outcome = Box::new(move || Outcome::Completed(Reply::text(text.clone())));
        Self { updates, outcome, session: None, profile: Profile::default() }
    }

    /// One whose turns end so: with a reply, or another outcome.
    pub fn ending<T: Into<Outcome>>(self, end: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { outcome: Box::new(move || end().into()), ..self }
    }

    /// One that calls a new session so, where it is not told how to.
    pub fn session(self, id: impl Into<String>) -> Self {
        Self { session: Some(id.into()), ..self }
    }

    /// One of which this is to be known.
    pub fn profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// The id of the turn's session, where it is a new one.
    fn new_session<'a>(&'a self, turn: &'a Turn) -> Option<&'a str> {
        match &turn.resume {
            Resume::Fresh => self.session.as_deref(),
            Resume::New(id) => Some(id),
            Resume::Continue(_) => None,
        }
    }
}

#[async_trait]
impl Agent for Replay {
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        if let Some(id) = self.new_session(&turn)
            && let Err(failure) = listener.session(id).await
        {
            return Outcome::Failed(failure);
        }
        if let Err(failure) = listener.prompting().await {
            return Outcome::Failed(failure);
        }
        for update in &self.updates {
            if turn.stop.is_cancelled() {
                return Outcome::Cancelled;
            }
            listener.tell(update.clone()).await;
        }
        (self.outcome)()
    }

    fn profile(&self) -> Profile {
        self.profile.clone()
    }
}
