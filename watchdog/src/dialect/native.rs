//! The dialect of `worker-sdk`: frames on a stream, as docs/protocol.md specifies them.

use super::{Said, as_millis, line_of, lines_of, millis, spread};
use crate::machine::{HealthCheck, News, Numbers, Word};
use worker_sdk::wire::{
    self, BODY_MAX, Check, Decoder, FrameError, MESSAGE_MAX, NAME_MAX, PROTOCOL, STACK_MAX, TEXT_MAX, ToWatchdog,
    ToWorker,
};

/// What is read from one worker's channel.
#[derive(Debug, Default)]
pub(crate) struct Native {
    decoder: Decoder<ToWatchdog>,
}

impl Native {
    /// Takes bytes and gives what they say. A heartbeat allocates nothing once the buffers have grown.
    ///
    /// # Errors
    /// The channel is to be ended; what was said before was given. Every later call gives the same error.
    pub(crate) fn push(&mut self, bytes: &[u8], mut give: impl FnMut(Said)) -> Result<(), FrameError> {
        self.decoder.push(bytes);
        while let Some(message) = self.decoder.next_frame()? {
            give(said(message));
        }
        Ok(())
    }

    /// Frames that a later version of the SDK sent and that mean nothing here.
    pub(crate) fn unknown(&self) -> u64 {
        self.decoder.skipped()
    }
}

/// The SDK cuts what is too long; others may not, so it is cut here too.
#[inline(never)]
fn said(message: ToWatchdog) -> Said {
    Said::News(match message {
        ToWatchdog::Hello { .. } => News::Hello,
        ToWatchdog::Ready => News::Ready,
        ToWatchdog::Status { text } => News::Status(line_of(&text, TEXT_MAX)),
        ToWatchdog::Pong { nonce } => News::Pong(Some(nonce)),
        ToWatchdog::Beat => News::Beat,
        ToWatchdog::Stopping => News::Stopping,
        ToWatchdog::Reloading => News::Reloading,
        ToWatchdog::Extend { millis: ms } => News::Extend(millis(ms)),
        ToWatchdog::Health { checks } => News::Health(checks.into_iter().map(check).collect()),
        ToWatchdog::Metrics { counters, gauges } => News::Metrics(Numbers {
            counters: counters.into_iter().map(|n| (line_of(&n.name, NAME_MAX), n.value)).collect(),
            gauges: gauges.into_iter().map(|n| (line_of(&n.name, NAME_MAX), n.value)).collect(),
        }),
        ToWatchdog::Panic { message } => News::Panic(lines_of(&message, TEXT_MAX)),
        ToWatchdog::TakesShutdown => News::TakesShutdown,
        ToWatchdog::Stack { thread, text } => {
            News::Stack { thread: line_of(&thread, NAME_MAX), text: lines_of(&text, STACK_MAX) }
        }
        ToWatchdog::Histograms { histograms } => News::Histograms(
            histograms.into_iter().filter_map(|h| spread(&h.name, h.bounds, h.counts, h.sum)).collect(),
        ),
        ToWatchdog::Lanes { .. } => return Said::LanesFile,
    })
}

fn check(check: Check) -> HealthCheck {
    HealthCheck {
        name: line_of(&check.name, NAME_MAX),
        pass: check.pass,
        message: line_of(&check.message, MESSAGE_MAX),
    }
}

/// Our greeting: the first frame on every channel.
pub(crate) fn greet(out: &mut Vec<u8>) {
    append(&ToWorker::Hello { protocol: PROTOCOL }, out);
}

/// Adds the frame of a word. An operator's word is cut to what the protocol keeps.
pub(crate) fn encode(word: &Word, out: &mut Vec<u8>) {
    let message = match word {
        Word::Ping(nonce) => ToWorker::Ping { nonce: *nonce },
        Word::Shutdown(grace) => ToWorker::Shutdown { grace_ms: as_millis(*grace) },
        Word::Reload => ToWorker::Reload,
        Word::Tell(word) => ToWorker::Tell { word: lines_of(word, TEXT_MAX) },
        Word::LowMemory => ToWorker::LowMemory,
        Word::AskHealth => ToWorker::AskHealth,
        Word::AskMetrics => ToWorker::AskMetrics,
    };
    append(&message, out);
}

/// Fails only for a frame that is too long, and none of ours can be.
fn append(message: &ToWorker, out: &mut Vec<u8>) {
    const { assert!(TEXT_MAX + 64 < BODY_MAX) };
    let done = wire::append(message, out);
    debug_assert!(done.is_ok(), "{done:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Spread;
    use proptest::prelude::*;
    use std::time::Duration;
    use worker_sdk::wire::{Count, Distribution, Level};

    fn bytes(messages: &[ToWatchdog]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            wire::append(message, &mut out).expect("a frame");
        }
        out
    }

    fn hello() -> ToWatchdog {
        ToWatchdog::Hello { protocol: PROTOCOL }
    }

    #[test]
    fn every_message_of_the_protocol_is_news() {
        let long = "ä\u{7}".repeat(5000);
        let sent = [
            hello(),
            ToWatchdog::Ready,
            ToWatchdog::Status { text: long.clone() },
            ToWatchdog::Pong { nonce: 7 },
            ToWatchdog::Beat,
            ToWatchdog::Stopping,
            ToWatchdog::Reloading,
            ToWatchdog::Extend { millis: u64::MAX },
            ToWatchdog::Health { checks: vec![Check { name: "d\nb".into(), pass: true, message: "ok".into() }] },
            ToWatchdog::Metrics {
                counters: vec![Count { name: "n".into(), value: 3 }],
                gauges: vec![Level { name: "load".into(), value: 0.5 }],
            },
            ToWatchdog::Histograms {
                histograms: [vec![0.5], vec![2.0, 1.0], vec![f64::NAN]]
                    .map(|bounds| Distribution {
                        name: "t".into(),
                        counts: vec![1; bounds.len() + 1],
                        bounds,
                        sum: 0.5,
                    })
                    .into(),
            },
            ToWatchdog::Panic { message: "a\nb\x1b".into() },
            ToWatchdog::TakesShutdown,
            ToWatchdog::Stack { thread: "consumer\n".into(), text: "0: f\n1: g\x1b".into() },
            ToWatchdog::Lanes { count: 64 },
        ];
        let mut out = Vec::new();
        Native::default().push(&bytes(&sent), |said| out.push(said)).expect("a good channel");
        assert_eq!(out.pop(), Some(Said::LanesFile));
        let out: Vec<News> = out
            .into_iter()
            .map(|said| match said {
                Said::News(news) => news,
                Said::LanesFile => unreachable!("only the last"),
            })
            .collect();
        let want = [
            News::Hello,
            News::Ready,
            News::Status("ä".repeat(2048)),
            News::Pong(Some(7)),
            News::Beat,
            News::Stopping,
            News::Reloading,
            News::Extend(super::super::LONGEST),
            News::Health(vec![HealthCheck { name: "db".into(), pass: true, message: "ok".into() }]),
            News::Metrics(Numbers { counters: vec![("n".into(), 3)], gauges: vec![("load".into(), 0.5)] }),
            News::Histograms(vec![Spread { name: "t".into(), bounds: vec![0.5], counts: vec![1; 2], sum: 0.5 }]),
            News::Panic("a\nb".into()),
            News::TakesShutdown,
            News::Stack { thread: "consumer".into(), text: "0: f\n1: g".into() },
        ];
        assert_eq!(out, want);
    }

    #[test]
    fn every_word_reaches_the_worker() {
        let mut out = Vec::new();
        greet(&mut out);
        let words = [
            Word::Ping(7),
            Word::Shutdown(Duration::from_secs(10)),
            Word::Reload,
            Word::Tell("x".repeat(100_000)),
            Word::LowMemory,
            Word::AskHealth,
            Word::AskMetrics,
        ];
        words.iter().for_each(|word| encode(word, &mut out));
        let mut decoder = Decoder::<ToWorker>::new();
        decoder.push(&out);
        let got: Vec<ToWorker> = std::iter::from_fn(|| decoder.next_frame().expect("our own frames")).collect();
        let want = [
            ToWorker::Hello { protocol: PROTOCOL },
            ToWorker::Ping { nonce: 7 },
            ToWorker::Shutdown { grace_ms: 10_000 },
            ToWorker::Reload,
            ToWorker::Tell { word: "x".repeat(TEXT_MAX) },
            ToWorker::LowMemory,
            ToWorker::AskHealth,
            ToWorker::AskMetrics,
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_later_version_is_skipped_and_counted_and_garbage_ends_the_channel() {
        let (mut native, mut out) = (Native::default(), Vec::new());
        let mut sent = bytes(&[hello()]);
        sent.extend_from_slice(&[4, 0, 0, 0, 0xff, 0, 0, 0]);
        sent.extend_from_slice(&bytes(&[ToWatchdog::Beat]));
        native.push(&sent, |said| out.push(said)).expect("a good channel");
        assert_eq!((out.len(), native.unknown()), (2, 1));
        let error = native.push(&[0xff; 64], |said| out.push(said)).expect_err("garbage");
        assert_eq!(native.push(&bytes(&[ToWatchdog::Beat]), |said| out.push(said)), Err(error));
        assert_eq!(out.len(), 2);
        assert_eq!(
            Native::default().push(&bytes(&[ToWatchdog::Ready]), |said| out.push(said)),
            Err(FrameError::NoHello)
        );
    }

    #[test]
    fn a_frame_that_drips_is_news_when_it_is_whole() {
        let (mut native, mut out) = (Native::default(), Vec::new());
        for byte in bytes(&[hello(), ToWatchdog::Pong { nonce: 9 }]) {
            assert!(!out.contains(&Said::News(News::Pong(Some(9)))));
            native.push(&[byte], |said| out.push(said)).expect("a good channel");
        }
        assert_eq!(out, [Said::News(News::Hello), Said::News(News::Pong(Some(9)))]);
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(greets: bool, bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let (mut native, mut out) = (Native::default(), Vec::new());
            if greets {
                native.push(&super::tests::bytes(&[hello()]), |said| out.push(said)).expect("a greeting");
            }
            let _ = native.push(&bytes, |said| out.push(said));
            // The shortest frame has eight bytes.
            prop_assert!(out.len() <= 1 + bytes.len() / 8);
        }
    }
}
