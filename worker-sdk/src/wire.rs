//! The one home of the wire format: what a watchdog and its worker say to each other, and how that looks as bytes.
//! `docs/protocol.md` specifies the same for other languages; a test compares the two.
//!
//! A frame is a length (`u32`, little endian, of the body alone) and a body. The body is a variant number (`u32`), then
//! the fields in order: integers fixed and little endian, a text or a list with its length as `u64` before it, a yes/no as
//! one byte. Variants are only ever appended: an old side skips the number it does not know and counts it.
//!
//! ```
//! use worker_sdk::wire::{self, Decoder, ToWorker};
//! let mut decoder = Decoder::<ToWorker>::new();
//! for message in [ToWorker::Hello { protocol: wire::PROTOCOL }, ToWorker::Ping { nonce: 7 }] {
//!     let mut buffer = [0; wire::SMALL];
//!     let length = wire::encode_into(&message, &mut buffer)?;
//!     decoder.push(&buffer[..length]);
//!     assert_eq!(decoder.next_frame()?, Some(message));
//! }
//! assert_eq!(decoder.next_frame()?, None);
//! # Ok::<(), wire::FrameError>(())
//! ```

mod codec;

pub use codec::{Decoder, append, encode_into};

use bincode::{Decode, Encode};
use std::error::Error;
use std::fmt;

/// The protocol spoken here. Both sides say theirs in their first frame; another number ends the channel. It changes only
/// when a variant changes, which appending one is not.
pub const PROTOCOL: u32 = 1;
/// Longest body in bytes. A longer length ends the channel before anything is reserved for it.
pub const BODY_MAX: usize = 64 * 1024;
/// Bytes of the length before a body.
pub const HEADER: usize = 4;
/// A buffer of so many bytes holds every frame without texts and lists, among them the two of a heartbeat.
pub const SMALL: usize = 16;
/// Most checks in one [`ToWatchdog::Health`]. The decoder refuses more.
pub const CHECKS_MAX: usize = 128;
/// Most counters in one [`ToWatchdog::Metrics`], and most gauges. The decoder refuses more.
pub const METRICS_MAX: usize = 384;
/// Most distributions in one [`ToWatchdog::Histograms`]. The decoder refuses more.
pub const HISTOGRAMS_MAX: usize = 32;
/// Most bounds of one distribution. The decoder refuses more.
pub const BOUNDS_MAX: usize = 32;
/// Most lanes of a worker.
pub const LANES_MAX: u32 = 64;
/// Bytes of a name that are kept (checks, counters, gauges): the SDK cuts longer ones.
pub const NAME_MAX: usize = 64;
/// Bytes of a status text, a panic or an operator's word that are kept: the SDK cuts longer ones.
pub const TEXT_MAX: usize = 4096;
/// Bytes of a thread's stack that are kept: the SDK cuts longer ones, at the outermost frames.
pub const STACK_MAX: usize = 32 * 1024;
/// Bytes of a check's message that are kept: the SDK cuts longer ones.
pub const MESSAGE_MAX: usize = 256;

/// What a worker says. The order is the variant number, from 0.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum ToWatchdog {
    /// First frame of the worker.
    Hello {
        /// The protocol it speaks: [`PROTOCOL`].
        protocol: u32,
    },
    /// It can do its work; also the end of [`ToWatchdog::Reloading`].
    Ready,
    /// What it is doing, for people.
    Status {
        /// One line.
        text: String,
    },
    /// The answer to [`ToWorker::Ping`].
    Pong {
        /// The nonce of the ping.
        nonce: u64,
    },
    /// A sign of life that nobody asked for. The first one arms the heartbeat.
    Beat,
    /// It is ending, whether or not it was asked to.
    Stopping,
    /// It is reading its configuration again, until it says [`ToWatchdog::Ready`].
    Reloading,
    /// It needs longer for what it is doing: starting, stopping, answering.
    Extend {
        /// Milliseconds from the arrival of this frame.
        millis: u64,
    },
    /// Its checks; the answer to [`ToWorker::AskHealth`].
    Health {
        /// At most [`CHECKS_MAX`].
        checks: Vec<Check>,
    },
    /// Its numbers; the answer to [`ToWorker::AskMetrics`].
    Metrics {
        /// Numbers that only grow; at most [`METRICS_MAX`].
        counters: Vec<Count>,
        /// Numbers that go up and down; at most [`METRICS_MAX`].
        gauges: Vec<Level>,
    },
    /// The last words of a panic. The process may live on.
    Panic {
        /// Message and place.
        message: String,
    },
    /// The file of the lanes, which travels as a descriptor (`SCM_RIGHTS`) with the first byte of this frame.
    Lanes {
        /// Slots in the file, at most [`LANES_MAX`].
        count: u32,
    },
    /// It acts on [`ToWorker::Shutdown`]. Without this word the watchdog sends none, and a stop begins with its signal.
    TakesShutdown,
    /// Where one of its threads is, said before a death that the watchdog brought about because of a hang.
    Stack {
        /// The lane whose thread it is; `main` for a main thread without a lane.
        thread: String,
        /// The frames in lines, the innermost first; at most [`STACK_MAX`] bytes.
        text: String,
    },
    /// How its values are distributed; follows [`ToWatchdog::Metrics`] where there are any.
    Histograms {
        /// At most [`HISTOGRAMS_MAX`].
        histograms: Vec<Distribution>,
    },
}

/// What a watchdog says. The order is the variant number, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToWorker {
    /// First frame of the watchdog.
    Hello {
        /// The protocol it speaks: [`PROTOCOL`].
        protocol: u32,
    },
    /// Are you there? To be answered with [`ToWatchdog::Pong`] by the loop that does the work.
    Ping {
        /// To be sent back.
        nonce: u64,
    },
    /// End now, in order.
    Shutdown {
        /// Milliseconds until the watchdog goes on to signals.
        grace_ms: u64,
    },
    /// Read the configuration again.
    Reload,
    /// A word of the operator's own (`watchdog tell NAME WORD`).
    Tell {
        /// The word.
        word: String,
    },
    /// Memory is getting short: give back what can be had again.
    LowMemory,
    /// To be answered with [`ToWatchdog::Health`].
    AskHealth,
    /// To be answered with [`ToWatchdog::Metrics`].
    AskMetrics,
}

/// One check of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether it is well.
    pub pass: bool,
    /// Why, for people. May be empty.
    pub message: String,
}

/// A number that only grows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Count {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// A number that goes up and down.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// How values are distributed.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Distribution {
    /// Its name.
    pub name: String,
    /// Upper bounds, ascending; at most [`BOUNDS_MAX`].
    pub bounds: Vec<f64>,
    /// For each bound how many values were at most as large, but larger than the bound before it; then how many were larger
    /// than all: one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ToWatchdog {}
    impl Sealed for super::ToWorker {}
}

/// The two directions. Implemented here only.
pub trait Message: sealed::Sealed + Encode + Decode<()> {
    /// Variants that this side knows: a number from here on is skipped.
    const VARIANTS: u32;
    /// Whether its lists are short enough. Encoder and decoder both ask: bincode's own limit counts the sizes of our
    /// types in memory, which is no business of another language.
    fn fits(&self) -> bool;
    /// The protocol, if this is a greeting.
    fn greeting(&self) -> Option<u32>;
}

impl Message for ToWatchdog {
    const VARIANTS: u32 = 15;

    fn fits(&self) -> bool {
        match self {
            ToWatchdog::Health { checks } => checks.len() <= CHECKS_MAX,
            ToWatchdog::Metrics { counters, gauges } => counters.len() <= METRICS_MAX && gauges.len() <= METRICS_MAX,
            ToWatchdog::Lanes { count } => *count <= LANES_MAX,
            ToWatchdog::Histograms { histograms } => {
                let fits = |d: &Distribution| d.bounds.len() <= BOUNDS_MAX && d.counts.len() <= BOUNDS_MAX + 1;
                histograms.len() <= HISTOGRAMS_MAX && histograms.iter().all(fits)
            }
            ToWatchdog::Hello { .. }
            | ToWatchdog::Ready
            | ToWatchdog::Status { .. }
            | ToWatchdog::Pong { .. }
            | ToWatchdog::Beat
            | ToWatchdog::Stopping
            | ToWatchdog::Reloading
            | ToWatchdog::Extend { .. }
            | ToWatchdog::Panic { .. }
            | ToWatchdog::TakesShutdown
            | ToWatchdog::Stack { .. } => true,
        }
    }

    fn greeting(&self) -> Option<u32> {
        if let ToWatchdog::Hello { protocol } = self { Some(*protocol) } else { None }
    }
}

impl Message for ToWorker {
    const VARIANTS: u32 = 8;

    fn fits(&self) -> bool {
        true
    }

    fn greeting(&self) -> Option<u32> {
        if let ToWorker::Hello { protocol } = self { Some(*protocol) } else { None }
    }
}

/// Why a channel ends. The process that sent the frame is none the worse for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A body of so many bytes, more than [`BODY_MAX`].
    TooLong(usize),
    /// A list longer than its limit.
    TooMany,
    /// A body that is no message: cut off, with bytes left over, a text that is no UTF-8, a yes/no that is neither.
    Malformed,
    /// The first frame was no greeting.
    NoHello,
    /// The other side speaks this protocol, which is not [`PROTOCOL`].
    Version(u32),
    /// The buffer of the caller is too small for the frame (encoding only).
    NoRoom,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong(bytes) => write!(f, "frame of {bytes} bytes, the limit is {BODY_MAX}"),
            FrameError::TooMany => write!(f, "frame with a list longer than its limit"),
            FrameError::Malformed => write!(f, "malformed frame"),
            FrameError::NoHello => write!(f, "first frame is no hello"),
            FrameError::Version(theirs) => write!(f, "the other side speaks protocol {theirs}, here it is {PROTOCOL}"),
            FrameError::NoRoom => write!(f, "no room for the frame"),
        }
    }
}

impl Error for FrameError {}

/// The start of `text` that has at most `max` bytes and ends between two characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
