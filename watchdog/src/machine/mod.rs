//! The judge. Pure: it never asks the time, never opens anything, never fails. Events in, actions out; the same events
//! give the same actions, in the world and in the simulator.

mod alive;
mod arrange;
mod clients;
mod dues;
mod ending;
mod ends;
mod graph;
mod hang;
mod health;
mod heartbeat;
mod judge;
mod lanes;
mod limits;
mod names;
mod news;
mod notices;
mod probing;
mod rare;
mod reload;
mod restart;
mod sentences;
mod service;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod sim;
mod state;
mod supervisor;
mod talk;
mod tally;
#[cfg(test)]
mod tests;
mod time;
mod todo;
mod unread;
mod usage;
mod verdict;
mod waiting;
mod wishes;
mod words;

pub use graph::Graph;
pub use health::{Health, Readiness, Trouble};
pub use heartbeat::{Beats, Finding, Hang, Trips};
pub use lanes::{Lane, Lanes};
pub use limits::Usage;
pub use news::*;
pub use probing::{LastTry, Probing, Tried, probe_role};
pub use rare::{Beginning, Rare};
pub use reload::Applied;
pub use restart::{Book, nth_delay};
pub use sentences::{bytes, describe_end, errno_name, human, policy_word, threshold_sentence};
pub use service::Service;
pub use state::{EarlyEnd, Ended, Goal, Run, State, StopStep};
pub use supervisor::{Setup, Supervisor};
pub use talk::Talk;
pub use time::{MonoTime, Timer, Timers};
pub use unread::{amend_notice, amend_report, oom_of};
pub use verdict::{EXTENSIONS, Sentence, Verdict, sentence, verdict};
pub use waiting::{Held, Leave};
pub use words::*;
