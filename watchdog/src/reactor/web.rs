//! The pages over HTTP, in the one loop: who asks is answered at once, but for the pages for which the services are measured
//! first. That goes in small portions with everything else between them, at most once a second however many ask, and never
//! when nobody does.

use super::pages::Pages;
use super::{HTTP, Reactor};
use crate::control::{self, Home};
use crate::http::{self, Counts, Hosts, Listener, Metrics, Over, Page, Piece, Readings, Step, Tally, View};
use crate::machine::*;
use crate::spec::{Http, HttpControl, Instance, MemoryLimit};
use crate::sys::reading::{self, Reading};
use mio::Poll;
use nix::sys::socket::{Backlog, listen};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Requests of one connection in one turn.
const REQUESTS_PER_TURN: usize = 8;
/// Connections that the kernel holds for us until we take them.
const QUEUE: i32 = 4096;
/// Pieces of long pages that are written in one turn, to all readers together: a few milliseconds.
const PIECES_PER_TURN: usize = 32;
/// Measuring goes on in the next turn after this time.
const PORTION: Duration = Duration::from_millis(2);

/// What is kept for the pages.
pub(super) struct Web {
    pub(super) server: http::Server,
    /// Where they are, as `status` shows it.
    at: String,
    home: Option<Home>,
    tally: Tally,
    readings: Readings,
    /// The metrics as they were last written, and when; of a long page no more than its first pieces.
    metrics: Option<(Duration, Metrics)>,
    /// What the watchdog itself used then.
    own: Option<Reading>,
    /// Pieces that may still be written in this turn.
    pieces_left: usize,
    /// Services are being measured.
    pub(super) round: Option<Round>,
    /// Who waits for that.
    waiting: Vec<(usize, Page)>,
    /// The page for people.
    pub(super) pages: Pages,
    /// It is told of the state when all have been measured.
    pub(super) tell_state: bool,
}

/// A measurement of all services, in portions.
#[derive(Default)]
pub(super) struct Round {
    /// The place of the next one.
    next: usize,
    /// Our children that are no main process. Looked for once: with thousands of children that takes as long as a portion may.
    strangers: Option<Vec<i32>>,
}

/// Begins to listen where that was asked for. A place that cannot be had is the end.
pub(super) fn open(instance: &Instance, control: Option<&Path>, poll: &Poll) -> Result<Option<Web>, String> {
    let http = &instance.http;
    let (listener, hosts, at, home) = match http {
        Http::Off => {
            if instance.http_control != HttpControl::Off {
                log::warn!("http_control: there is nothing to control without http");
            }
            return Ok(None);
        }
        Http::Tcp(address) => tcp(*address)?,
        Http::Unix(path) => unix(path)?,
    };
    let pages = Pages::new(&instance.http_control, control).inspect_err(|_| home.iter().for_each(Home::unlink))?;
    let server = http::Server::new(listener, hosts, poll.registry(), HTTP).map_err(|e| format!("http {at}: {e}"))?;
    log::info!("health and metrics at {}", shown(http, &at));
    let (tally, readings, waiting) = Default::default();
    Ok(Some(Web {
        server,
        at,
        home,
        tally,
        readings,
        metrics: None,
        own: None,
        pieces_left: 0,
        round: None,
        waiting,
        pages,
        tell_state: false,
    }))
}

fn shown(http: &Http, at: &str) -> String {
    match http {
        Http::Tcp(_) => format!("http://{at}/"),
        Http::Unix(_) | Http::Off => at.to_owned(),
    }
}

type Opened = (Listener, Hosts, String, Option<Home>);

#[inline(never)]
fn tcp(address: SocketAddr) -> Result<Opened, String> {
    let wrong = |e: std::io::Error| {
        let why = errno_name(e.raw_os_error().unwrap_or(0));
        format!("http {address}: {why}: take another port, or --http off")
    };
    let listener = mio::net::TcpListener::bind(address).map_err(wrong)?;
    // Whoever finds the queue full is dropped by the kernel and tries again a second later: a crowd that leaves as fast as
    // it comes must not do that to others.
    if let Ok(backlog) = Backlog::new(QUEUE) {
        let _ = listen(&listener, backlog);
    }
    let at = listener.local_addr().unwrap_or(address);
    let hosts = if address.ip().is_loopback() { Hosts::Loopback } else { Hosts::Any };
    if hosts == Hosts::Any {
        log::warn!("http {at}: whoever reaches this address can read the state of all services");
    }
    Ok((Listener::Tcp(listener), hosts, at.to_string(), None))
}

#[inline(never)]
fn unix(path: &Path) -> Result<Opened, String> {
    let bound = control::bind("http socket", path, false).map_err(|e| e.to_string())?;
    crate::sys::panic::remember_socket(path);
    // Who may open the file may ask.
    Ok((Listener::Unix(bound.listener), Hosts::Any, format!("unix:{}", path.display()), Some(bound.home)))
}

impl Web {
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.server.next_deadline().into_iter().chain(self.pages.next_deadline()).min()
    }

    /// Something that is counted.
    pub(super) fn note(&mut self, notice: &Notice) {
        self.tally.note(notice);
    }

    /// The place of a service has been given to another one.
    pub(super) fn leave(&mut self, id: ServiceId) {
        self.tally.leave(id);
        self.pages.leave(id);
    }

    /// The end.
    pub(super) fn close(&self) {
        if let Some(home) = &self.home {
            home.unlink();
        }
        self.pages.close();
    }
}

impl Reactor {
    #[inline(never)]
    pub(super) fn on_web(&mut self, tokens: &[mio::Token]) {
        let Some(mut web) = self.web.take() else { return };
        let now = self.clock.now();
        web.pieces_left = PIECES_PER_TURN;
        let mut all = web.server.sweep(self.poll.registry(), now);
        if tokens.contains(&HTTP) {
            let (new, more) = web.server.accept(self.poll.registry(), now, &mut self.next_token);
            all.extend(new);
            if more {
                self.again.push(HTTP.0);
            }
        }
        all.extend(tokens.iter().map(|t| t.0).filter(|t| web.server.knows(*t)));
        for token in all {
            self.serve_web(&mut web, token, now);
        }
        if web.pages.due(now) {
            self.tick_pages(&mut web, now);
        }
        if web.round.is_some() {
            self.measure_for(&mut web);
        }
        web.server.sweep(self.poll.registry(), now);
        self.web = Some(web);
        self.do_deeds();
    }

    /// One connection, as far as it can go.
    fn serve_web(&mut self, web: &mut Web, token: usize, now: Duration) {
        for _ in 0..REQUESTS_PER_TURN {
            match web.server.serve(token, now) {
                Step::Asked(request) => {
                    let page = http::page(&request.path);
                    let post = request.post.as_ref();
                    if let Some(no) = http::forbidden(&page, post, web.pages.token.as_deref()) {
                        web.server.answer(token, &no, now);
                        continue;
                    }
                    if let Page::Do(deed, name) = page {
                        return web.pages.add_deed(token, deed, name);
                    }
                    if page.wants_readings() && !web.readings.fresh(now) {
                        web.waiting.push((token, page));
                        web.round.get_or_insert_default();
                        return;
                    }
                    self.deliver(web, token, &page, now);
                }
                Step::Reads(_) if web.pieces_left == 0 => break,
                Step::Reads(piece) => self.write_piece(web, token, &piece),
                Step::More => break,
                Step::Rest | Step::Refused(_) => return,
            }
        }
        self.again.push(token);
    }

    /// The next portion; after the last one, the answers that waited for it.
    #[inline(never)]
    fn measure_for(&mut self, web: &mut Web) {
        let began = self.clock.now();
        let Round { next, strangers } = web.round.take().unwrap_or_default();
        let strangers = strangers.unwrap_or_else(|| self.stranger_children());
        for at in next..self.machine.services().len() {
            let id = ServiceId(at as u32);
            let generation = self.workers.get(at).and_then(|w| w.proc.as_ref()).map(|p| p.generation);
            if let Some(generation) = generation
                && let Some(pids) = self.measured(id, generation, &strangers)
                && let Some(found) = reading::read(&pids)
            {
                web.readings.take(id, generation, self.clock.now(), found, &mut web.tally);
            }
            if self.clock.now().saturating_sub(began) >= PORTION {
                // With all that has come meanwhile in between.
                web.round = Some(Round { next: at + 1, strangers: Some(strangers) });
                self.again.push(HTTP.0);
                return;
            }
        }
        let now = self.clock.now();
        web.readings.complete(now);
        for (token, page) in std::mem::take(&mut web.waiting) {
            self.deliver(web, token, &page, now);
            self.serve_web(web, token, now);
        }
        self.tell_state(web, now);
    }

    /// The answer, or the beginning of one that goes on.
    fn deliver(&mut self, web: &mut Web, token: usize, page: &Page, now: Duration) {
        let response = match page {
            Page::Stream(who) => return self.begin_stream(web, token, who, now),
            Page::Metrics => return self.deliver_metrics(web, token, now),
            Page::Explain(name) => self.explained(name),
            Page::Report(name) => self.reported(name),
            Page::Health(_)
            | Page::Detailed
            | Page::Ready(_)
            | Page::Alive(_)
            | Page::File(_)
            | Page::Do(..)
            | Page::Nowhere => {
                let counts: Counts = web.server.counts().clone();
                http::answer(page, &self.view(web, &counts, page.wants_readings()))
            }
        };
        web.server.answer(token, &response, now);
    }

    /// The metrics are written once for all who ask within a second, but for a page that is too long to be kept.
    fn deliver_metrics(&self, web: &mut Web, token: usize, now: Duration) {
        let whole = !web.server.takes_pieces(token);
        let known = web.metrics.take().filter(|(at, known)| match known {
            Metrics::Whole(_) => young(now, *at),
            Metrics::Pieces(_) => young(now, *at) && !whole,
        });
        let (at, metrics) = known.unwrap_or_else(|| {
            web.own = reading::own();
            (now, http::metrics(&self.view_in_part(web, &web.server.counts().clone()), whole))
        });
        match &metrics {
            Metrics::Whole(response) => web.server.answer(token, response, now),
            Metrics::Pieces(first) => web.server.answer_in_pieces(token, first, now),
        }
        web.metrics = Some((at, metrics));
    }

    /// The next piece of a page, now that one of its readers has come to it.
    fn write_piece(&self, web: &mut Web, token: usize, piece: &Piece) {
        web.pieces_left -= 1;
        if !piece.write_next(&self.view_in_part(web, &web.server.counts().clone())) {
            web.server.break_off(token);
        }
        if piece.is_long() {
            web.metrics = None;
        }
    }

    /// With what was read of the watchdog itself when the page was begun.
    fn view_in_part<'a>(&'a self, web: &'a Web, counts: &'a Counts) -> View<'a> {
        View { own: web.own, ..self.view(web, counts, false) }
    }

    pub(super) fn view<'a>(&'a self, web: &'a Web, counts: &'a Counts, measured: bool) -> View<'a> {
        View {
            frame: self.frame(),
            instance: &self.instance,
            control: self.server.as_ref().map(control::Server::path),
            http: &web.at,
            ending: self.machine.is_ending(),
            tally: &web.tally,
            readings: &web.readings,
            own: measured.then(reading::own).flatten(),
            counts,
            active: web.server.active(),
            part: (0, usize::MAX),
            layout: self.machine.layout(),
        }
    }

    /// What is counted of what happens, before it is judged. Nothing is where nobody can ask.
    pub(super) fn count(&mut self, event: &Event) {
        let Some(web) = self.web.as_mut() else { return };
        if let Event::Foreign { service, count, .. } = event {
            web.tally.denied(*service, *count);
        }
        let spec = |id: &ServiceId| self.machine.services().get(id.0 as usize).map(|s| &s.spec);
        if let Event::Probed { service, probe, answer, .. } = event
            && let Some(spec) = spec(service)
            && let Some(one) = spec.probes.get(usize::from(*probe))
        {
            web.tally.probed(*service, &one.name, spec.probes.len(), answer);
        }
        if let Event::Sampled { service, sample, .. } = event
            && let Some(limits) = spec(service).map(|s| &s.limits)
        {
            let above = |limit: u64| sample.rss_bytes.is_some_and(|rss| rss > limit);
            let memory = match limits.memory {
                Some(MemoryLimit::Bytes(n)) => above(n),
                Some(MemoryLimit::Auto) | None => false,
            };
            let cpu = limits.cpu.zip(sample.cpu_permille).is_some_and(|(limit, used)| used > limit * 10);
            let soft = limits.memory_soft.is_some_and(above);
            for (_, limit) in
                [(memory, Over::Memory), (soft, Over::SoftMemory), (cpu, Over::Cpu)].iter().filter(|(over, _)| *over)
            {
                web.tally.over(*service, *limit);
            }
        }
    }

    /// Takes the descriptors of those who ask back: a worker needs them.
    pub(super) fn shed_web(&mut self) -> bool {
        let Some(web) = self.web.as_mut() else { return false };
        web.server.shed(self.poll.registry());
        true
    }
}

fn young(now: Duration, at: Duration) -> bool {
    now.saturating_sub(at) < http::FRESH
}
