//! The scripted model's server, over plain connections.

mod client;
mod hardship;

use std::time::Duration;

use segue::testing::model::{End, Entry, ModelServer, Reply, Script, Usage};
use serde_json::{Value, json};

use client::{PROTOCOLS, ask, get, heard, heard_in_events, path, post, with_result};

const USAGE: Usage = Usage { input: 50, cache_read: 40, cache_write: 9, output: 30, reasoning: 5 };

pub async fn start(script: Script) -> ModelServer {
    ModelServer::start(script).await.expect("a port of the loopback address")
}

#[tokio::test]
async fn every_protocol_says_the_same_whole_and_in_pieces() {
    let said = Reply::thinking("I think, so I am.").and_text("Größe: 3 µm — 完了");
    let said = said.and_call("read", json!({"path": "a \"b\".txt", "lines": [1, 2]}));
    let said = said.usage(USAGE).pieces(4);
    let server = start(Script::by(move |_| said.clone())).await;
    for protocol in PROTOCOLS {
        let body = post(&server, path(protocol), &ask(protocol, false, "hi")).await;
        let events = post(&server, path(protocol), &ask(protocol, true, "hi")).await;
        assert_eq!((body.status, events.status), (200, 200), "{protocol:?}");
        assert_eq!(events.header("content-type"), Some("text/event-stream"));

        for (way, heard) in [
            ("whole", heard(protocol, &body.json())),
            ("in pieces", heard_in_events(protocol, &events.events())),
        ] {
            let (id, name, input) = heard.call.expect("it calls a tool");
            assert_eq!(heard.thoughts, "I think, so I am.", "{protocol:?} {way}");
            assert_eq!(heard.text, "Größe: 3 µm — 完了", "{protocol:?} {way}");
            assert_eq!(name, "read", "{protocol:?} {way}");
            assert_eq!(input, json!({"path": "a \"b\".txt", "lines": [1, 2]}));
            assert_eq!(heard.usage, (99, 40, 35), "{protocol:?} {way}");
            assert!(!id.is_empty(), "{protocol:?} {way}");
        }
    }
    assert_eq!(server.asked(), 6);
    assert_eq!(server.billed(), times(USAGE, 6));
}

fn times(usage: Usage, count: u64) -> Usage {
    let mut sum = Usage::default();
    (0..count).for_each(|_| sum += usage);
    sum
}

#[tokio::test]
async fn a_marker_calls_a_tool_and_its_result_is_said_again() {
    let server = start(Script::markers()).await;
    let prompt = "please\n<<TOOL read {\"shell\": \"echo a >> b\"}>><<TOOL list {}>> thank you";
    for protocol in PROTOCOLS {
        for stream in [false, true] {
            let asking = async |body: &Value| {
                let answer = post(&server, path(protocol), body).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                match stream {
                    true => heard_in_events(protocol, &answer.events()),
                    false => heard(protocol, &answer.json()),
                }
            };
            let first = ask(protocol, stream, prompt);
            let (one, name, input) = asking(&first).await.call.expect("a call");
            assert_eq!((name.as_str(), &input), ("read", &json!({"shell": "echo a >> b"})));

            let second = with_result(protocol, first, &one, "forty-one");
            let (two, name, _) = asking(&second).await.call.expect("another call");
            assert_eq!(name, "list");
            assert_ne!(one, two, "ids are not used twice in a conversation");

            let third = with_result(protocol, second, &two, "forty-two");
            let last = asking(&third).await;
            assert_eq!((last.text.as_str(), last.call), ("The tool said: forty-two", None));
        }
    }
}

#[tokio::test]
async fn a_script_sees_the_conversation_the_same_in_every_protocol() {
    let server = start(Script::by(|_| Reply::text("seen"))).await;
    for protocol in PROTOCOLS {
        let body = with_result(protocol, ask(protocol, false, "do it"), "call-1", "done so");
        post(&server, path(protocol), &body).await;
    }
    for (number, record) in server.records().into_iter().enumerate() {
        let ask = record.ask.expect("the model was asked");
        assert_eq!((ask.number, ask.model.as_str()), (number, "m"));
        assert_eq!(ask.tools, ["read"]);
        assert_eq!(ask.prompt(), "do it");
        let results: Vec<_> = ask.results().into_iter().map(|it| (&*it.id, &*it.text)).collect();
        assert_eq!(results, [("call-1", "done so")]);
        let call = Entry::Call { id: "call-1".into(), name: "read".into(), input: json!({}) };
        assert!(ask.entries.contains(&call), "{:?}", ask.entries);
    }
}

#[tokio::test]
async fn what_an_agent_reminds_the_model_of_is_not_the_prompt() {
    let server = start(Script::markers()).await;
    let (path, mut body) = (path(PROTOCOLS[0]), ask(PROTOCOLS[0], false, ""));
    let text = |text: &str| json!({"type": "text", "text": text});
    let reminder = text("<system-reminder>\n<<ERROR 500>>\n</system-reminder>");
    body["messages"] = json!([
        {"role": "user", "content": [reminder, text("<<SAY first>>")]},
        {"role": "assistant", "content": [text("first")]},
        {"role": "user", "content": [text("<<SAY second>>")]},
        {"role": "user", "content": [reminder]},
    ]);
    assert_eq!(heard(PROTOCOLS[0], &post(&server, path, &body).await.json()).text, "second");
}

#[tokio::test]
async fn a_side_question_is_answered_whatever_the_prompt_says() {
    let server = start(Script::markers()).await;
    for protocol in PROTOCOLS {
        let mut body = ask(protocol, false, "<<ERROR 500>>");
        body["tools"] = json!([]);
        let answer = post(&server, path(protocol), &body).await;
        assert_eq!(heard(protocol, &answer.json()).text, "ok", "{protocol:?}");
    }
}

#[tokio::test]
async fn markers_say_think_and_bill() {
    let server = start(Script::markers()).await;
    let prompt = "<<THINK hm>><<SAY yes>><<USAGE {\"input\": 5, \"output\": 2}>>";
    for protocol in PROTOCOLS {
        let answer = post(&server, path(protocol), &ask(protocol, false, prompt)).await;
        let heard = heard(protocol, &answer.json());
        assert_eq!((heard.thoughts.as_str(), heard.text.as_str()), ("hm", "yes"));
        assert_eq!(heard.usage, (5, 0, 2));
    }
}

#[tokio::test]
async fn a_queue_is_said_in_order_and_then_fails() {
    let server = start(Script::queue([Reply::text("one"), Reply::error(503, "busy")])).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses
            .push(post(&server, path(PROTOCOLS[0]), &ask(PROTOCOLS[0], false, "")).await.status);
    }
    assert_eq!(statuses, [200, 503, 500]);
    assert_eq!(server.records()[1].end, End::Answered(503));
    assert_eq!(server.records()[1].usage, None, "an error costs nothing");
}

#[tokio::test]
async fn limits_say_when_they_end_and_end_after_their_times() {
    let server = start(Script::markers()).await;
    for (protocol, header) in PROTOCOLS.into_iter().zip([
        "anthropic-ratelimit-requests-reset",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-requests",
    ]) {
        // A limit for each, since they are counted by prompt.
        let body = ask(protocol, true, &format!("{protocol:?} <<LIMIT 20 2>>"));
        for _ in 0..2 {
            let answer = post(&server, path(protocol), &body).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, Some("20")));
            assert!(answer.header(header).is_some(), "{}", answer.headers);
            assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
        }
        assert_eq!(post(&server, path(protocol), &body).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn delays_are_those_of_the_script() {
    let server = start(Script::markers()).await;
    let began = tokio::time::Instant::now();
    let body = ask(PROTOCOLS[1], true, "<<DELAY 60000>><<PIECES 3 20000>><<SAY abc>>");
    let answer = post(&server, path(PROTOCOLS[1]), &body).await;
    assert_eq!(heard_in_events(PROTOCOLS[1], &answer.events()).text, "abc");
    // Before the seven events (a start, three letters, the end, the usage, the mark) there is the
    // delay, and between them are six pauses.
    assert_eq!(began.elapsed().as_secs(), 60 + 6 * 20);
}

#[tokio::test]
async fn an_error_has_the_body_and_headers_that_its_script_says() {
    let script = Script::by(|_| {
        let error = Reply::error(429, "").with_body(json!({"error": {"resets_at": 7}}));
        error.with_header("x-own", "yes")
    });
    let server = start(script).await;
    let answer = post(&server, path(PROTOCOLS[2]), &ask(PROTOCOLS[2], true, "")).await;
    assert_eq!(answer.json(), json!({"error": {"resets_at": 7}}));
    assert_eq!(answer.header("x-own"), Some("yes"));
}

#[tokio::test]
async fn models_are_listed_and_tokens_counted_without_asking_the_model() {
    let server = start(Script::markers().models(["small", "large"]).usage(USAGE)).await;
    let models = get(&server, "/v1/models?limit=1000").await.json();
    let names: Vec<_> = models["data"].as_array().expect("a list").iter().collect();
    assert_eq!(names.iter().map(|it| &it["id"]).collect::<Vec<_>>(), ["small", "large"]);
    assert_eq!(get(&server, "/v1/models/small").await.json()["id"], "small");
    let body = ask(PROTOCOLS[0], false, "");
    let count = post(&server, "/v1/messages/count_tokens?beta=true", &body).await;
    assert_eq!(count.json(), json!({"input_tokens": 99}));
    assert_eq!((server.asked(), server.billed()), (0, Usage::default()));
    assert_eq!(server.records().len(), 3);
}

#[tokio::test]
async fn requests_are_recorded_without_their_secrets() {
    let server = start(Script::markers()).await;
    let body = ask(PROTOCOLS[1], false, "hello");
    post(&server, "/v1/chat/completions?x=1", &body).await;
    let record = server.records().remove(0);
    assert_eq!(
        (record.method.as_str(), record.path.as_str()),
        ("POST", "/v1/chat/completions?x=1")
    );
    assert_eq!(record.body, Some(body));
    let header = |name: &str| record.headers.iter().find(|it| it.0 == name).map(|it| &*it.1);
    assert_eq!(header("authorization"), Some("(hidden)"));
    assert_eq!(header("x-api-key"), Some("(hidden)"));
    assert_eq!(header("x-plain"), Some("seen"));
    assert!(!format!("{record:?}").contains("secret"));
}

/// A limit for what should come at once.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it comes soon")
}
