//! The Unix socket: one JSON object per line, both ways. Another version of the command may be talking to us, and a
//! person may type it, so it describes itself.

mod ask;
mod explain;
mod journal;
mod server;
mod shapes;
mod socket;

pub(crate) use ask::nearest;
pub(crate) use ask::{Ask, AskError, Verb};
pub(crate) use explain::{explain, sentence, why_not};
pub(crate) use journal::{Entry, Journal};
pub(crate) use server::{Server, Turn, ask_error, error, item, ok};
pub(crate) use shapes::{Frame, event, health, heartbeat, line, millis, oom_shape, service, status, waited};
pub(crate) use socket::{bind, private_dir};
