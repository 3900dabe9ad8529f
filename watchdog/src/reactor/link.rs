//! One channel of one generation: made for the spawn, read without a wait, understood as far as it can be without knowing
//! the worker.

use crate::dialect::{Said, line, native, node};
use crate::machine::*;
use crate::spec::{NotifyAt, Ready, Spec};
use crate::sys::channel;
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// One channel of one generation.
pub(super) struct Link {
    pub(super) service: ServiceId,
    pub(super) generation: Generation,
    pub(super) fd: OwnedFd,
    /// The worker's own end, until it has spoken: as long as we hold it too, the end of a worker that never did is not
    /// the end of its channel, and wakes us once, not twice.
    theirs: Option<OwnedFd>,
    pub(super) ear: Ear,
    pub(super) outbox: Vec<u8>,
    /// Something is to go out: the worker has spoken, or is asked whether it does.
    pub(super) spoken: bool,
    /// Something waits for room.
    pub(super) waits: bool,
    unknown_told: bool,
}

/// Who understands it.
pub(super) enum Ear {
    Native(native::Native),
    Node(node::Node),
    Notify,
    Fd(line::Line),
}

impl Ear {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Ear::Native(_) => Dialect::Native,
            Ear::Node(_) => Dialect::Node,
            Ear::Notify => Dialect::Notify,
            Ear::Fd(_) => Dialect::Fd,
        }
    }
}

/// Channels, and the variables that lead to the worker's ends of them.
#[derive(Default)]
pub(super) struct Offer {
    pub(super) links: Vec<Link>,
    pub(super) variables: Vec<(&'static str, OsString)>,
}

/// Channels for one generation, in all dialects that it is offered.
///
/// # Errors
/// No descriptors, no memory, or no room at the path of a notify socket.
pub(super) fn offer(spec: &Spec, service: ServiceId, generation: Generation) -> io::Result<Offer> {
    let mut offer = Offer::default();
    let link = |fd, theirs, ear| Link {
        service,
        generation,
        fd,
        theirs,
        ear,
        outbox: Vec::new(),
        spoken: false,
        waits: false,
        unknown_told: false,
    };
    let dialects = &spec.dialects;
    if dialects.native {
        let (ours, theirs) = channel::pair()?;
        offer.variables.push(("WATCHDOG_CHANNEL", number(&theirs)));
        // Our greeting waits there until the worker has said its own: most never do.
        let mut native = link(ours, Some(theirs), Ear::Native(native::Native::default()));
        native::greet(&mut native.outbox);
        offer.links.push(native);
    }
    if let Some(at) = &dialects.notify {
        let path = match at {
            NotifyAt::Abstract => None,
            NotifyAt::Path(path) => Some(path.as_path()),
        };
        let owner = spec.launch.identity.as_ref().and_then(|i| i.uid.map(|uid| (uid, i.gid)));
        let (ours, name) = channel::notify_socket(path, owner)?;
        offer.variables.push(("NOTIFY_SOCKET", name));
        offer.links.push(link(ours, None, Ear::Notify));
    }
    if dialects.node {
        let (ours, theirs) = channel::pair()?;
        offer.variables.push(("NODE_CHANNEL_FD", number(&theirs)));
        offer.variables.push(("NODE_CHANNEL_SERIALIZATION_MODE", "json".into()));
        offer.links.push(link(ours, Some(theirs), Ear::Node(node::Node::default())));
    }
    if dialects.fd || spec.ready == Ready::Fd {
        let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        offer.variables.push(("WATCHDOG_READY_FD", number(&theirs)));
        offer.links.push(link(ours, Some(theirs), Ear::Fd(line::Line::default())));
    }
    Ok(offer)
}

/// The number that it has here is free in the caller, so the worker gets it there too.
fn number(fd: &OwnedFd) -> OsString {
    fd.as_raw_fd().to_string().into()
}

/// What came over a channel, understood as far as it can be without knowing the worker.
pub(super) enum Came {
    News(News),
    /// The file of its lanes.
    Lanes(OwnedFd),
    /// Of somebody: whether he may speak is still to be seen.
    Datagram {
        pid: i32,
        uid: u32,
        bytes: Vec<u8>,
    },
}

/// What one read of a link came to.
pub(super) enum Heard {
    /// Go on.
    More,
    /// Nothing more now.
    Empty,
    /// The other end is closed.
    End,
    /// What came is no word of the dialect.
    Bad(String),
}

impl Link {
    /// Its descriptors elsewhere.
    pub(super) fn moved(self, raised: impl Fn(OwnedFd) -> OwnedFd) -> Link {
        Link { fd: raised(self.fd), theirs: self.theirs.map(raised), ..self }
    }

    /// One read, and what it brought.
    pub(super) fn hear(&mut self, buffer: &mut [u8], out: &mut Vec<Came>, taken: &mut usize) -> Heard {
        if let Ear::Fd(line) = &mut self.ear {
            let read = match nix::unistd::read(&self.fd, buffer) {
                Ok(0) => return Heard::End,
                Ok(n) => n,
                Err(nix::errno::Errno::EINTR) => return Heard::More,
                Err(nix::errno::Errno::EAGAIN) => return Heard::Empty,
                Err(_) => return Heard::End,
            };
            *taken += read;
            self.theirs = None;
            let mut news = Vec::new();
            line.push(&buffer[..read], &mut news);
            out.extend(news.into_iter().map(Came::News));
            return Heard::More;
        }
        // Descriptors that come along are closed with `received`, except for the file of the lanes. So is that of a
        // BARRIER=1, whose sender waits for just this: all that it said before is heard by then.
        let mut received = match channel::receive(self.fd.as_fd(), buffer) {
            Ok(received) => received,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Heard::Empty,
            Err(e) if e.kind() == ErrorKind::Interrupted => return Heard::More,
            Err(_) => return Heard::End,
        };
        // An empty datagram costs a share of the turn as well.
        *taken += received.bytes.max(64);
        let bytes = &buffer[..received.bytes];
        if matches!(self.ear, Ear::Notify) {
            if let (Some((pid, uid, _)), false) = (received.credentials, received.truncated) {
                out.push(Came::Datagram { pid, uid, bytes: bytes.to_vec() });
            }
            return Heard::More;
        }
        if received.bytes == 0 {
            return Heard::End;
        }
        (self.spoken, self.theirs) = (true, None);
        let (done, unknown) = match &mut self.ear {
            Ear::Native(ear) => {
                let done = ear.push(bytes, |said| match said {
                    Said::News(news) => out.push(Came::News(news)),
                    // A frame without a file means nothing (docs/protocol.md).
                    Said::LanesFile => out.extend(received.descriptors.pop().map(Came::Lanes)),
                });
                (done.map_err(|e| e.to_string()), ear.unknown())
            }
            Ear::Node(ear) => {
                let mut news = Vec::new();
                let done = ear.push(bytes, &mut news);
                out.extend(news.into_iter().map(Came::News));
                (done.map_err(|e| e.to_string()), ear.unknown())
            }
            Ear::Notify | Ear::Fd(_) => (Ok(()), 0),
        };
        // A later SDK, a message of Node's own: worth a line once per generation.
        if unknown > 0 && !std::mem::replace(&mut self.unknown_told, true) {
            log::info!("generation {}: a word that means nothing here is skipped", self.generation.0);
        }
        done.map_or_else(Heard::Bad, |()| Heard::More)
    }
}

/// Variables that go with beats in the notify dialect (sd_watchdog_enabled(3)).
pub(super) fn beat_variable(spec: &Spec) -> Option<OsString> {
    let rules = &spec.heartbeat;
    let wanted = spec.dialects.notify.is_some() && rules.mode != crate::spec::HeartbeatMode::Off;
    let every = rules.interval.saturating_mul(rules.misses.max(1));
    wanted.then(|| u64::try_from(every.as_micros()).unwrap_or(u64::MAX).to_string().into())
}

/// The worker's ends by number, for the spawn.
pub(super) fn numbers(offer: &Offer) -> Vec<RawFd> {
    offer.links.iter().filter_map(|link| link.theirs.as_ref()).map(AsRawFd::as_raw_fd).collect()
}

/// A variable of an offer.
pub(super) fn variable(offer: &Offer) -> impl Iterator<Item = (&'static str, &OsStr)> {
    offer.variables.iter().map(|(key, value)| (*key, value.as_os_str()))
}
