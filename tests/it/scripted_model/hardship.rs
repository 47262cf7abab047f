//! Answers that break, clients that leave, and requests that are none.

use segue::testing::model::{End, Reply, Script, Usage};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    client::{PROTOCOLS, ask, connect, get, parse, path, post, raw, read, request},
    soon, start,
};

#[tokio::test]
async fn a_stream_breaks_off_in_the_middle_and_is_not_billed() {
    let server = start(Script::markers()).await;
    for protocol in PROTOCOLS {
        let body = ask(protocol, true, "<<PIECES 9>><<CUT 4>><<SAY abcdefghi>>");
        let answer = post(&server, path(protocol), &body).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.is_whole, "{protocol:?}: the last chunk is missing");
        assert_eq!(answer.events().len(), 4, "{protocol:?}");
        let whole = post(&server, path(protocol), &ask(protocol, false, "<<CUT 0>>")).await;
        assert_eq!((whole.is_whole, whole.body.as_str()), (false, ""), "{protocol:?}");
    }
    assert!(server.records().iter().all(|record| record.end == End::Cut));
    assert_eq!(server.billed(), Usage::default());
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_when_the_client_leaves() {
    let server = start(Script::markers()).await;
    let mut stream = connect(&server).await;
    let body = ask(PROTOCOLS[0], true, "<<NEVER>>").to_string();
    stream.write_all(request("/v1/messages", &body).as_bytes()).await.expect("the server reads");
    soon(server.until(|records| records.iter().any(|record| record.ask.is_some()))).await;
    assert_eq!(server.records()[0].end, End::Open);
    drop(stream);
    soon(server.until(|records| records[0].end == End::Left)).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_is_not_billed() {
    let server = start(Script::markers()).await;
    let mut stream = connect(&server).await;
    // Without a limit the stream would take a thousand hours.
    let body = ask(PROTOCOLS[2], true, "<<PIECES 1000 3600000>><<SAY abc>>").to_string();
    stream.write_all(request("/v1/responses", &body).as_bytes()).await.expect("the server reads");
    soon(stream.readable()).await.expect("the stream begins");
    drop(stream);
    soon(server.until(|records| records[0].end == End::Left)).await;
    assert_eq!(server.billed(), Usage::default());
}

#[tokio::test]
async fn dropping_the_server_closes_its_port_and_its_connections() {
    let server = start(Script::by(|_| Reply::never())).await;
    let mut stream = connect(&server).await;
    let body = ask(PROTOCOLS[1], true, "").to_string();
    stream.write_all(request("/v1/chat/completions", &body).as_bytes()).await.expect("it reads");
    soon(server.until(|records| records.iter().any(|record| record.ask.is_some()))).await;
    let port = server.port();
    drop(server);
    assert_eq!(soon(read(&mut stream)).await, "", "the connection is closed without an answer");
    soon(async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_of_a_protocol_gets_a_400_that_says_why() {
    let server = start(Script::markers()).await;
    for (path, body, why) in [
        ("/v1/messages", "{".to_owned(), "not JSON"),
        ("/v1/responses", "\u{0}\u{7f}".to_owned(), "not JSON"),
        ("/v1/chat/completions", String::new(), "not JSON"),
        ("/v1/messages", "[]".to_owned(), "`model` is not a string"),
        ("/v1/messages", json!({"model": 3}).to_string(), "`model` is not a string"),
        ("/v1/messages", json!({"model": "m"}).to_string(), "`messages` is not a list"),
        ("/v1/responses", json!({"model": "m", "input": 7}).to_string(), "`input` is not a list"),
        (
            "/v1/chat/completions",
            json!({"model": "m", "messages": ["hi", null, [[]]]}).to_string(),
            "a message has the role",
        ),
    ] {
        let answer = parse(&raw(&server, request(path, &body).as_bytes()).await);
        assert_eq!(answer.status, 400, "{path} {body}: {answer:?}");
        assert!(answer.body.contains(why), "{path} {body}: {answer:?}");
    }
    assert_eq!(server.records().len(), 8, "each is recorded");
}

#[tokio::test]
async fn markers_that_cant_be_read_say_so() {
    let server = start(Script::markers()).await;
    for (prompt, why) in [
        ("<<TOOL read>>", "it has a tool and its input"),
        ("<<TOOL read {\"a\": >>", "can't be read"),
        ("<<TOOL read {} and more>>", "no end behind its JSON"),
        ("<<SAY it", "it has no end"),
        ("<<DELAY>>", "it lacks a number"),
        ("<<DELAY soon>>", "`soon` is no number"),
        ("<<ERROR 200>>", "from 400 to 599"),
        ("<<PIECES 99999999999>>", "no number that fits"),
    ] {
        let answer = post(&server, "/v1/messages", &ask(PROTOCOLS[0], false, prompt)).await;
        assert_eq!(answer.status, 400, "{prompt}");
        assert!(answer.body.contains(why), "{prompt}: {}", answer.body);
    }
    // What only looks like one is left alone.
    let body = ask(PROTOCOLS[0], false, "<<HUH>> 1 << 2 <<end cat <<EOF\n <<");
    assert_eq!(post(&server, "/v1/messages", &body).await.status, 200);
}

#[tokio::test]
async fn the_server_outlives_whatever_is_sent() {
    let server = start(Script::markers()).await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], // the beginning of TLS
        b"GET\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let answer = soon(raw(&server, garbage)).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let connect_to = b"CONNECT example.org:443 HTTP/1.1\r\nconnection: close\r\n\r\n";
    assert_eq!(parse(&raw(&server, connect_to).await).status, 404);
    assert_eq!(get(&server, "/nowhere").await.status, 404);
    let head = b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(parse(&raw(&server, head).await).status, 404);
    assert_eq!(server.records().last().map(|record| record.end), Some(End::Answered(404)));

    // A client that announces more than it sends, and leaves.
    let mut half = connect(&server).await;
    let head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{\"model\"";
    half.write_all(head).await.expect("the server reads");
    half.shutdown().await.expect("our half is closed");
    soon(read(&mut half)).await;
    let is_half = |end| end == End::Left;
    soon(server.until(|records| records.iter().any(|record| is_half(record.end)))).await;

    let answer =
        post(&server, "/v1/messages", &ask(PROTOCOLS[0], false, "<<SAY still here>>")).await;
    assert!(answer.body.contains("still here"));
}

#[tokio::test]
async fn a_body_without_bounds_is_refused() {
    let server = start(Script::markers()).await;
    let body = "x".repeat((64 << 20) + 1);
    let answer = parse(&soon(raw(&server, request("/v1/messages", &body).as_bytes())).await);
    assert_eq!(answer.status, 413);
}
