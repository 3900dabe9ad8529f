//! Health and metrics over HTTP: a listener and its connections in the one loop, and pages that are pure functions of what
//! is known. Read-only, but for the three deeds that `http_control` allows to whoever has its token.
//!
//! Three floors. `request` and `response` are bytes: pure, and the target of a fuzzer. `conn` and `server` are connections:
//! bounded in number, in what they may say and leave unread, and in time; nothing in them waits. `router` and `metrics` are
//! pages: a function of a path and a [`View`].
//!
//! A request leaves its connection in the phase `Waiting` ([`Step::Asked`]), and [`Server::answer`] brings the answer: at once,
//! or when the services have been measured for it. What comes in pieces over a longer time ([`Server::begin_stream`],
//! [`Server::push`]) begins in the same way.

mod assets;
mod conn;
mod metrics;
mod pieces;
mod request;
mod response;
mod router;
mod server;
mod stream;
mod tally;
mod text;
mod workers;

pub(crate) use conn::Step;
pub(crate) use pieces::Piece;
pub(crate) use request::Hosts;
#[cfg(feature = "fuzzing")]
pub(crate) use request::{Read, read};
pub(crate) use response::Response;
pub(crate) use router::{Deed, Metrics, Page, View, Who, answer, forbidden, metrics, page};
pub(crate) use server::{Counts, Listener, Server};
pub(crate) use stream::{comment, message, rows};
pub(crate) use tally::{FRESH, Over, Readings, Tally};
