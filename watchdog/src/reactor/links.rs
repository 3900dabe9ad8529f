//! The channels of workers: what comes in is read in shares and becomes news, what goes out waits in a bounded outbox.
//! Nothing a worker sends or leaves unread can hold the loop up or grow without bound.

use super::Reactor;
use crate::dialect::{Said, lanes, line, native, node, notify};
use crate::machine::*;
use crate::spec::{NotifyAt, Ready, Spec};
use crate::sys::channel;
use crate::sys::{clock, proc, tree};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Read from one channel per turn, so that a chatty worker does not starve a silent one.
const SHARE: usize = 16 * 1024;
/// News of one read at most: what is left comes in the next turn.
const NEWS: usize = 1024;
/// Bytes of one read; a datagram that is longer than its own limit is ignored whole.
const PIECE: usize = notify::MAX;
/// What a dying worker may still have said: a channel holds no more.
const LAST_SHARE: usize = 1024 * 1024;
/// Bytes that wait for a worker that does not read. What does not fit is lost: it does not answer either.
const OUTBOX: usize = 64 * 1024;
/// Strangers are told of at most so often.
const DENIED_EVERY: Duration = Duration::from_secs(1);
/// Parents looked at from a sender up to the main process.
const DEPTH: usize = 64;

/// One channel of one generation.
pub(super) struct Link {
    pub(super) service: ServiceId,
    pub(super) generation: Generation,
    fd: OwnedFd,
    /// The worker's own end, until it has spoken: as long as we hold it too, the end of a worker that never did is not
    /// the end of its channel, and wakes us once, not twice.
    theirs: Option<OwnedFd>,
    ear: Ear,
    outbox: Vec<u8>,
    /// Something is to go out: the worker has spoken, or is asked whether it does.
    spoken: bool,
    /// Something waits for room.
    waits: bool,
    unknown_told: bool,
}

/// Who understands it.
enum Ear {
    Native(native::Native),
    Node(node::Node),
    Notify,
    Fd(line::Line),
}

impl Ear {
    fn dialect(&self) -> Dialect {
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

/// Strangers who sent datagrams.
#[derive(Default)]
pub(super) struct Denied {
    count: u64,
    told: Option<Duration>,
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
enum Heard {
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
    /// One read, and what it brought.
    fn hear(&mut self, buffer: &mut [u8], out: &mut Vec<Came>, taken: &mut usize) -> Heard {
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

impl Reactor {
    /// Takes the channels of a process that runs now into the loop.
    pub(super) fn open_links(&mut self, id: ServiceId, links: Vec<Link>) {
        for link in links {
            self.next_token += 1;
            let token = self.next_token;
            let fd = link.fd.as_raw_fd();
            if self.poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE).is_err() {
                continue;
            }
            if let Some(worker) = self.workers.get_mut(id.0 as usize) {
                worker.links.push((link.ear.dialect(), token));
            }
            self.links.insert(token, link);
        }
    }

    /// One share of one channel, and what waits to go out on it.
    pub(super) fn serve_link(&mut self, token: usize) {
        if self.hear(token, SHARE) {
            self.again.push(token);
        }
        self.flush_link(token);
    }

    /// What the channels of a process that is dead still hold.
    pub(super) fn last_news(&mut self, id: ServiceId) {
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return };
        for (_, token) in worker.links.clone() {
            self.hear(token, LAST_SHARE);
        }
    }

    /// A generation is over: an heir that holds its channels speaks to nobody from here on.
    pub(super) fn close_links(&mut self, id: ServiceId) {
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return };
        worker.lanes = None;
        for (_, token) in std::mem::take(&mut worker.links) {
            self.close_link(token);
        }
    }

    fn close_link(&mut self, token: usize) {
        // Closing takes it out of the loop as well: nobody else has our end (it is close-on-exec).
        let Some(link) = self.links.remove(&token) else { return };
        if let (Ear::Notify, Some(service)) = (&link.ear, self.machine.services().get(link.service.0 as usize))
            && let Some(NotifyAt::Path(path)) = &service.spec.dialects.notify
        {
            let _ = std::fs::remove_file(path);
        }
    }

    /// True: there may be more.
    fn hear(&mut self, token: usize, share: usize) -> bool {
        let Some(link) = self.links.get_mut(&token) else { return false };
        let mut buffer = std::mem::take(&mut self.scratch);
        let mut heard = std::mem::take(&mut self.heard);
        buffer.resize(PIECE, 0);
        let (id, generation, dialect) = (link.service, link.generation, link.ear.dialect());
        let mut taken = 0;
        let how = loop {
            if taken >= share || heard.len() >= NEWS {
                break Heard::More;
            }
            match link.hear(&mut buffer, &mut heard, &mut taken) {
                Heard::More => {}
                other @ (Heard::Empty | Heard::End | Heard::Bad(_)) => break other,
            }
        };
        self.scratch = buffer;
        // Only now: what follows from it may be said on this very channel.
        for one in heard.drain(..) {
            self.give(id, generation, dialect, one);
        }
        self.heard = heard;
        match how {
            Heard::More => return true,
            Heard::Empty => {}
            Heard::End => self.lose(token, id, generation, dialect, None),
            Heard::Bad(why) => self.lose(token, id, generation, dialect, Some(why)),
        }
        false
    }

    fn lose(
        &mut self,
        token: usize,
        service: ServiceId,
        generation: Generation,
        dialect: Dialect,
        fault: Option<String>,
    ) {
        self.close_link(token);
        if let Some(worker) = self.workers.get_mut(service.0 as usize) {
            worker.links.retain(|(_, t)| *t != token);
        }
        // A pipe for one newline is done when it is closed.
        if dialect != Dialect::Fd {
            self.feed(Event::ChannelLost { service, generation, dialect, fault });
        }
    }

    /// One thing that came over a channel.
    fn give(&mut self, service: ServiceId, generation: Generation, dialect: Dialect, came: Came) {
        match came {
            Came::News(News::MainPid(pid)) => self.note_main(service, generation, pid),
            Came::News(news) => {
                if let (News::Beat | News::Pong(_), Some(worker)) = (&news, self.workers.get_mut(service.0 as usize)) {
                    worker.slept = clock::slept_offset();
                }
                self.feed(Event::News { service, generation, dialect, news });
            }
            Came::Lanes(file) => self.take_lanes(service, generation, file),
            Came::Datagram { pid, uid, bytes } => {
                if !self.is_of_tree(service, pid) {
                    return self.deny(service, pid, uid);
                }
                for news in notify::decode(&bytes).news {
                    self.give(service, generation, dialect, Came::News(news));
                }
            }
        }
    }

    /// Whether a sender belongs to the worker: it is the main process, descends from it, or bears its marks.
    pub(super) fn is_of_tree(&self, id: ServiceId, pid: i32) -> bool {
        let Some(worker) = self.workers.get(id.0 as usize) else { return false };
        let Some(main) = worker.proc.as_ref().map(|p| p.pid).filter(|_| pid > 1) else { return false };
        if pid == main {
            return true;
        }
        let mut at = pid;
        for _ in 0..DEPTH {
            match proc::stat(at).map(|s| s.ppid) {
                Some(parent) if parent == main => return true,
                Some(parent) if parent > 1 && parent != self.me => at = parent,
                _ => break,
            }
        }
        // It has lost its parents: its group, its session or its environment say whose it is.
        tree::Marks { all_mine: false, ..worker.marks.clone() }.own(pid)
    }

    fn deny(&mut self, id: ServiceId, sender: i32, uid: u32) {
        let now = self.clock.now();
        let Some(worker) = self.workers.get_mut(id.0 as usize) else { return };
        worker.denied.count += 1;
        if worker.denied.told.is_some_and(|at| now.saturating_sub(at) < DENIED_EVERY) {
            return;
        }
        let count = std::mem::take(&mut worker.denied.count);
        worker.denied.told = Some(now);
        let (generation, pid) = worker.proc.as_ref().map_or((None, None), |p| (Some(p.generation), Some(p.pid)));
        let what = What::NotifyDenied { sender, uid, count };
        self.tell(Notice { service: Some(id), generation, pid, cause: None, what });
    }

    /// MAINPID: believed only of a process of the worker's tree, and acted upon when the main process ends.
    fn note_main(&mut self, id: ServiceId, generation: Generation, pid: i32) {
        let ours =
            self.workers.get(id.0 as usize).and_then(|w| w.proc.as_ref()).is_some_and(|p| p.generation == generation);
        if ours
            && pid != self.me
            && self.is_of_tree(id, pid)
            && let Some(worker) = self.workers.get_mut(id.0 as usize)
        {
            worker.main_next = Some(pid);
        }
    }

    // --- lanes ---

    fn take_lanes(&mut self, service: ServiceId, generation: Generation, file: OwnedFd) {
        let Some(worker) = self.workers.get_mut(service.0 as usize) else { return };
        // A second file means nothing (docs/protocol.md).
        if worker.lanes.is_none() {
            worker.lanes = Some(file);
            self.look_at_lanes(service, generation);
        }
    }

    pub(super) fn look_at_lanes(&mut self, service: ServiceId, generation: Generation) {
        let Some(file) = self.workers.get(service.0 as usize).and_then(|w| w.lanes.as_ref()) else { return };
        let mut bytes = [0; lanes::BYTES];
        let read = channel::read_at(file.as_fd(), &mut bytes, 0);
        let views = read.ok().and_then(|()| lanes::decode(&bytes));
        match views {
            Some(views) => {
                let news = News::Lanes(views);
                self.feed(Event::News { service, generation, dialect: Dialect::Native, news });
            }
            None => {
                log::warn!("generation {}: the file of its lanes is none", generation.0);
                if let Some(worker) = self.workers.get_mut(service.0 as usize) {
                    worker.lanes = None;
                }
            }
        }
    }

    // --- what goes out ---

    /// Says something, now or as soon as the worker reads.
    pub(super) fn say_word(&mut self, id: ServiceId, generation: Generation, dialect: Dialect, word: &Word) {
        let worker = self.workers.get(id.0 as usize);
        let token = worker.and_then(|w| w.links.iter().find(|(d, _)| *d == dialect)).map(|(_, token)| *token);
        let Some((token, link)) = token.and_then(|t| self.links.get_mut(&t).map(|link| (t, link))) else { return };
        if link.generation != generation || link.outbox.len() >= OUTBOX {
            return;
        }
        match dialect {
            Dialect::Native => native::encode(word, &mut link.outbox),
            Dialect::Node => node::encode(word, &mut link.outbox),
            Dialect::Notify | Dialect::Fd => return,
        }
        link.spoken = true;
        self.flush_link(token);
    }

    fn flush_link(&mut self, token: usize) {
        let Some(link) = self.links.get_mut(&token).filter(|l| !l.outbox.is_empty()) else { return };
        if !link.spoken {
            return;
        }
        match channel::send(link.fd.as_fd(), &link.outbox) {
            Ok(sent) => {
                link.outbox.drain(..sent);
            }
            // Also found by reading, which finds what was said before it as well.
            Err(e) if e.kind() != ErrorKind::WouldBlock => return,
            Err(_) => {}
        }
        // Told of room only while something waits for it: a channel with room would wake us for nothing.
        let waits = !link.outbox.is_empty();
        if waits != link.waits {
            link.waits = waits;
            let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let fd = link.fd.as_raw_fd();
            let _ = self.poll.registry().reregister(&mut SourceFd(&fd), Token(token), interest);
        }
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
