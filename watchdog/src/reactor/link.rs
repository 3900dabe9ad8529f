//! One channel of one generation: made for the spawn, read without a wait, understood as far as it can be without knowing
//! the worker.

use crate::dialect::{Said, line, native, node};
use crate::machine::*;
use crate::spec::{NotifyAt, Ready, Spec};
use crate::sys::channel::{self, SocketFile};
use crate::sys::notify_dir::NotifyDir;
use nix::fcntl::OFlag;
use std::collections::BTreeMap;
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
    /// The file of a notify socket.
    pub(super) file: Option<SocketFile>,
    /// It is at a path of the settings, where the one of the next generation will be.
    fixed: bool,
    /// Whose words are believed on a notify socket: the worker's user.
    user: u32,
    /// Descriptors that came with the last message. Nothing more is heard before they are closed.
    pub(super) brought: Vec<OwnedFd>,
    /// They are being closed.
    pub(super) closing: bool,
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
/// No descriptors, no memory, or no room at the path that was chosen for a notify socket.
pub(super) fn offer(spec: &Spec, service: ServiceId, generation: Generation, places: &mut Places) -> io::Result<Offer> {
    let mut offer = Offer::default();
    let owner = spec.launch.identity.as_ref().and_then(|i| i.uid.map(|uid| (uid, i.gid)));
    let user = owner.map_or(places.user, |(uid, _)| uid);
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
        file: None,
        fixed: false,
        user,
        brought: Vec::new(),
        closing: false,
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
    let notify = match &dialects.notify {
        Some(NotifyAt::Own) => places.own(service, places.owner(spec)),
        Some(NotifyAt::Path(path)) => Some(channel::notify_socket(path, owner)?),
        None => None,
    };
    if let Some((ours, file)) = notify {
        offer.variables.push(("NOTIFY_SOCKET", file.path().as_os_str().to_owned()));
        let fixed = matches!(&dialects.notify, Some(NotifyAt::Path(_)));
        offer.links.push(Link { file: Some(file), fixed, ..link(ours, None, Ear::Notify) });
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

/// User and group of a notify socket, where they are not ours.
type Owner = Option<(u32, u32)>;

/// What notify sockets of the workers' own are made from.
pub(super) struct Places {
    dir: NotifyDir,
    /// Our own user.
    user: u32,
    told: bool,
    /// Made while nothing was due, for the next generation of a service that was restarted before.
    ready: BTreeMap<ServiceId, (Owner, OwnedFd, SocketFile)>,
}

impl Places {
    pub(super) fn new(runtime_dir: Option<&std::path::Path>) -> Places {
        let user = nix::unistd::geteuid().as_raw();
        Places { dir: NotifyDir::new(runtime_dir, user), user, told: false, ready: BTreeMap::new() }
    }

    fn owner(&self, spec: &Spec) -> Owner {
        let identity = spec.launch.identity.as_ref();
        identity.and_then(|i| i.uid.map(|uid| (uid, i.gid))).filter(|(uid, _)| *uid != self.user)
    }

    /// A socket for a worker of this user, or of ours. None where no directory can be had: it is told of once, and the
    /// worker goes on without.
    fn own(&mut self, service: ServiceId, owner: Owner) -> Option<(OwnedFd, SocketFile)> {
        // Something may have tidied up, and its user may be another one by now.
        let ready = self.ready.remove(&service).filter(|(of, _, file)| *of == owner && file.is_there());
        ready.map(|(_, socket, file)| (socket, file)).or_else(|| self.made(owner))
    }

    fn made(&mut self, owner: Owner) -> Option<(OwnedFd, SocketFile)> {
        match self.dir.socket(owner) {
            Ok(made) => Some(made),
            Err(e) => {
                if !std::mem::replace(&mut self.told, true) {
                    let why = crate::sys::reason(&e);
                    log::warn!("no directory for notify sockets ({why}): workers do not get NOTIFY_SOCKET (dialects)");
                }
                None
            }
        }
    }

    /// Makes the one of the next generation. Its name is random and not told before that generation is started.
    #[inline(never)]
    pub(super) fn prepare(&mut self, service: ServiceId, spec: &Spec) {
        if matches!(spec.dialects.notify, Some(NotifyAt::Own)) && !self.ready.contains_key(&service) {
            let owner = self.owner(spec);
            if let Some((socket, file)) = self.made(owner) {
                self.ready.insert(service, (owner, socket, file));
            }
        }
    }

    /// What others have left where the sockets are is looked at when there is time.
    pub(super) fn is_untidy(&self) -> bool {
        self.dir.is_untidy()
    }

    pub(super) fn tidy(&mut self) {
        self.dir.tidy();
    }

    /// No generation follows.
    pub(super) fn keep_only(&mut self, goes_on: impl Fn(ServiceId) -> bool) {
        self.ready.retain(|service, _| goes_on(*service));
    }

    /// The end.
    pub(super) fn close(&mut self) {
        self.ready.clear();
        self.dir.close();
    }
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
    /// Of a sender that may speak for the worker.
    Datagram(Vec<u8>),
    /// Of one that may not.
    Foreign {
        pid: i32,
        uid: u32,
    },
}

/// What one read of a link came to.
pub(super) enum Heard {
    /// Go on.
    More,
    /// Nothing more before what came along is closed.
    Brought,
    /// What comes next brings descriptors, for which there is no room now.
    Full,
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

    /// To be said before it is heard.
    ///
    /// # Errors
    /// There is no way to read all that the worker sends.
    pub(super) fn nothing_out_of_band(&self) -> io::Result<()> {
        match self.ear {
            Ear::Native(_) | Ear::Node(_) => channel::nothing_out_of_band(self.fd.as_fd()),
            // A pipe and datagrams have nothing of the kind.
            Ear::Notify | Ear::Fd(_) => Ok(()),
        }
    }

    /// One read, and what it brought. `room`: it may bring descriptors.
    pub(super) fn hear(&mut self, buffer: &mut [u8], out: &mut Vec<Came>, taken: &mut usize, room: bool) -> Heard {
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
        let stream = !matches!(self.ear, Ear::Notify);
        let received = match room {
            true => channel::receive(self.fd.as_fd(), buffer).map(Some),
            false => channel::receive_bare(self.fd.as_fd(), buffer, stream),
        };
        let mut received = match received {
            Ok(Some(received)) => received,
            Ok(None) => return Heard::Full,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Heard::Empty,
            Err(e) if e.kind() == ErrorKind::Interrupted => return Heard::More,
            // Of a datagram socket it is no end.
            Err(_) if matches!(self.ear, Ear::Notify) => return Heard::Empty,
            Err(_) => return Heard::End,
        };
        // An empty datagram costs a share of the turn as well.
        *taken += received.bytes.max(64);
        let bytes = &buffer[..received.bytes];
        // The file of the lanes is kept; all others are closed when what came with them is heard. The sender of a
        // BARRIER=1 waits for just this.
        let mut memory = None;
        for fd in received.descriptors.drain(..) {
            match memory.is_none() && matches!(self.ear, Ear::Native(_)) && channel::is_memory(fd.as_fd()) {
                true => memory = Some(fd),
                false => self.brought.push(fd),
            }
        }
        let more = if self.brought.is_empty() { Heard::More } else { Heard::Brought };
        if matches!(self.ear, Ear::Notify) {
            match received.credentials {
                Some((pid, uid, _)) if !self.believes(uid) => out.push(Came::Foreign { pid, uid }),
                Some(_) if !received.truncated => out.push(Came::Datagram(bytes.to_vec())),
                Some(_) | None => {}
            }
            return more;
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
                    Said::LanesFile => out.extend(memory.take().map(Came::Lanes)),
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
        // A memory file that no word speaks of may be as large as it likes: that takes its time to close, too.
        self.brought.extend(memory);
        let more = if self.brought.is_empty() { Heard::More } else { Heard::Brought };
        // A later SDK, a message of Node's own: worth a line once per generation.
        if unknown > 0 && !std::mem::replace(&mut self.unknown_told, true) {
            log::info!("generation {}: a word that means nothing here is skipped", self.generation.0);
        }
        done.map_or_else(Heard::Bad, |()| more)
    }

    /// Whether another one can be there before this one is gone.
    pub(super) fn has_a_path_of_its_own(&self) -> bool {
        !self.fixed
    }

    /// The worker's user, root and we speak for the worker, also when the process that did so has ended: the socket is this
    /// worker's own. Nothing that a process says of itself makes it more than that.
    fn believes(&self, uid: u32) -> bool {
        uid == self.user || uid == 0 || uid == nix::unistd::geteuid().as_raw()
    }

    fn is_empty(&self) -> bool {
        match self.ear {
            Ear::Fd(_) => true,
            Ear::Native(_) | Ear::Node(_) => channel::is_empty_for_good(self.fd.as_fd(), true),
            Ear::Notify => channel::is_empty_for_good(self.fd.as_fd(), false),
        }
    }

    /// Whether closing it closes nothing that was sent.
    pub(super) fn holds_nothing(&self) -> bool {
        self.brought.is_empty() && self.is_empty()
    }

    /// Over: what must not be closed in the loop. The socket itself is among it while messages are left in it, for they may
    /// hold descriptors.
    pub(super) fn over(self) -> Vec<OwnedFd> {
        let empty = self.is_empty();
        let Link { fd, mut brought, .. } = self;
        if !empty {
            brought.push(fd);
        }
        brought
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
