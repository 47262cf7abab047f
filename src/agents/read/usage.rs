//! Numbers of tokens and prices.

use serde_json::Value;

use crate::model::Payload;

/// A number of tokens; what is missing is none.
pub(super) fn count(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or(0)
}

/// A price in dollars as millionths of one.
pub(super) fn cost(dollars: &Value) -> Option<i64> {
    let micros = (dollars.as_f64()? * 1e6).round();
    (micros.abs() < 1e15).then_some(micros as i64)
}

/// The words of an event.
pub(super) fn raw(event: &Value) -> Payload {
    Payload::of(event).unwrap_or_else(|_| Payload::null())
}
