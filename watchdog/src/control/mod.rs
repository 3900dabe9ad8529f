//! The Unix socket: one JSON object per line, both ways. Another version of the command may be talking to us, and a
//! person may type it, so it describes itself.

mod ask;
mod explain;
mod journal;
mod sentence;
mod server;
mod shapes;
mod socket;
mod told;

pub(crate) use ask::nearest;
pub(crate) use ask::{Ask, AskError, Verb, is_pattern, matches};
pub(crate) use explain::{explain, why_not};
pub(crate) use journal::{Entry, Journal};
pub(crate) use sentence::sentence;
pub(crate) use server::{Server, Turn, ask_error, error, item, ok, ok_line};
pub(crate) use shapes::{
    Frame, about, health_of, heartbeat, millis, oom_shape, probes_of, service, status, tree, waited, why,
};
pub(crate) use socket::{BindError, Bound, Home, already_runs, bind, bind_in, private_dir};
pub(crate) use told::{event, line};
