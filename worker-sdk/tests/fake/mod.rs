//! A watchdog of a few lines: the other end of the channel.

#[allow(dead_code, reason = "not every test starts programs")]
pub(crate) mod start;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use worker_sdk::wire::{self, Decoder, PROTOCOL, ToWatchdog, ToWorker};

/// Longer than anything takes that is not lost.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fake {
    pub(crate) stream: UnixStream,
    decoder: Decoder<ToWatchdog>,
}

impl Fake {
    /// A watchdog that has greeted, and the worker's end.
    pub(crate) fn new() -> (Fake, UnixStream) {
        let (stream, theirs) = UnixStream::pair().expect("a socketpair");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut fake = Fake { stream, decoder: Decoder::new() };
        fake.say(&ToWorker::Hello { protocol: PROTOCOL });
        (fake, theirs)
    }

    pub(crate) fn say(&mut self, message: &ToWorker) {
        let mut bytes = Vec::new();
        wire::append(message, &mut bytes).expect("encodes");
        self.stream.write_all(&bytes).expect("the worker is there");
    }

    /// The next message of those that have been read.
    pub(crate) fn next(&mut self) -> Option<ToWatchdog> {
        self.decoder.next_frame().expect("a good frame")
    }

    /// The next message; `None` at the end of the channel.
    pub(crate) fn hear(&mut self) -> Option<ToWatchdog> {
        loop {
            if let Some(message) = self.next() {
                return Some(message);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.decoder.push(&bytes[..count]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("the worker says nothing: {e}"),
            }
        }
    }

    /// Hears exactly this.
    #[allow(dead_code, reason = "not every test knows what comes")]
    pub(crate) fn expect(&mut self, message: &ToWatchdog) {
        assert_eq!(self.hear().as_ref(), Some(message));
    }

    /// Bytes that came by another way than `hear`.
    #[allow(dead_code, reason = "only one of the tests takes descriptors")]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }
}
