//! The page for people in the one loop: what it is told as it happens, what it asks about one service, and the deeds that
//! `http_control` allows. Nothing is made for a page that nobody looks at.

use super::Reactor;
use super::web::Web;
use crate::control::{event, line};
use crate::http::{self, Deed, Response, Step, Who};
use crate::logs::Line;
use crate::machine::*;
use crate::spec::{HttpControl, LogMode};
use crate::sys;
use crate::sys::paths::{Home, Last, Place};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From one look at the services to the next, as long as somebody looks.
const TICK: Duration = Duration::from_secs(2);
/// Events that a page begins with.
const EVENTS: usize = 500;
/// Lines that it begins with.
const LINES: usize = 200;
/// Deeds in one turn.
const DEEDS: usize = 16;
/// A token is at least so long: nobody guesses it.
const TOKEN_MIN: usize = 16;
const TOKEN_MAX: usize = 256;

/// Who looks, and who may act.
#[derive(Default)]
pub(super) struct Pages {
    /// Those who are told what happens.
    watchers: Vec<usize>,
    /// Those who read what these services write.
    readers: Vec<(usize, Vec<ServiceId>)>,
    tick: Option<Duration>,
    /// Whoever has it may act.
    pub(super) token: Option<String>,
    /// Made by us, and removed by us.
    made: Option<PathBuf>,
    deeds: Vec<(usize, Deed, String)>,
    /// What is being done, and what came of it at once.
    ticket: Option<Ticket>,
    reply: Option<Reply>,
}

impl Pages {
    /// Reads the token, or makes one.
    pub(super) fn new(wish: &HttpControl, control: Option<&Path>) -> Result<Pages, String> {
        let (token, made) = match wish {
            HttpControl::Off => return Ok(Pages::default()),
            HttpControl::File(path) => {
                let place = place_of(path)?;
                match read_token(&place) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => (make_token(path, &place)?, None),
                    Err(e) => return Err(format!("http_control {}: {}", path.display(), sys::reason(&e))),
                    Ok((token, facts)) => {
                        let token = checked(path, token)?;
                        guarded(path, &facts)?;
                        (token, None)
                    }
                }
            }
            HttpControl::Beside => {
                let Some(control) = control else {
                    return Err("http_control: without a control socket a file for the token is needed".into());
                };
                let mut path = control.as_os_str().to_owned();
                path.push(".token");
                let path = PathBuf::from(path);
                let place = place_of(&path)?;
                // Of one before us, who had no time for it.
                let _ = place.remove(place.name());
                (make_token(&path, &place)?, Some(path))
            }
        };
        let shown = match (wish, &made) {
            (HttpControl::File(path), _) | (_, Some(path)) => path.display().to_string(),
            _ => String::new(),
        };
        log::info!("http_control: start, stop and restart for whoever has the token in {shown}");
        Ok(Pages { token: Some(token), made, ..Pages::default() })
    }

    pub(super) fn close(&self) {
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
    }

    pub(super) fn due(&self, now: Duration) -> bool {
        self.tick.is_some_and(|at| at <= now)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.tick
    }

    pub(super) fn are_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// How many read what this service writes.
    pub(super) fn readers_of(&self, id: ServiceId) -> usize {
        self.readers.iter().filter(|(_, ids)| ids.contains(&id)).count()
    }

    pub(super) fn are_read(&self) -> bool {
        !self.readers.is_empty()
    }

    pub(super) fn leave(&mut self, id: ServiceId) {
        self.readers.iter_mut().for_each(|(_, ids)| ids.retain(|one| *one != id));
    }

    /// Is this what a page asked for? Then the answer is for it.
    pub(super) fn hear(&mut self, ticket: Ticket, reply: &Reply) {
        if self.ticket == Some(ticket) {
            self.reply = Some(reply.clone());
        }
    }

    pub(super) fn add_deed(&mut self, token: usize, deed: Deed, name: String) {
        self.deeds.push((token, deed, name));
    }
}

fn place_of(path: &Path) -> Result<Place, String> {
    let found = Place::find(path, Home::Ours, Last::Link);
    found.map_err(|e| format!("http_control {}: {}", path.display(), sys::reason(&e)))
}

fn read_token(place: &Place) -> io::Result<(String, fs::Metadata)> {
    let mut text = String::new();
    let file = place.read(place.name())?;
    let facts = file.metadata()?;
    file.take(TOKEN_MAX as u64 + 2).read_to_string(&mut text)?;
    Ok((text.trim_end().to_owned(), facts))
}

/// A token is as good as a password: one that everybody may read, or that others may exchange, is none.
fn guarded(path: &Path, facts: &fs::Metadata) -> Result<(), String> {
    let wrong = |why: String| Err(format!("http_control {}: {why}", path.display()));
    let (uid, mode) = (facts.uid(), facts.mode() & 0o777);
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        return wrong(format!("belongs to user {uid}, not to root or to us"));
    }
    if mode & 0o026 != 0 && facts.is_file() {
        return wrong(format!("others may read or write the token (mode {mode:o}): chmod 600 it"));
    }
    if mode & 0o040 != 0 {
        log::warn!("http_control {}: its group may read the token, and so may act", path.display());
    }
    Ok(())
}

fn checked(path: &Path, token: String) -> Result<String, String> {
    let wrong = |why: String| format!("http_control {}: {why}", path.display());
    let plain = token.bytes().all(|b| b.is_ascii_graphic());
    match token.len() {
        n if n < TOKEN_MIN => Err(wrong(format!("the token has {n} characters, it needs at least {TOKEN_MIN}"))),
        n if n > TOKEN_MAX => Err(wrong(format!("the token has more than {TOKEN_MAX} characters"))),
        _ if !plain => Err(wrong("the token is one line of letters, digits and signs".into())),
        _ => Ok(token),
    }
}

fn make_token(path: &Path, place: &Place) -> Result<String, String> {
    let made = || -> io::Result<String> {
        let mut bytes = [0; 24];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        place.create(place.name(), 0o600)?.write_all(format!("{token}\n").as_bytes())?;
        Ok(token)
    };
    made().map_err(|e| {
        let why = errno_name(e.raw_os_error().unwrap_or(0));
        format!("http_control {}: a token cannot be written there: {why}", path.display())
    })
}

impl Web {
    /// An event, for all who watch.
    pub(super) fn tell_watchers(&mut self, json: &Value, now: Duration, again: &mut Vec<usize>) {
        if self.pages.are_watched() {
            let bytes = http::message("event", json);
            let watchers = self.pages.watchers.clone();
            watchers.into_iter().for_each(|token| self.push(token, &bytes, now, again));
        }
    }

    /// Lines, for all who read this service: made text once, however many they are.
    pub(super) fn tell_readers(
        &mut self,
        id: ServiceId,
        name: &str,
        fresh: &[Line],
        now: Duration,
        again: &mut Vec<usize>,
    ) {
        let mine: Vec<usize> =
            self.pages.readers.iter().filter(|(_, ids)| ids.contains(&id)).map(|(token, _)| *token).collect();
        if mine.is_empty() {
            return;
        }
        let bytes: Vec<u8> = fresh.iter().flat_map(|l| http::message("line", &line(name, l))).collect();
        for token in mine {
            self.push(token, &bytes, now, again);
        }
    }

    fn push(&mut self, token: usize, bytes: &[u8], now: Duration, again: &mut Vec<usize>) {
        self.server.push(token, bytes, now);
        if self.server.serve(token, now) == Step::More {
            again.push(token);
        }
    }
}

impl Reactor {
    /// It is time to say how things are: to those who watch when all have been measured, to the others that we are there.
    pub(super) fn tick_pages(&mut self, web: &mut Web, now: Duration) {
        let Web { server, pages, .. } = web;
        pages.watchers.retain(|token| server.streams(*token));
        pages.readers.retain(|(token, _)| server.streams(*token));
        let anybody = pages.are_watched() || pages.are_read();
        pages.tick = anybody.then_some(now + TICK);
        if pages.are_watched() {
            web.tell_state = true;
            web.round.get_or_insert_default();
        }
        for token in web.pages.readers.iter().map(|(token, _)| *token).collect::<Vec<_>>() {
            web.push(token, http::comment(), now, &mut self.again);
        }
    }

    /// Everybody has been measured.
    pub(super) fn tell_state(&mut self, web: &mut Web, now: Duration) {
        if !std::mem::take(&mut web.tell_state) || !web.pages.are_watched() {
            return;
        }
        let state = self.state_for_pages(web);
        let watchers = web.pages.watchers.clone();
        watchers.into_iter().for_each(|token| web.push(token, &state, now, &mut self.again));
    }

    fn state_for_pages(&self, web: &Web) -> Vec<u8> {
        let counts = web.server.counts().clone();
        http::message("state", &http::rows(&self.view(web, &counts, true), web.pages.token.is_some()))
    }

    /// A page begins to look.
    pub(super) fn begin_stream(&mut self, web: &mut Web, token: usize, who: &Who, now: Duration) {
        let ids = match who {
            Who::All => Vec::new(),
            Who::Named(name) => self.named(name, true),
        };
        if *who != Who::All && ids.is_empty() {
            return web.server.answer(token, &nobody(), now);
        }
        if !web.server.begin_stream(token, now) {
            return;
        }
        web.pages.tick.get_or_insert(now + TICK);
        let first = match who {
            Who::All => {
                web.pages.watchers.push(token);
                let frame = self.frame();
                let skip = self.journal.last(usize::MAX).count().saturating_sub(EVENTS);
                let shown = self.journal.last(usize::MAX).skip(skip);
                let mut bytes: Vec<u8> = shown.flat_map(|e| http::message("event", &event(&frame, e))).collect();
                bytes.extend(self.state_for_pages(web));
                bytes
            }
            Who::Named(_) => {
                let bytes = self.lines_for_pages(&ids);
                web.pages.readers.push((token, ids));
                bytes
            }
        };
        web.push(token, &first, now, &mut self.again);
    }

    fn lines_for_pages(&self, ids: &[ServiceId]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for id in ids {
            let at = id.0 as usize;
            let (Some(s), Some(w)) = (self.machine.services().get(at), self.workers.get(at)) else { continue };
            if s.spec.log.mode == LogMode::Inherit {
                let reason = "its output is not captured (log = inherit): log = tee or capture shows it here";
                bytes.extend(http::message("none", &json!({"reason": reason})));
            }
            let shown = w.ring.last(LINES);
            bytes.extend(shown.iter().flat_map(|l| http::message("line", &line(&s.spec.name, l))));
        }
        bytes
    }

    pub(super) fn explained(&self, name: &str) -> Response {
        match self.named(name, true) {
            ids if ids.is_empty() => nobody(),
            ids => Response::json(200, &self.explain(&ids, false)),
        }
    }

    pub(super) fn reported(&mut self, name: &str) -> Response {
        match self.named(name, true) {
            ids if ids.is_empty() => nobody(),
            _ => Response::json(200, &json!({"report": self.last_report(name)})),
        }
    }

    /// Does what was asked for in this turn, now that the room of the pages is where it belongs.
    #[inline(never)]
    pub(super) fn do_deeds(&mut self) {
        let Some(web) = self.web.as_mut() else { return };
        if web.pages.deeds.is_empty() {
            return;
        }
        let mut deeds = std::mem::take(&mut web.pages.deeds);
        let late = deeds.split_off(deeds.len().min(DEEDS));
        if !late.is_empty() {
            self.again.push(super::HTTP.0);
        }
        web.pages.deeds = late;
        for (token, deed, name) in deeds {
            let response = self.do_deed(deed, &name);
            let now = self.clock.now();
            if let Some(web) = self.web.as_mut() {
                web.server.answer(token, &response, now);
            }
            self.again.push(token);
        }
    }

    fn do_deed(&mut self, deed: Deed, name: &str) -> Response {
        let services = self.named(name, false);
        if services.is_empty() {
            return nobody();
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if let Some(web) = self.web.as_mut() {
            (web.pages.ticket, web.pages.reply) = (Some(ticket), None);
        }
        let request = match deed {
            Deed::Start => Request::Start { services },
            Deed::Stop => Request::Stop { services, timeout: None },
            Deed::Restart => Request::Restart { services, force: false, alone: false },
        };
        let by = By { kind: ByKind::Control, signal: None, pid: None, uid: None };
        self.feed(Event::Asked { ticket, by, request });
        self.keep_wishes();
        let reply = self.web.as_mut().and_then(|web| {
            web.pages.ticket = None;
            web.pages.reply.take()
        });
        match reply {
            Some(Reply::Refused { reason, .. }) => {
                Response::json(409, &json!({"error": {"code": "refused", "message": reason}}))
            }
            _ => Response::json(202, &json!({"service": name, "asked": deed.word()})),
        }
    }
}

fn nobody() -> Response {
    Response::json(404, &json!({"error": {"code": "no-such-service", "message": "there is no service of this name"}}))
}
