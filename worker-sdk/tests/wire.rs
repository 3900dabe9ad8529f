//! The wire: golden bytes from `docs/protocol.md`, and what must hold for any bytes at all.

use proptest::prelude::*;
use worker_sdk::wire::{
    self, BODY_MAX, CHECKS_MAX, Check, Count, Decoder, Distribution, FrameError, HEADER, Level, METRICS_MAX, Message,
    PROTOCOL, ToWatchdog, ToWorker,
};

const DOC: &str = include_str!("../../docs/protocol.md");

fn frame<M: Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    wire::append(message, &mut out).expect("encodes");
    out
}

fn check(name: &str, pass: bool, message: &str) -> Check {
    Check { name: name.into(), pass, message: message.into() }
}

fn spread(name: &str, bounds: Vec<f64>, counts: Vec<u64>, sum: f64) -> Distribution {
    Distribution { name: name.into(), bounds, counts, sum }
}

/// One of each variant, in order, as the document has them.
fn from_worker() -> Vec<ToWatchdog> {
    vec![
        ToWatchdog::Hello { protocol: 1 },
        ToWatchdog::Ready,
        ToWatchdog::Status { text: "warm".into() },
        ToWatchdog::Pong { nonce: 7 },
        ToWatchdog::Beat,
        ToWatchdog::Stopping,
        ToWatchdog::Reloading,
        ToWatchdog::Extend { millis: 1500 },
        ToWatchdog::Health { checks: vec![check("db", true, ""), check("q", false, "full")] },
        ToWatchdog::Metrics {
            counters: vec![Count { name: "n".into(), value: 3 }],
            gauges: vec![Level { name: "load".into(), value: 0.5 }],
        },
        ToWatchdog::Panic { message: "no".into() },
        ToWatchdog::Lanes { count: 64 },
        ToWatchdog::TakesShutdown,
        ToWatchdog::Stack { thread: "eat".into(), text: "0:f".into() },
        ToWatchdog::Histograms { histograms: vec![spread("t", vec![0.5], vec![3, 1], 0.75)] },
    ]
}

fn from_watchdog() -> Vec<ToWorker> {
    vec![
        ToWorker::Hello { protocol: 1 },
        ToWorker::Ping { nonce: 7 },
        ToWorker::Shutdown { grace_ms: 10_000 },
        ToWorker::Reload,
        ToWorker::Tell { word: "flush".into() },
        ToWorker::LowMemory,
        ToWorker::AskHealth,
        ToWorker::AskMetrics,
    ]
}

/// The vectors of one side in the document: name and bytes.
fn golden(side: &str) -> Vec<(String, Vec<u8>)> {
    let block = DOC.split("```golden\n").nth(1).and_then(|rest| rest.split("```").next()).expect("golden vectors");
    let lines = block.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).filter(|words| words[0] == side);
    let bytes = |hex: &str| {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect::<Vec<u8>>()
    };
    lines.map(|words| (words[1].to_string(), bytes(&words[2..].concat()))).collect()
}

fn compare<M: Message + PartialEq + std::fmt::Debug>(side: &str, messages: &[M]) {
    let golden = golden(side);
    assert_eq!(messages.len() as u32, M::VARIANTS, "one of each");
    assert_eq!(golden.len(), messages.len(), "{side}: a vector for each variant");
    let mut decoder = Decoder::<M>::new();
    for (number, (message, (name, bytes))) in messages.iter().zip(golden).enumerate() {
        assert!(format!("{message:?}").starts_with(name.split('{').next().expect("a name")), "{name} is {message:?}");
        assert_eq!(frame(message), bytes, "{side} {name}");
        assert_eq!(bytes[HEADER..HEADER + 4], (number as u32).to_le_bytes(), "{name}: variants are only appended");
        decoder.push(&bytes);
        assert!(matches!(decoder.next_frame(), Ok(Some(got)) if got == *message), "{name}");
    }
    // The next number is what a later version would append.
    let next = [&4_u32.to_le_bytes()[..], &M::VARIANTS.to_le_bytes()].concat();
    decoder.push(&next);
    assert_eq!((decoder.next_frame(), decoder.skipped()), (Ok(None), 1));
}

fn greeted<M: Message>() -> Decoder<M> {
    let mut decoder = Decoder::new();
    decoder.push(&[8, 0, 0, 0, 0, 0, 0, 0, PROTOCOL as u8, 0, 0, 0]);
    assert!(matches!(decoder.next_frame(), Ok(Some(_))));
    decoder
}

/// All that a decoder makes of these bytes, written again.
fn all<M: Message>(decoder: &mut Decoder<M>, bytes: &[u8]) -> (Vec<u8>, Option<FrameError>) {
    decoder.push(bytes);
    let mut seen = Vec::new();
    loop {
        match decoder.next_frame() {
            Ok(Some(message)) => seen.extend(frame(&message)),
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(error)),
        }
    }
}

#[test]
fn the_documents_bytes_are_ours() {
    compare("worker", &from_worker());
    compare("watchdog", &from_watchdog());
}

#[test]
fn cut_or_bent_vectors_hurt_nobody() {
    for (side, worker) in [("worker", true), ("watchdog", false)] {
        let feed = |bytes: &[u8]| match worker {
            true => all(&mut greeted::<ToWatchdog>(), bytes),
            false => all(&mut greeted::<ToWorker>(), bytes),
        };
        for (name, bytes) in golden(side) {
            for cut in 0..bytes.len() {
                assert_eq!(feed(&bytes[..cut]), (Vec::new(), None), "{name} cut at {cut}");
                // The same with a length that is right for what is there: refused, or a known number without fields.
                if let Some(body) = bytes[..cut].get(HEADER..) {
                    let short = [&(body.len() as u32).to_le_bytes()[..], body].concat();
                    assert_eq!(feed(&short), (Vec::new(), Some(FrameError::Malformed)), "{name} short at {cut}");
                }
            }
            for bit in 0..bytes.len() * 8 {
                let mut bent = bytes.clone();
                bent[bit / 8] ^= 1 << (bit % 8);
                let (seen, _) = feed(&bent);
                assert!(seen.is_empty() || seen == bent, "{name} bit {bit}: a message has one spelling");
            }
        }
    }
}

#[test]
fn lengths_are_checked_before_anything_else() {
    let mut decoder = greeted::<ToWorker>();
    decoder.push(&(BODY_MAX as u32 + 1).to_le_bytes());
    assert_eq!(decoder.next_frame(), Err(FrameError::TooLong(BODY_MAX + 1)));
    assert_eq!(decoder.next_frame(), Err(FrameError::TooLong(BODY_MAX + 1)), "for ever");
    decoder.push(&frame(&ToWorker::Reload));
    assert_eq!((decoder.next_frame(), decoder.pending()), (Err(FrameError::TooLong(BODY_MAX + 1)), 0));
    let mut huge = greeted::<ToWorker>();
    // A text that says it has 2^60 bytes.
    huge.push(&[12, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
    assert!(huge.next_frame().is_err());
}

#[test]
fn encoding_keeps_the_limits_too() {
    let mut out = vec![1, 2, 3];
    let fits = BODY_MAX - 4 - 8;
    let text = |bytes: usize| ToWatchdog::Status { text: "x".repeat(bytes) };
    assert_eq!(wire::append(&text(fits + 1), &mut out), Err(FrameError::TooLong(BODY_MAX + 1)));
    assert_eq!(out, [1, 2, 3]);
    let longest = frame(&text(fits));
    assert_eq!(all(&mut greeted::<ToWatchdog>(), &longest), (longest.clone(), None));
    let checks = |n| ToWatchdog::Health { checks: vec![check("", true, ""); n] };
    assert_eq!(wire::append(&checks(CHECKS_MAX + 1), &mut out), Err(FrameError::TooMany));
    let counters = vec![Count { name: "n".repeat(wire::NAME_MAX), value: u64::MAX }; METRICS_MAX];
    let gauges = vec![Level { name: "n".repeat(wire::NAME_MAX), value: f64::MAX }; METRICS_MAX];
    let fullest = frame(&ToWatchdog::Metrics { counters, gauges });
    assert_eq!(all(&mut greeted::<ToWatchdog>(), &fullest), (fullest.clone(), None));
    let name = "n".repeat(wire::NAME_MAX);
    let widest = || spread(&name, vec![f64::MAX; wire::BOUNDS_MAX], vec![u64::MAX; wire::BOUNDS_MAX + 1], f64::MAX);
    let fullest = frame(&ToWatchdog::Histograms { histograms: vec![widest(); wire::HISTOGRAMS_MAX] });
    assert_eq!(all(&mut greeted::<ToWatchdog>(), &fullest), (fullest.clone(), None));
    let many = ToWatchdog::Histograms { histograms: vec![widest(); wire::HISTOGRAMS_MAX + 1] };
    let wide = spread(&name, vec![0.0; wire::BOUNDS_MAX + 1], vec![], 0.0);
    assert_eq!(wire::append(&many, &mut out), Err(FrameError::TooMany));
    assert_eq!(wire::append(&ToWatchdog::Histograms { histograms: vec![wide] }, &mut out), Err(FrameError::TooMany));
    assert_eq!(wire::encode_into(&ToWorker::Ping { nonce: 1 }, &mut [0; 15]), Err(FrameError::NoRoom));
    assert_eq!(wire::encode_into(&ToWorker::Ping { nonce: 1 }, &mut [0; wire::SMALL]), Ok(16));
    assert_eq!(wire::encode_into(&ToWorker::Reload, &mut [0; 3]), Err(FrameError::NoRoom));
}

#[test]
fn too_long_lists_are_refused_by_the_reader() {
    let mut body = [8_u32.to_le_bytes().as_slice(), &(CHECKS_MAX as u64 + 1).to_le_bytes()].concat();
    body.extend([0; 17].repeat(CHECKS_MAX + 1));
    let bytes = [&(body.len() as u32).to_le_bytes()[..], &body].concat();
    assert_eq!(all(&mut greeted::<ToWatchdog>(), &bytes), (Vec::new(), Some(FrameError::TooMany)));
}

#[test]
fn the_greeting_comes_first_and_is_ours() {
    let first = |bytes: &[u8]| all(&mut Decoder::<ToWorker>::new(), bytes).1;
    assert_eq!(first(&frame(&ToWorker::Ping { nonce: 7 })), Some(FrameError::NoHello));
    assert_eq!(first(&[4, 0, 0, 0, 99, 0, 0, 0]), Some(FrameError::NoHello));
    assert_eq!(first(&frame(&ToWorker::Hello { protocol: 2 })), Some(FrameError::Version(2)));
    assert_eq!(first(&frame(&ToWorker::Hello { protocol: PROTOCOL })), None);
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter)
}

fn any_from_worker() -> impl Strategy<Value = ToWatchdog> {
    let one_check = (text(), any::<bool>(), text()).prop_map(|(name, pass, message)| Check { name, pass, message });
    let count = (text(), any::<u64>()).prop_map(|(name, value)| Count { name, value });
    let level = (text(), any::<f64>()).prop_map(|(name, value)| Level { name, value });
    let lists = (proptest::collection::vec(count, 0..20), proptest::collection::vec(level, 0..20));
    prop_oneof![
        Just(ToWatchdog::Hello { protocol: PROTOCOL }),
        (0..from_worker().len()).prop_map(|i| from_worker().swap_remove(i)),
        text().prop_map(|text| ToWatchdog::Status { text }),
        any::<u64>().prop_map(|nonce| ToWatchdog::Pong { nonce }),
        any::<u64>().prop_map(|millis| ToWatchdog::Extend { millis }),
        proptest::collection::vec(one_check, 0..20).prop_map(|checks| ToWatchdog::Health { checks }),
        lists.prop_map(|(counters, gauges)| ToWatchdog::Metrics { counters, gauges }),
        text().prop_map(|message| ToWatchdog::Panic { message }),
        (text(), text()).prop_map(|(thread, text)| ToWatchdog::Stack { thread, text }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        all(&mut Decoder::<ToWatchdog>::new(), &bytes);
        all(&mut Decoder::<ToWorker>::new(), &bytes);
        let mut decoder = greeted::<ToWatchdog>();
        all(&mut decoder, &bytes);
        prop_assert!(decoder.pending() <= bytes.len());
    }

    #[test]
    fn any_body_is_survived_and_has_one_spelling(variant in 0..16_u32, rest in proptest::collection::vec(0..4_u8, 0..80)) {
        let body = [&variant.to_le_bytes()[..], &rest].concat();
        let bytes = [&(body.len() as u32).to_le_bytes()[..], &body].concat();
        for (seen, _) in [all(&mut greeted::<ToWatchdog>(), &bytes), all(&mut greeted::<ToWorker>(), &bytes)] {
            prop_assert!(seen.is_empty() || seen == bytes);
        }
    }

    #[test]
    fn there_and_back_however_the_stream_is_split(
        messages in proptest::collection::vec(any_from_worker(), 0..12),
        cuts in proptest::collection::vec(1..50_usize, 1..40),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(frame).collect();
        let mut decoder = greeted::<ToWatchdog>();
        let (mut seen, mut rest, mut cuts) = (Vec::new(), &stream[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, next) = rest.split_at((*cuts.next().expect("endless")).min(rest.len()));
            let (more, error) = all(&mut decoder, piece);
            prop_assert_eq!(error, None);
            seen.extend(more);
            rest = next;
        }
        prop_assert_eq!(seen, stream);
        prop_assert_eq!(decoder.pending(), 0);
    }
}
