//! What is to be known of a program's command line.

use std::ffi::OsString;

use serde_json::json;
use uuid::Uuid;

use crate::{
    agents::{Facts, Resume, Sessions, Turn, read::Format, words},
    failure::Failure,
    model::Access,
};

/// Arguments. In those of a flag, `{}` stands for its value.
pub type Words = &'static [&'static str];

/// How a program is told to take one turn. Its arguments are, in this order: `first`, those of the
/// turn's access, those of its flags, the host's own, those of its session, and `last`.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Its name.
    pub name: &'static str,
    /// The program, looked up in the `PATH`.
    pub program: &'static str,
    /// What it prints.
    pub format: Format,
    /// Whether it must print onto a terminal. One that gets its prompt as an argument has it as its
    /// input too.
    pub terminal: bool,
    /// Who names its sessions.
    pub sessions: Sessions,
    /// How it is given its prompt.
    pub prompt: Prompt,
    /// The arguments of every turn.
    pub first: Words,
    /// What stands behind all others.
    pub last: Words,
    /// Variables of its environment. The host's win.
    pub env: &'static [(&'static str, &'static str)],
    /// A turn that may write.
    pub write: Way,
    /// A turn that may read only. None: it can't be told to.
    pub read_only: Option<Way>,
    /// A turn that may read only while the system keeps the program from writing, where that is told
    /// otherwise than `read_only`: for a program that confines its tools by itself and can't do so then.
    /// It is never used where nothing confines the program.
    pub confined: Option<Way>,
    /// Its flags.
    pub flags: Flags,
}

/// How a program is given its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// On its standard input: it has no limit there, and is in no list of processes.
    Input,
    /// As its last argument.
    Argument,
}

/// What a turn with this access has.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Its arguments, where the turn names no mode.
    pub arguments: Words,
    /// Variables that nobody changes, neither the host.
    pub env: &'static [(&'static str, &'static str)],
}

/// The flags of a program. An empty one it does not have.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    /// The model.
    pub model: Words,
    /// The mode, in the place of the arguments of a turn that may write.
    pub mode: Words,
    /// How much it is to think.
    pub thinking: Words,
    /// A new session with this id.
    pub new: Words,
    /// Whether the id must be a random UUID: one of version 4. Another is made to look like one.
    pub new_is_random: bool,
    /// A session that goes on.
    pub resume: Words,
    /// The schema of the answer.
    pub schema: Schema,
    /// How often the model may be asked.
    pub steps: Words,
    /// How many dollars may be spent.
    pub dollars: Words,
}

impl Flags {
    /// None at all.
    pub const NONE: Self = Self {
        model: &[],
        mode: &[],
        thinking: &[],
        new: &[],
        new_is_random: false,
        resume: &[],
        schema: Schema::Prompt,
        steps: &[],
        dollars: &[],
    };
}

/// How a program is told the schema of the answer.
#[derive(Clone, Copy, Debug)]
pub enum Schema {
    /// With the prompt: it has no flag.
    Prompt,
    /// By a flag that has the schema itself.
    Text(Words),
    /// By a flag that has the path of a file.
    File(Words),
}

/// How much a turn may use. What a program can't be told it is not started with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// How often it may ask its model.
    pub steps: Option<u32>,
    /// How many dollars it may spend.
    pub dollars: Option<f64>,
}

impl Recipe {
    /// The recipe as it is where the system keeps the program from writing, or nothing does.
    pub(super) fn where_confined(mut self, is_confined: bool) -> Self {
        let confined = self.confined.take().filter(|_| is_confined);
        self.read_only = confined.or(self.read_only);
        self
    }

    /// What a program can do by what is known of its command line.
    pub(super) fn facts(&self) -> Facts {
        let flags = &self.flags;
        let capabilities = json!({
            "sessions": format!("{:?}", self.sessions).to_lowercase(),
            "continues": !flags.resume.is_empty(),
            "modes": !flags.mode.is_empty(),
            "thinking": !flags.thinking.is_empty(),
            "schema": !matches!(flags.schema, Schema::Prompt),
            "reads_only": self.read_only.is_some(),
        });
        Facts { capabilities, ..Facts::default() }
    }

    /// What a turn with this access has.
    pub(super) fn way(&self, access: Access) -> Result<Way, Failure> {
        match access {
            Access::Write => Ok(self.write),
            Access::ReadOnly => self.read_only.ok_or_else(|| {
                Failure::fatal(format!("`{}` can't be kept from writing by its flags", self.name))
            }),
        }
    }

    /// The arguments of a turn, without its prompt. `file` has the schema.
    pub(super) fn arguments(
        &self,
        turn: &Turn,
        limits: Limits,
        own: &[OsString],
        file: Option<&str>,
    ) -> Result<Vec<OsString>, Failure> {
        let mut arguments = texts(self.first);
        let way = self.way(turn.access)?;
        match (turn.access, &turn.mode) {
            // What only reads has the mode that keeps it from writing.
            (Access::ReadOnly, _) | (_, None) => arguments.extend(texts(way.arguments)),
            (Access::Write, Some(mode)) => {
                self.add(&mut arguments, "mode", self.flags.mode, mode)?;
            }
        }
        let (steps, dollars) = (limits.steps, limits.dollars);
        let flags = [
            ("model", self.flags.model, turn.model.clone()),
            ("thinking", self.flags.thinking, turn.thinking.clone()),
            ("limit of steps", self.flags.steps, steps.map(|steps| steps.to_string())),
            ("limit of dollars", self.flags.dollars, dollars.map(|dollars| dollars.to_string())),
        ];
        for (name, flag, value) in flags {
            if let Some(value) = value {
                self.add(&mut arguments, name, flag, &value)?;
            }
        }
        match (self.flags.schema, &turn.schema, file) {
            (Schema::Text(flag), Some(schema), _) => {
                arguments.extend(filled(flag, schema.as_str()));
            }
            (Schema::File(flag), Some(_), Some(file)) => arguments.extend(filled(flag, file)),
            _ => {}
        }
        arguments.extend_from_slice(own);
        match &turn.resume {
            Resume::Fresh => {}
            Resume::New(id) => self.add(&mut arguments, "id of a session", self.flags.new, id)?,
            Resume::Continue(id) => self.add(&mut arguments, "session", self.flags.resume, id)?,
        }
        arguments.extend(texts(self.last));
        Ok(arguments)
    }

    fn add(
        &self,
        arguments: &mut Vec<OsString>,
        what: &str,
        flag: Words,
        value: &str,
    ) -> Result<(), Failure> {
        if flag.is_empty() {
            return Err(Failure::fatal(format!("`{}` can't be told a {what}", self.name)));
        }
        // A value that looks like a flag would be one.
        if value.starts_with('-') {
            return Err(Failure::fatal(format!("`{value}` is no {what}")));
        }
        arguments.extend(filled(flag, value));
        Ok(())
    }

    /// The id of a new session, as the program takes it.
    pub(super) fn new_id(&self, id: &str) -> String {
        match id.parse::<Uuid>() {
            Ok(id) if self.flags.new_is_random => {
                uuid::Builder::from_random_bytes(id.into_bytes()).into_uuid().to_string()
            }
            _ => id.to_owned(),
        }
    }

    /// The words of the prompt.
    pub(super) fn prompt(&self, turn: &Turn) -> String {
        match self.flags.schema {
            Schema::Prompt => words(&turn.content_with_schema()),
            _ => words(&turn.content),
        }
    }
}

fn texts(words: Words) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn filled(flag: Words, value: &str) -> impl Iterator<Item = OsString> {
    flag.iter().map(move |word| word.replace("{}", value).into())
}

#[cfg(test)]
mod tests {
    use super::super::recipes::{CLAUDE, CODEX};

    #[test]
    fn a_program_leaves_to_the_system_what_it_can_only_do_without_it() {
        let words = |recipe: super::Recipe| recipe.read_only.expect("a way").arguments.join(" ");
        assert_eq!(words(CODEX.where_confined(true)), "--sandbox danger-full-access");
        assert_eq!(words(CODEX.where_confined(false)), "--sandbox read-only");
        assert_eq!(words(CLAUDE.where_confined(true)), words(CLAUDE.where_confined(false)));
    }
}
