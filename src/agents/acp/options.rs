//! What can be chosen in a session: its mode, its model, how much it thinks.
//! Invariant: nothing here performs I/O.

use serde_json::{Value, json};

/// Something that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choosable {
    Mode,
    Model,
    Thinking,
}

/// What it takes to have something chosen.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// It is.
    None,
    /// This call.
    Call { method: &'static str, params: Value },
    /// The agent does not offer it. In words.
    NotOffered(String),
}

/// What a session offers and has chosen, as the agent says.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// The lists of older agents: of modes, and of models.
    modes: Value,
    models: Value,
    /// The list that took their place.
    config: Value,
}

impl Choosable {
    const fn name(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Model => "model",
            Self::Thinking => "thought_level",
        }
    }
}

impl Options {
    /// Takes what the answer to the opening of a session says.
    pub fn opened(&mut self, answer: &Value) {
        self.modes = answer["modes"].clone();
        self.models = answer["models"].clone();
        self.config = answer["configOptions"].clone();
    }

    /// Takes a new list of options, if it is one.
    pub fn reconfigured(&mut self, config: &Value) {
        if config.is_array() {
            self.config = config.clone();
        }
    }

    /// Takes the mode that the session is in now.
    pub fn moved(&mut self, mode: &str) {
        if self.modes.is_object() {
            self.modes["currentModeId"] = mode.into();
        }
        let options = self.config.as_array_mut().into_iter().flatten();
        for option in options.filter(|option| is_about(option, Choosable::Mode)) {
            option["currentValue"] = mode.into();
        }
    }

    /// Takes that something was chosen by a call.
    pub fn changed(&mut self, which: Choosable, wanted: &str, answer: &Value) {
        match which {
            Choosable::Mode => self.moved(wanted),
            Choosable::Model if self.models.is_object() => {
                self.models["currentModelId"] = wanted.into();
            }
            Choosable::Model | Choosable::Thinking => {}
        }
        self.reconfigured(&answer["configOptions"]);
    }

    /// What is chosen now, where that is known.
    pub fn chosen(&self, which: Choosable) -> Option<&str> {
        let listed = match which {
            Choosable::Mode => self.modes["currentModeId"].as_str(),
            Choosable::Model => self.models["currentModelId"].as_str(),
            Choosable::Thinking => None,
        };
        self.option(which).and_then(|option| option["currentValue"].as_str()).or(listed)
    }

    /// The ids and names of what can be chosen.
    pub fn offered(&self, which: Choosable) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(option) = self.option(which) {
            let options = option["options"].as_array().into_iter().flatten();
            // Those of groups stand one level lower.
            let flat = options.flat_map(|option| match option["options"].as_array() {
                Some(inner) => inner.iter().collect(),
                None => vec![option],
            });
            return flat.map(|it| (text(&it["value"]), text(&it["name"]))).collect();
        }
        let (list, id) = match which {
            Choosable::Mode => (&self.modes["availableModes"], "id"),
            Choosable::Model => (&self.models["availableModels"], "modelId"),
            Choosable::Thinking => return Vec::new(),
        };
        let list = list.as_array().into_iter().flatten();
        list.map(|it| (text(&it[id]), text(&it["name"]))).collect()
    }

    /// What it takes to choose something, by its id or else by its name.
    pub fn change(&self, session: &str, which: Choosable, wanted: &str) -> Change {
        let offered = self.offered(which);
        let by_id = offered.iter().find(|(id, _)| id == wanted);
        let found = by_id.or_else(|| offered.iter().find(|(_, name)| name == wanted));
        let id = match found {
            Some((id, _)) => id.as_str(),
            // It did not say what it has, which is no reason to think that it has nothing.
            None if offered.is_empty() && which != Choosable::Thinking => wanted,
            None => return Change::NotOffered(not_offered(which, wanted, &offered)),
        };
        if self.chosen(which) == Some(id) {
            return Change::None;
        }
        let (method, params) = match (self.option(which), which) {
            (Some(option), _) => (
                "session/set_config_option",
                json!({"sessionId": session, "configId": option["id"], "value": id}),
            ),
            (None, Choosable::Model) => {
                ("session/set_model", json!({"sessionId": session, "modelId": id}))
            }
            (None, _) => ("session/set_mode", json!({"sessionId": session, "modeId": id})),
        };
        Change::Call { method, params }
    }

    fn option(&self, which: Choosable) -> Option<&Value> {
        self.config.as_array()?.iter().find(|option| is_about(option, which))
    }
}

fn is_about(option: &Value, which: Choosable) -> bool {
    option["category"] == which.name() && option["options"].is_array()
}

fn not_offered(which: Choosable, wanted: &str, offered: &[(String, String)]) -> String {
    let ids: Vec<_> = offered.iter().map(|(id, _)| format!("`{id}`")).collect();
    let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    format!("the agent offers no {} `{wanted}`; it offers {ids}", which.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(answer: &Value) -> Options {
        let mut options = Options::default();
        options.opened(answer);
        options
    }

    #[test]
    fn what_is_wanted_is_found_in_the_list_of_options() {
        let answer = json!({"configOptions": [
            {"id": "m", "category": "model", "type": "select", "currentValue": "a/b", "options": [
                {"group": "g", "name": "G", "options": [{"value": "a/b", "name": "B"}, {"value": "c", "name": "C"}]}
            ]},
            {"id": "mode", "category": "mode", "currentValue": "build",
             "options": [{"value": "build", "name": "build"}, {"value": "plan", "name": "plan"}]},
        ]});
        let mut options = options(&answer);
        let change = |options: &Options, which, wanted| options.change("s", which, wanted);
        assert_eq!(change(&options, Choosable::Model, "a/b"), Change::None);
        let call = |config: &str, value: &str| Change::Call {
            method: "session/set_config_option",
            params: json!({"sessionId": "s", "configId": config, "value": value}),
        };
        assert_eq!(change(&options, Choosable::Model, "C"), call("m", "c"));
        assert_eq!(change(&options, Choosable::Mode, "plan"), call("mode", "plan"));
        options.changed(Choosable::Mode, "plan", &Value::Null);
        assert_eq!(change(&options, Choosable::Mode, "plan"), Change::None);
        let Change::NotOffered(words) = change(&options, Choosable::Mode, "yolo") else {
            panic!("there is no such mode");
        };
        assert!(words.ends_with("it offers `build`, `plan`"), "{words}");
        let thinking = change(&options, Choosable::Thinking, "high");
        assert!(matches!(thinking, Change::NotOffered(_)));
    }

    #[test]
    fn older_lists_and_no_lists_do_as_well() {
        let mut older = options(&json!({
            "modes": {"currentModeId": "default", "availableModes": [{"id": "plan", "name": "Plan"}]},
            "models": {"currentModelId": "x", "availableModels": [{"modelId": "$x", "name": "X"}]}
        }));
        let mode = |mode: &str| Change::Call {
            method: "session/set_mode",
            params: json!({"sessionId": "s", "modeId": mode}),
        };
        assert_eq!(older.change("s", Choosable::Mode, "plan"), mode("plan"));
        older.moved("plan");
        assert_eq!(older.chosen(Choosable::Mode), Some("plan"));
        assert_eq!(older.change("s", Choosable::Mode, "plan"), Change::None);
        let model = json!({"sessionId": "s", "modelId": "$x"});
        let model = Change::Call { method: "session/set_model", params: model };
        assert_eq!(older.change("s", Choosable::Model, "X"), model);
        assert_eq!(options(&Value::Null).change("s", Choosable::Mode, "plan"), mode("plan"));
    }
}
