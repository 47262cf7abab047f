//! The value in an agent's answer.

use serde_json::Value;

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
