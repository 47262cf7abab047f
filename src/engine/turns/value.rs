//! The value in an agent's answer, and whether it is what was asked for.

use serde_json::Value;

use crate::{
    failure::Failure,
    model::{Payload, TaskSpec},
};

/// What an answer must be.
#[derive(Debug)]
pub(super) struct Expected {
    #[cfg(feature = "json-schema")]
    schema: Option<jsonschema::Validator>,
    /// The value that an answer is, or why it is none.
    check: fn(&Payload) -> serde_json::Result<Payload>,
}

impl Expected {
    /// What the answer of a task must be.
    pub fn new(
        spec: &TaskSpec,
        check: fn(&Payload) -> serde_json::Result<Payload>,
    ) -> Result<Self, Failure> {
        let schema = spec.options.schema.as_ref();
        #[cfg(feature = "json-schema")]
        {
            let schema = schema.map(compiled).transpose().map_err(Failure::fatal)?;
            Ok(Self { schema, check })
        }
        #[cfg(not(feature = "json-schema"))]
        {
            schema.map_or(Ok(()), check_schema).map_err(Failure::fatal)?;
            Ok(Self { check })
        }
    }

    /// The value of an answer, or what is wrong with it.
    pub fn read(&self, answer: &Payload) -> Result<Payload, String> {
        let fitting = self.fitting(answer)?;
        (self.check)(fitting.as_ref().unwrap_or(answer)).map_err(|error| error.to_string())
    }

    /// The value in an answer that satisfies the schema: all of it, or the JSON in its words.
    #[cfg(feature = "json-schema")]
    fn fitting(&self, answer: &Payload) -> Result<Option<Payload>, String> {
        let Some(schema) = &self.schema else { return Ok(None) };
        let whole: Value = answer.decode().map_err(|error| error.to_string())?;
        let value = match &whole {
            Value::String(words) if !schema.is_valid(&whole) => {
                json_in(words).ok_or("it has no JSON value in it")?
            }
            _ => whole,
        };
        let wrong = schema.iter_errors(&value).take(5);
        let wrong: Vec<_> = wrong.map(|it| format!("{it} (at `{}`)", it.instance_path())).collect();
        match wrong.is_empty() {
            true => Payload::of(&value).map(Some).map_err(|error| error.to_string()),
            false => Err(wrong.join("; ")),
        }
    }

    #[cfg(not(feature = "json-schema"))]
    fn fitting(&self, _: &Payload) -> Result<Option<Payload>, String> {
        Ok(None)
    }
}

#[cfg(feature = "json-schema")]
fn compiled(schema: &Payload) -> Result<jsonschema::Validator, String> {
    let value: Value = schema.decode().map_err(|error| error.to_string())?;
    jsonschema::validator_for(&value)
        .map_err(|error| format!("what answers must satisfy is not a JSON schema: {error}"))
}

/// Refuses what is not a JSON schema.
#[cfg(feature = "json-schema")]
pub(crate) fn check_schema(schema: &Payload) -> Result<(), String> {
    compiled(schema).map(drop)
}

/// Nothing here can check an answer.
#[cfg(not(feature = "json-schema"))]
pub(crate) fn check_schema(_: &Payload) -> Result<(), String> {
    Err("answers are checked against a schema by the feature `json-schema`".to_owned())
}

/// The JSON in a text: all of it, or what stands in its last fence, or its last object or list.
pub(crate) fn json_in(text: &str) -> Option<Value> {
    let whole = serde_json::from_str(text.trim()).ok();
    whole.or_else(|| fenced(text)).or_else(|| embedded(text))
}

fn fenced(text: &str) -> Option<Value> {
    let mut parts: Vec<&str> = text.split("```").collect();
    // What is behind the last fence is outside of it.
    parts.pop();
    let inside = parts.into_iter().skip(1).step_by(2);
    let mut values = inside.filter_map(|part| {
        let body = part.split_once('\n').map_or(part, |(_, body)| body);
        serde_json::from_str(body.trim()).ok()
    });
    values.next_back()
}

/// The last object or list that begins a line and is JSON to its end.
fn embedded(text: &str) -> Option<Value> {
    let mut starts: Vec<usize> = vec![0];
    starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
    starts.into_iter().rev().find_map(|at| {
        let rest = text[at..].trim_start();
        if !rest.starts_with(['{', '[']) {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        values.next()?.ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_found_where_models_put_it() {
        let value = json!({"a": [1]});
        for text in [
            r#"{"a": [1]}"#,
            "Here it is:\n```json\n{\"a\": [1]}\n```\nDone.",
            "First ```\n{\"b\": 1}\n``` then\n```\n{\"a\": [1]}\n```",
            "I found:\n{\"a\": [1]}\nThat is all.",
        ] {
            assert_eq!(json_in(text).as_ref(), Some(&value), "{text}");
        }
        assert_eq!(json_in("nothing of the kind"), None);
        assert_eq!(json_in("a set {x} of things"), None);
    }
}
