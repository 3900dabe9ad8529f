//! The clients: bounded in number, in what they may say at once and in what they may leave unread. A client that does not
//! read is dropped; nothing here ever waits.

use super::ask::{Ask, AskError};
use super::socket::Bound;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// Clients at the same time; the one that has been silent longest makes room.
const MAX_CLIENTS: usize = 64;
/// One request.
const MAX_REQUEST: usize = 64 * 1024;
/// What a client may leave unread.
const MAX_UNREAD: usize = 512 * 1024;
/// Room for answers that a client keeps from one to the next.
const KEPT_ROOM: usize = 4096;
/// A client that says nothing for so long is dropped, unless it waits or follows.
const IDLE: Duration = Duration::from_secs(30);
/// Requests of one client that are served in one turn; the others wait, and so do its next ones while it has not read
/// its answers: a worker's end comes before the thousandth question (case CTL-12).
const ASKS_PER_TURN: usize = 8;
/// Read from one client per turn.
const READ_PER_TURN: usize = 64 * 1024;

/// What a turn brought.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Requests, with the client and its credentials (pid, uid).
    pub asks: Vec<(usize, Ask, (i32, u32))>,
    /// Clients that are gone.
    pub gone: Vec<usize>,
    /// Peers that were refused (pid, uid).
    pub denied: Vec<(i32, u32)>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    peer: (i32, u32),
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Bytes at its beginning that are written.
    written: usize,
    heard: Duration,
    /// How many answers it waits for and streams it follows: silence is right then.
    open: usize,
    /// It will say nothing more; what it asked for is still answered.
    ended: bool,
    /// Close when all is written.
    last_words: bool,
    dead: bool,
}

/// The socket and its clients, by token.
#[derive(Debug)]
pub(crate) struct Server {
    bound: Bound,
    me: u32,
    clients: BTreeMap<usize, Client>,
    reserve: Option<File>,
}

impl Server {
    /// Begins to listen under this token.
    ///
    /// # Errors
    /// What epoll says.
    pub(crate) fn new(mut bound: Bound, registry: &Registry, token: Token) -> std::io::Result<Server> {
        registry.register(&mut bound.listener, token, Interest::READABLE)?;
        let me = nix::unistd::geteuid().as_raw();
        Ok(Server { bound, me, clients: BTreeMap::new(), reserve: None })
    }

    /// Where it listens.
    #[must_use]
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.bound.home.path
    }

    /// When the next silent client is to be dropped.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.clients.values().filter(|c| c.open == 0).map(|c| c.heard + IDLE).min()
    }

    /// Takes all who knock. `token` gives numbers that were never used.
    pub(crate) fn accept(&mut self, registry: &Registry, now: Duration, token: &mut usize, turn: &mut Turn) {
        loop {
            match self.bound.listener.accept() {
                Ok((stream, _)) => {
                    // With the first client: most runs have none.
                    self.reserve = self.reserve.take().or_else(reserve);
                    *token += 1;
                    self.admit(stream, registry, now, *token, turn);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    // Edge-triggered: who is not taken now is not told of again. The reserve lets us take and close.
                    if self.reserve.take().is_none() {
                        return;
                    }
                    let taken = self.bound.listener.accept().is_ok();
                    self.reserve = reserve();
                    if !taken {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    #[inline(never)]
    fn admit(&mut self, mut stream: UnixStream, registry: &Registry, now: Duration, token: usize, turn: &mut Turn) {
        let peer = getsockopt(&stream, PeerCredentials).map(|c| (c.pid(), c.uid())).unwrap_or((0, u32::MAX));
        if peer.1 != self.me && peer.1 != 0 {
            turn.denied.push(peer);
            let why = "only the watchdog's own user and root may ask";
            let _ = stream.write(&line(&error(&Value::Null, "denied", why, None)));
            return;
        }
        if self.clients.len() >= MAX_CLIENTS {
            let oldest = self.clients.iter().filter(|(_, c)| c.open == 0).min_by_key(|(_, c)| c.heard).map(|(t, _)| *t);
            let Some(oldest) = oldest else {
                let _ = stream.write(&line(&error(&Value::Null, "busy", "too many clients", None)));
                return;
            };
            self.drop_client(oldest, registry);
            turn.gone.push(oldest);
        }
        if registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE).is_ok() {
            let (inbox, outbox) = (Vec::new(), Vec::new());
            let client = Client {
                stream,
                peer,
                inbox,
                outbox,
                written: 0,
                heard: now,
                open: 0,
                ended: false,
                last_words: false,
                dead: false,
            };
            self.clients.insert(token, client);
        }
    }

    /// Whether there is no client.
    #[must_use]
    pub(crate) fn is_alone(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether this token is one of the clients.
    #[must_use]
    pub(crate) fn knows(&self, token: usize) -> bool {
        self.clients.contains_key(&token)
    }

    /// Reads and writes what goes with one client. True if there is more to read.
    #[inline(never)]
    pub(crate) fn serve(&mut self, token: usize, now: Duration, turn: &mut Turn) -> bool {
        let Some(client) = self.clients.get_mut(&token) else { return false };
        client.write();
        let more = client.read(now);
        let inbox = std::mem::take(&mut client.inbox);
        let (mut from, mut asks) = (0, 0);
        while asks < ASKS_PER_TURN
            && client.outbox.is_empty()
            && !client.last_words
            && let Some(len) = memchr::memchr(b'\n', &inbox[from..])
        {
            let text = &inbox[from..from + len];
            from += len + 1;
            if text.is_empty() {
                continue;
            }
            asks += 1;
            match Ask::parse(text) {
                Ok(ask) => turn.asks.push((token, ask, client.peer)),
                Err(e) => client.say(&ask_error(&e)),
            }
        }
        client.inbox = inbox;
        client.inbox.drain(..from);
        let waiting = memchr::memchr(b'\n', &client.inbox).is_some();
        if client.inbox.len() >= MAX_REQUEST && !waiting {
            client.say(&error(&Value::Null, "too-large", "a request has at most 64 KiB", None));
            client.inbox = Vec::new();
            client.last_words = true;
        }
        client.write();
        // Who has not read its answers is asked again when it can be written to.
        (more || waiting) && client.outbox.is_empty() && !client.dead && !client.last_words
    }

    /// One line to one client.
    pub(crate) fn say(&mut self, token: usize, value: &Value) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.say(value);
            client.write();
        }
    }

    /// An answer that is a line of text already.
    pub(crate) fn say_text(&mut self, token: usize, text: String) {
        if let Some(client) = self.clients.get_mut(&token) {
            match client.outbox.is_empty() && !client.dead {
                // It may be large: it becomes the outbox and is not copied into it.
                true => client.outbox = text.into_bytes(),
                false => client.say_bytes(text.as_bytes()),
            }
            client.write();
        }
    }

    /// The next items of a stream to one client, in one go.
    pub(crate) fn say_items(&mut self, token: usize, id: &Value, items: &[String]) {
        if let Some(client) = self.clients.get_mut(&token).filter(|_| !items.is_empty()) {
            client.say_bytes(&item_lines(id, items));
            client.write();
        }
    }

    /// One more answer to wait for, or stream to follow, or one less: as long as there is one, silence is right.
    pub(crate) fn set_open(&mut self, token: usize, more: bool, now: Duration) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.open = if more { client.open + 1 } else { client.open.saturating_sub(1) };
            client.heard = now;
        }
    }

    /// Drops who is dead, done, or silent for too long; gives back who they were.
    pub(crate) fn sweep(&mut self, registry: &Registry, now: Duration) -> Vec<usize> {
        let over = |c: &Client| {
            let silent = c.open == 0 && now.saturating_sub(c.heard) >= IDLE;
            let done = c.last_words || (c.ended && c.open == 0 && c.inbox.is_empty());
            c.dead || (done && c.outbox.is_empty()) || silent
        };
        let gone: Vec<usize> = self.clients.iter().filter(|(_, c)| over(c)).map(|(t, _)| *t).collect();
        for token in &gone {
            self.drop_client(*token, registry);
        }
        gone
    }

    /// A worker needs the descriptors more (case EXH-02): everybody who does not wait for something goes, and the reserve.
    pub(crate) fn shed(&mut self, registry: &Registry) -> Vec<usize> {
        let idle: Vec<usize> = self.clients.iter().filter(|(_, c)| c.open == 0).map(|(t, _)| *t).collect();
        for token in &idle {
            self.drop_client(*token, registry);
        }
        self.reserve = None;
        idle
    }

    fn drop_client(&mut self, token: usize, registry: &Registry) {
        if let Some(mut client) = self.clients.remove(&token) {
            let _ = registry.deregister(&mut client.stream);
        }
    }

    /// The end: what can be written at once still is; the socket goes.
    pub(crate) fn close(mut self) {
        for client in self.clients.values_mut() {
            client.write();
        }
        self.bound.home.unlink();
    }
}

impl Client {
    /// Not inlined: its buffer would be part of the frame of every turn, and a frame is touched page by page.
    #[inline(never)]
    fn read(&mut self, now: Duration) -> bool {
        let mut piece = [0; 4096];
        let mut taken = 0;
        while taken < READ_PER_TURN && self.inbox.len() < MAX_REQUEST {
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    self.ended = true;
                    self.dead = hung_up(&self.stream);
                    // The rest of a line without its end is nothing.
                    let whole = memchr::memrchr(b'\n', &self.inbox).map_or(0, |at| at + 1);
                    self.inbox.truncate(whole);
                    return false;
                }
                Ok(n) => {
                    taken += n;
                    self.heard = now;
                    self.inbox.extend_from_slice(piece.get(..n).unwrap_or_default());
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.dead = true;
                    return false;
                }
            }
        }
        true
    }

    fn say(&mut self, value: &Value) {
        self.say_bytes(&line(value));
    }

    fn say_bytes(&mut self, bytes: &[u8]) {
        if self.dead {
            return;
        }
        // What it has not read counts, not how long this answer is: that of a thousand services is longer.
        if self.outbox.len() - self.written > MAX_UNREAD {
            self.dead = true;
            return;
        }
        if self.written > MAX_UNREAD {
            self.outbox.drain(..std::mem::take(&mut self.written));
        }
        self.outbox.extend_from_slice(bytes);
    }

    fn write(&mut self) {
        while let Some(rest) = self.outbox.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) if n > 0 => self.written += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
        // A large answer gives its room back.
        self.written = 0;
        match self.outbox.capacity() > KEPT_ROOM {
            true => self.outbox = Vec::new(),
            false => self.outbox.clear(),
        }
    }
}

/// Whether the other end is closed altogether, and not only for what it had to say (`nc -N` waits for its answer).
fn hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|r| r.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn line(value: &Value) -> Vec<u8> {
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    text
}

/// An answer that something is wrong.
#[must_use]
pub(crate) fn error(id: &Value, code: &str, message: &str, nearest: Option<&str>) -> Value {
    json!({"id": id, "ok": false, "error": {"code": code, "message": message, "nearest": nearest}})
}

/// The same for a request that is not well formed.
#[must_use]
pub(crate) fn ask_error(e: &AskError) -> Value {
    error(&e.id, "usage", &e.message, e.nearest.as_deref())
}

/// An answer that all is well.
#[must_use]
pub(crate) fn ok(id: &Value, result: Value) -> Value {
    let mut all = json!({"id": id, "ok": true});
    // Not through the macro, which makes a copy of it: it may be large.
    all["result"] = result;
    all
}

/// The same as a line, of a result that is written behind the beginning that is handed out.
pub(crate) fn ok_line(id: &Value, room: usize, result: impl FnOnce(&mut String)) -> String {
    let mut text = format!("{{\"id\":{id},\"ok\":true,\"result\":");
    text.reserve(room);
    result(&mut text);
    text.push_str("}\n");
    text
}

/// Lines of a stream, each of an item that is text already: what many follow is made text once for all.
fn item_lines(id: &Value, items: &[String]) -> Vec<u8> {
    let id = id.to_string();
    items.iter().flat_map(|item| format!("{{\"id\":{id},\"item\":{item}}}\n").into_bytes()).collect()
}

/// One item of a stream.
#[must_use]
pub(crate) fn item(id: &Value, item: Value) -> Value {
    json!({"id": id, "item": item})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_text_already_is_the_same_line() {
        let (id, result) = (json!("a\"b"), json!({"services": [{"name": "x\ny"}], "instance": null}));
        let text = ok_line(&id, 0, |text| text.push_str(&result.to_string()));
        assert_eq!(text.into_bytes(), line(&ok(&id, result)));
    }

    #[test]
    fn items_that_are_text_already_are_the_same_lines() {
        let (id, items) = (json!("a\"b"), [json!({"line": "x\ny", "seq": 1}), json!(null)]);
        let texts = items.clone().map(|one| one.to_string());
        let each: Vec<u8> = items.into_iter().flat_map(|one| line(&item(&id, one))).collect();
        assert_eq!(item_lines(&id, &texts), each);
    }
}
