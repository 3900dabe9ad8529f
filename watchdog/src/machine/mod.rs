//! The judge. Pure: it never asks the time, never opens anything, never fails. Events in, actions out; the same events
//! give the same actions, in the world and in the simulator.

mod forecast;
mod judge;
mod news;
mod restart;
mod sentences;
mod service;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod sim;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod time;
mod verdict;
mod wishes;
mod words;

pub use forecast::{Line, ScriptedEnd, ScriptedRun, forecast};
pub use news::*;
pub use restart::{Book, nth_delay};
pub use sentences::{describe_end, errno_name, human, policy_word};
pub use service::Service;
pub use state::{EarlyEnd, Ended, Goal, Run, State, StopStep};
pub use supervisor::{Setup, Supervisor};
pub use time::{MonoTime, Timer, Timers};
pub use verdict::{EXTENSIONS, Sentence, Verdict, sentence, verdict};
pub use words::*;
