//! Which page a path is, and what stands on it. Pure: a function of the path and of what is known.

use super::assets::Asset;
use super::metrics::page as all_metrics;
use super::pieces::Piece;
use super::request::{DEEDS, Post};
use super::response::Response;
use super::server::Counts;
use super::tally::{Readings, Tally};
use crate::control::{Frame, about, health_of, millis, service, why as said};
use crate::machine::*;
use crate::spec::Instance;
use crate::sys::reading::Reading;
use serde_json::{Value, json};
use std::path::Path;
use std::rc::Rc;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// `/health`, `/health/NAME`
    Health(Who),
    /// `/health/detailed`
    Detailed,
    /// `/ready`, `/ready/NAME`
    Ready(Who),
    /// `/alive`, `/alive/NAME`
    Alive(Who),
    /// `/metrics`
    Metrics,
    /// `/` and what belongs to it
    File(Asset),
    /// `/stream`: what happens; `/stream/NAME`: what it writes
    Stream(Who),
    /// `/explain/NAME`
    Explain(String),
    /// `/report/NAME`: its last one
    Report(String),
    /// `/do/restart/NAME`
    Do(Deed, String),
    /// Any other.
    Nowhere,
}

/// What may be asked for over HTTP, by whoever has the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Start,
    Stop,
    Restart,
}

impl Deed {
    fn of(word: &str) -> Option<Deed> {
        match word {
            "start" => Some(Deed::Start),
            "stop" => Some(Deed::Stop),
            "restart" => Some(Deed::Restart),
            _ => None,
        }
    }

    /// As it stands in the path.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Deed::Start => "start",
            Deed::Stop => "stop",
            Deed::Restart => "restart",
        }
    }
}

/// Of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The watchdog with all its services.
    All,
    /// A service, or all replicas of one.
    Named(String),
}

/// What pages are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The services, and now.
    pub frame: Frame<'a>,
    /// The watchdog.
    pub instance: &'a Instance,
    /// Its control socket.
    pub control: Option<&'a Path>,
    /// Where these pages are.
    pub http: &'a str,
    /// The end has begun.
    pub ending: bool,
    /// What has been counted.
    pub tally: &'a Tally,
    /// What was measured last.
    pub readings: &'a Readings,
    /// The same of the watchdog itself.
    pub own: Option<Reading>,
    /// What has been of connections.
    pub counts: &'a Counts,
    /// How many there are.
    pub active: usize,
    /// The services that are looked at, by place: from the first number up to before the second.
    pub part: (usize, usize),
    /// Changes with the places of services.
    pub layout: u64,
}

/// The page of a path.
#[must_use]
pub(crate) fn page(path: &str) -> Page {
    if let Some(file) = Asset::at(path) {
        return Page::File(file);
    }
    if let Some((word, name)) = path.strip_prefix(DEEDS).and_then(|rest| rest.split_once('/')) {
        let name = decoded(name).filter(|name| !name.is_empty());
        return Deed::of(word).zip(name).map_or(Page::Nowhere, |(deed, name)| Page::Do(deed, name));
    }
    let mut parts = path.strip_prefix('/').unwrap_or_default().split('/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let who = match second {
        _ if third.is_some() => return Page::Nowhere,
        None => Who::All,
        Some(text) => match decoded(text) {
            Some(name) if !name.is_empty() => Who::Named(name),
            _ => return Page::Nowhere,
        },
    };
    match (first, who) {
        ("health", Who::Named(name)) if name == "detailed" => Page::Detailed,
        ("health", who) => Page::Health(who),
        ("ready", who) => Page::Ready(who),
        ("alive", who) => Page::Alive(who),
        ("metrics", Who::All) => Page::Metrics,
        ("stream", who) => Page::Stream(who),
        ("explain", Who::Named(name)) => Page::Explain(name),
        ("report", Who::Named(name)) => Page::Report(name),
        _ => Page::Nowhere,
    }
}

/// `%40` is an at sign. `None`: not well formed, or no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl Page {
    /// Whether the services are measured before it is made.
    #[must_use]
    pub(crate) fn wants_readings(&self) -> bool {
        match self {
            Page::Metrics | Page::Detailed | Page::Stream(Who::All) => true,
            Page::Health(_)
            | Page::Ready(_)
            | Page::Alive(_)
            | Page::File(_)
            | Page::Stream(Who::Named(_))
            | Page::Explain(_)
            | Page::Report(_)
            | Page::Do(..)
            | Page::Nowhere => false,
        }
    }
}

/// The metrics: of few services as one answer, of many in pieces.
#[derive(Clone, Debug)]
pub(crate) enum Metrics {
    /// All of them.
    Whole(Response),
    /// The first piece.
    Pieces(Rc<Piece>),
}

/// `/metrics`. `whole`: for a client that takes no pieces (HTTP/1.0).
#[must_use]
pub(crate) fn metrics(view: &View<'_>, whole: bool) -> Metrics {
    match Piece::first(view) {
        Ok(text) => Metrics::Whole(Response::metrics(text)),
        Err(_) if whole => Metrics::Whole(Response::metrics(all_metrics(view))),
        Err(piece) => Metrics::Pieces(piece),
    }
}

/// The answer of a page.
#[must_use]
pub(crate) fn answer(page: &Page, view: &View<'_>) -> Response {
    let who = match page {
        Page::Metrics => return Response::metrics(all_metrics(view)),
        Page::File(file) => return file.response(),
        // What is more than a function of the view is answered by the loop.
        Page::Stream(_) | Page::Explain(_) | Page::Report(_) | Page::Do(..) | Page::Nowhere => {
            return nothing("not-found", "there is no such page: / /health /ready /alive /metrics");
        }
        Page::Detailed => return detailed(view),
        Page::Health(who) | Page::Ready(who) | Page::Alive(who) => who,
    };
    let Some(pick) = view.pick(who) else {
        return nothing("no-such-service", "there is no service of this name");
    };
    match page {
        Page::Health(_) => health(view, &pick),
        Page::Ready(_) => ready(view, who, &pick),
        Page::Alive(_)
        | Page::Detailed
        | Page::Metrics
        | Page::File(_)
        | Page::Stream(_)
        | Page::Explain(_)
        | Page::Report(_)
        | Page::Do(..)
        | Page::Nowhere => alive(view, who, &pick),
    }
}

fn nothing(code: &str, message: &str) -> Response {
    Response::json(404, &json!({"error": {"code": code, "message": message}}))
}

/// What keeps a deed from being done, before anybody looks at the service: `allowed` is the token that is needed.
#[must_use]
pub(crate) fn forbidden(page: &Page, post: Option<&Post>, allowed: Option<&str>) -> Option<Response> {
    let no = |status, code: &str, message: &str| {
        Some(Response::json(status, &json!({"error": {"code": code, "message": message}})))
    };
    match (page, post, allowed) {
        (Page::Do(..), None, _) => Some(nothing("not-found", "a deed is asked for with POST")),
        (_, None, _) => None,
        (Page::Do(..), Some(_), None) => no(403, "refused", "nothing can be done over HTTP here (http_control)"),
        (Page::Do(..), Some(post), Some(_)) if post.foreign => no(403, "refused", "this comes from another page"),
        (Page::Do(..), Some(post), Some(token)) => match post.token.as_deref() {
            Some(said) if same(said, token) => None,
            Some(_) => no(401, "denied", "that is not the token of http_control"),
            None => no(401, "denied", "the token of http_control is needed: Authorization: Bearer TOKEN"),
        },
        (_, Some(_), _) => no(405, "usage", "GET and HEAD are answered here"),
    }
}

/// In a time that does not tell how much of it was right.
fn same(said: &str, token: &str) -> bool {
    let differs = said.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    said.len() == token.len() && differs == 0
}

fn yes_or_no(yes: bool) -> u16 {
    if yes { 200 } else { 503 }
}

impl<'a> View<'a> {
    /// The services that are there.
    pub(super) fn services(&self) -> impl Iterator<Item = &'a Service> {
        let (from, to) = self.part;
        self.frame.services.iter().take(to).skip(from).filter(|s| !s.removed)
    }

    /// `None`: nobody has this name.
    fn pick(&self, who: &Who) -> Option<Vec<&'a Service>> {
        let is_meant = |s: &&Service| match who {
            Who::All => true,
            Who::Named(name) => s.spec.name == *name || (s.spec.replica.is_some() && s.spec.base == *name),
        };
        let all: Vec<&Service> = self.services().filter(is_meant).collect();
        (*who == Who::All || !all.is_empty()).then_some(all)
    }
}

/// As `watchdog health` judges.
fn health(view: &View<'_>, pick: &[&Service]) -> Response {
    let ids: Vec<ServiceId> = pick.iter().map(|s| s.id).collect();
    let found = health_of(&view.frame, &ids);
    Response::json(yes_or_no(no_alarm(&found, pick)), &found)
}

/// `status`, and what there is to say of the watchdog itself.
fn detailed(view: &View<'_>) -> Response {
    let all: Vec<ServiceId> = view.services().map(|s| s.id).collect();
    let shape = |s: &Service| {
        let mut shown = service(&view.frame, s);
        fill(&mut shown, view.readings, s);
        shown
    };
    let services: Vec<Value> = view.services().map(shape).collect();
    let mut value = json!({"instance": about(&view.frame, view.instance, view.control, Some(view.http), view.ending)});
    value["services"] = services.into();
    let own = view.own;
    let found = health_of(&view.frame, &all);
    value["health"] = found["health"].clone();
    value["reason"] = found["reason"].clone();
    value["watchdog"] = json!({
        "version": view.instance.version,
        "uptime_ms": millis(view.frame.now.0),
        "memory": {"rss_bytes": own.and_then(|r| r.rss_bytes)},
        "cpu": {"seconds": own.map(|r| r.cpu.as_secs_f64())},
        "descriptors": own.and_then(|r| r.descriptors),
        "connections": {
            "active": view.active,
            "accepted": view.counts.accepted,
            "refused": view.counts.refused,
            "displaced": view.counts.displaced,
            "timed_out": view.counts.timed_out,
        },
    });
    let all: Vec<&Service> = view.services().collect();
    Response::json(yes_or_no(no_alarm(&found, &all)), &value)
}

/// Healthy, or down because nothing wants it up: no error, whatever is to be done about it.
fn no_alarm(found: &Value, pick: &[&Service]) -> bool {
    let on_purpose = |s: &&Service| s.is_down_on_purpose() || (!s.is_minded() && s.state == State::Done);
    found["health"] == Health::Healthy.word() || (!pick.is_empty() && pick.iter().all(on_purpose))
}

/// What no limit has asked for was measured for this page.
fn fill(shown: &mut Value, readings: &Readings, s: &Service) {
    let Some(reading) = readings.of(s) else { return };
    if shown["memory"]["rss_bytes"].is_null() {
        shown["memory"]["rss_bytes"] = json!(reading.now.rss_bytes);
    }
    if shown["cpu"]["percent"].is_null() {
        shown["cpu"]["percent"] = json!(reading.cpu_permille.map(|n| f64::from(n) / 10.0));
    }
}

/// Why something is not ready, the worst behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NotReady {
    /// What its start waits for is not there.
    Waiting,
    /// It is on its way up.
    Starting,
    /// It is not well, or is down and was to be up.
    Unhealthy,
    /// It is on its way down because somebody wants that, or is down for that reason.
    ShuttingDown,
}

impl NotReady {
    fn word(self) -> &'static str {
        match self {
            NotReady::Waiting => "waiting",
            NotReady::Starting => "starting",
            NotReady::Unhealthy => "unhealthy",
            NotReady::ShuttingDown => "shutting_down",
        }
    }
}

fn not_ready(s: &Service) -> Option<NotReady> {
    if s.is_ready() {
        return None;
    }
    Some(match s.state {
        State::Waiting => NotReady::Waiting,
        State::Starting { .. } => NotReady::Starting,
        State::Stopping { .. } | State::Stopped if s.goal == Goal::Down => NotReady::ShuttingDown,
        State::Running { .. }
        | State::Stopping { .. }
        | State::Stopped
        | State::Backoff { .. }
        | State::CrashLoop { .. }
        | State::Done
        | State::Failed
        | State::Stuck { .. } => NotReady::Unhealthy,
    })
}

/// Ready is who is asked for, or everybody who is wanted up and is not done.
fn ready(view: &View<'_>, who: &Who, pick: &[&Service]) -> Response {
    let named = *who != Who::All;
    let minded = |s: &&&Service| named || s.readiness().is_missing();
    let missing: Vec<(&Service, NotReady)> =
        pick.iter().filter(minded).filter_map(|s| Some((*s, not_ready(s)?))).collect();
    let worst = missing.iter().map(|(_, why)| *why).max();
    let reason = match worst {
        _ if view.ending => Some(NotReady::ShuttingDown),
        None if !named && !pick.iter().any(|s| s.is_minded()) => Some(NotReady::Waiting),
        worst => worst,
    };
    let listed: Vec<Value> = missing
        .iter()
        .map(|(s, why)| {
            json!({
                "service": s.spec.name, "state": s.state.word(), "reason": why.word(), "waiting_on": s.waiting_on,
                "why": said(&view.frame, s),
            })
        })
        .collect();
    let service = match who {
        Who::All => Value::Null,
        Who::Named(name) => name.as_str().into(),
    };
    let value = json!({
        "service": service, "ready": reason.is_none(), "reason": reason.map(NotReady::word), "not_ready": listed,
    });
    Response::json(yes_or_no(reason.is_none()), &value)
}

/// That this is answered says that the watchdog works; a service lives if its process does.
fn alive(view: &View<'_>, who: &Who, pick: &[&Service]) -> Response {
    let Who::Named(name) = who else {
        let (pid, uptime) = (nix::unistd::getpid().as_raw(), millis(view.frame.now.0));
        let value = json!({"service": null, "alive": true, "pid": pid, "uptime_ms": uptime});
        return Response::json(200, &value);
    };
    let states: Vec<&str> = pick.iter().map(|s| s.state.word()).collect();
    let lives = pick.iter().all(|s| lives(s));
    Response::json(yes_or_no(lives), &json!({"service": name, "alive": lives, "states": states}))
}

/// Its process is there; of one that has none, whether it is up.
pub(super) fn lives(s: &Service) -> bool {
    match s.spec.kind.has_process() {
        true => s.run.as_ref().is_some_and(|r| r.alive),
        false => s.active(),
    }
}
