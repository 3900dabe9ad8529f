use super::*;
use proptest::prelude::*;

/// What these bytes say, and how much of it means nothing.
fn heard(bytes: &[u8]) -> (Vec<News>, u64) {
    let (mut node, mut out) = (Node::default(), Vec::new());
    node.push(bytes, &mut out).expect("a good channel");
    (out, node.unknown())
}

fn news(line: &str) -> Vec<News> {
    heard(format!("{line}\n").as_bytes()).0
}

#[test]
fn every_message_is_news() {
    for (line, want) in [
        (r#""ready""#, News::Ready),
        (r#""pong""#, News::Pong(None)),
        (r#""stopping""#, News::Stopping),
        (r#"{"type":"ready"}"#, News::Ready),
        (r#"{"type":"pong","id":7}"#, News::Pong(Some(7))),
        (r#"{"type":"pong","nonce":8}"#, News::Pong(Some(8))),
        (r#"{"type":"pong"}"#, News::Pong(None)),
        (r#"{"type":"beat"}"#, News::Beat),
        (r#"{"type":"status","text":"warm\u001b"}"#, News::Status("warm".into())),
        (r#"{"type":"status","status":"warm"}"#, News::Status("warm".into())),
        (r#"{"type":"stopping"}"#, News::Stopping),
        (r#"{"type":"reloading"}"#, News::Reloading),
        (r#"{"type":"extend","ms":1500.7}"#, News::Extend(Duration::from_millis(1500))),
        (r#"{"type":"extend","ms":1e300}"#, News::Extend(super::super::LONGEST)),
    ] {
        assert_eq!(news(line), [want], "{line}");
    }
    let shutdown = r#"{"type":"ready","shutdown":true}"#;
    assert_eq!(news(shutdown), [News::TakesShutdown, News::Ready]);
    assert_eq!(news(r#"{"type":"ready","shutdown":false}"#), [News::Ready]);
}

#[test]
fn checks_come_as_a_list_or_by_name() {
    let check = |name: &str, pass, message: &str| HealthCheck { name: name.into(), pass, message: message.into() };
    assert_eq!(
        news(r#"{"type":"health","checks":[{"name":"db","ok":true},{"name":"q","pass":false,"message":"full"}]}"#),
        [News::Health(vec![check("db", true, ""), check("q", false, "full")])]
    );
    let by_name = r#"{"type":"health","checks":{"db":true,"q":false}}"#;
    assert_eq!(news(by_name), [News::Health(vec![check("db", true, ""), check("q", false, "")])]);
    for wrong in [r#"{"db":1}"#, r#"[{"name":"db"}]"#, r#"["db"]"#, "true"] {
        assert_eq!(news(&format!(r#"{{"type":"health","checks":{wrong}}}"#)), [], "{wrong}");
    }
    let many: String = (0..129).map(|n| format!(r#","c{n}":true"#)).collect();
    assert_eq!(news(&format!(r#"{{"type":"health","checks":{{{}}}}}"#, &many[1..])), []);
}

#[test]
fn numbers_are_counters_and_gauges() {
    let line = r#"{"type":"metrics","counters":{"n":3,"bad":"x","neg":-1},"gauges":{"load":0.5}}"#;
    let want = Numbers { counters: vec![("n".into(), 3)], gauges: vec![("load".into(), 0.5)] };
    let none = News::Histograms(vec![]);
    assert_eq!(news(line), [none.clone(), News::Metrics(want)]);
    assert_eq!(news(r#"{"type":"metrics"}"#), [none.clone(), News::Metrics(Numbers::default())]);
    assert_eq!(news(r#"{"type":"metrics","gauges":[1]}"#), [none]);
    let line = r#"{"type":"metrics","histograms":{"t":{"bounds":[0.5],"counts":[3,1],"sum":2},"few":{"bounds":[1],"counts":[1],"sum":1},"x":7}}"#;
    let spread = Spread { name: "t".into(), bounds: vec![0.5], counts: vec![3, 1], sum: 2.0 };
    assert_eq!(news(line), [News::Histograms(vec![spread]), News::Metrics(Numbers::default())]);
}

#[test]
fn what_an_application_says_to_its_parent_is_counted_and_no_error() {
    let lines =
        b"1\nnull\n[\"ready\"]\n\"other\"\n{\"type\":\"mine\"}\n{\"type\":7}\n{}\n{\"type\":\"extend\",\"ms\":-1}\n";
    assert_eq!(heard(lines), (vec![], 8));
    // Node's own messages are not even counted.
    assert_eq!(heard(b"{\"cmd\":\"NODE_HANDLE_ACK\",\"type\":\"ready\"}\n"), (vec![], 0));
    assert_eq!(heard(b"{\"cmd\":\"ready\"}\n"), (vec![], 1));
}

#[test]
fn a_line_that_is_no_json_or_too_long_ends_the_channel() {
    for (bytes, error) in [
        (b"hello\n".to_vec(), NodeError::NotJson),
        (b"\"\xff\"\n".to_vec(), NodeError::NotJson),
        (b"\n".to_vec(), NodeError::NotJson),
        (["[".repeat(200).as_bytes(), b"\n"].concat(), NodeError::NotJson),
        (vec![b' '; LINE_MAX + 1], NodeError::TooLong),
        ([&vec![b' '; LINE_MAX + 1][..], b"\n"].concat(), NodeError::TooLong),
    ] {
        let (mut node, mut out) = (Node::default(), Vec::new());
        let whole = [b"\"ready\"\n", &bytes[..]].concat();
        assert_eq!(node.push(&whole, &mut out), Err(error));
        assert_eq!(node.push(b"\"ready\"\n", &mut out), Err(error), "for ever");
        assert_eq!(out, [News::Ready], "what came before counts");
    }
    let longest = format!("\"{}\"\n", "a".repeat(LINE_MAX - 2));
    assert_eq!(heard(longest.as_bytes()), (vec![], 1));
}

#[test]
fn every_word_is_one_line_of_json() {
    let cases = [
        (Word::Ping(7), r#"{"type":"ping","id":7}"#),
        (Word::Shutdown(Duration::from_secs(10)), r#"{"type":"shutdown","grace_ms":10000}"#),
        (Word::Reload, r#"{"type":"reload"}"#),
        (Word::Tell("a\"\n\u{2028}".into()), "{\"type\":\"tell\",\"word\":\"a\\\"\\n\u{2028}\"}"),
        (Word::LowMemory, r#"{"type":"low-memory"}"#),
        (Word::AskHealth, r#"{"type":"health"}"#),
        (Word::AskMetrics, r#"{"type":"metrics"}"#),
    ];
    for (word, want) in cases {
        let mut out = Vec::new();
        encode(&word, &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), format!("{want}\n"));
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have no text")]
fn texts_are_bounded(news: &News) -> bool {
    match news {
        News::Status(text) => text.len() <= TEXT_MAX && !text.chars().any(char::is_control),
        News::Health(checks) => checks.len() <= CHECKS_MAX,
        News::Metrics(n) => n.counters.len() <= METRICS_MAX && n.gauges.len() <= METRICS_MAX,
        _ => true,
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (mut node, mut out) = (Node::default(), Vec::new());
        let _ = node.push(&bytes, &mut out);
        prop_assert!(out.iter().all(texts_are_bounded) && node.begun.len() <= LINE_MAX);
    }

    #[test]
    fn where_a_read_ends_makes_no_difference(
        lines in proptest::collection::vec(
            "(\"ready\"|\"x\"|\\{\"type\":\"(ready|pong|status|extend|health)\",\"(id|text|ms|checks)\":(1|\"a\"|\\{\\}|-2|true)\\}|[a-z]?)\n",
            0..20,
        ),
        at in any::<proptest::sample::Index>(),
    ) {
        let bytes = lines.concat().into_bytes();
        let whole = { let (mut node, mut out) = (Node::default(), Vec::new()); (node.push(&bytes, &mut out), out, node.unknown) };
        let (one, two) = bytes.split_at(at.index(bytes.len() + 1));
        let (mut node, mut out) = (Node::default(), Vec::new());
        let result = node.push(one, &mut out).and_then(|()| node.push(two, &mut out));
        prop_assert!(out.iter().all(texts_are_bounded));
        prop_assert_eq!((result, out, node.unknown), whole);
    }
}
