//! The hall: the only loop. It waits, collects what happened, lets the machine judge, and does what the machine says. It
//! decides nothing itself.
//!
//! One turn has fixed phases: words of workers, output (a bounded amount), signals, deaths (what a worker said stands before
//! its death), probes, requests, deadlines (deaths and words before judgement). mio gives no order among its events; this
//! order makes a run reproducible.

mod after;
mod closers;
mod deaths;
mod exec_probe;
mod handle;
mod hooks;
mod inspect;
mod last_words;
mod launch;
mod launching;
mod link;
mod links;
mod main_pid;
mod measure;
mod orphans;
mod outputs;
mod pages;
mod perform;
mod ports;
mod probes;
mod reads;
mod record;
mod reload;
mod requests;
mod screen;
mod setup;
mod telling;
mod upward;
mod usage;
mod wakes;
mod web;

use crate::control::{Frame, Journal, Server, Turn};
use crate::logs::{LogFile, Sink};
use crate::machine::*;
use crate::spec::{Form, Instance};
use crate::sys::clock::{self, Clock};
use crate::sys::signals::Signals;
use crate::sys::spawn::{Spawner, Status};
use crate::sys::{cgroup, tree};
use mio::{Events, Poll, Token};
use outputs::Output;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

pub(crate) use handle::Wish;
pub(crate) use setup::run_all;

/// Events of one poll.
const EVENTS: usize = 256;
/// Actions for which there is room from one turn to the next.
const SPARE: usize = 64;
/// Of one turn.
const TOKENS: usize = 64 * EVENTS;
/// A loop that comes this late to its own deadline, or a spawn that takes this long, is told of.
const LATE: Duration = Duration::from_millis(500);
/// Pids named in one event; more are only counted.
const NAMED_PIDS: usize = 64;

/// Where our log lines come from.
const HERE: &str = module_path!();

const SIGNALS: Token = Token(0);
const CONTROL: Token = Token(1);
const SINKS: [Token; 2] = [Token(2), Token(3)];
const ENV_FILES: Token = Token(5);
const HTTP: Token = Token(6);
/// Tokens from here on are given out once and never again, so that a late event meets nobody.
const FIRST_TOKEN: usize = 16;

/// The process of one generation.
struct Proc {
    generation: Generation,
    pid: i32,
    /// None where the kernel, or a filter, gives none.
    pidfd: Option<OwnedFd>,
    own_group: bool,
}

/// What the reactor keeps for one service beside the machine's state.
struct Worker {
    /// Of the service whose place this is.
    name: String,
    proc: Option<Proc>,
    /// The control group of the current generation, until nothing lives in it.
    group: Option<cgroup::Group>,
    marks: tree::Marks,
    ring: crate::logs::Ring,
    /// `log_file` and `log_file_stderr`.
    files: [Option<Box<LogFile>>; 2],
    /// Who got the stop signal of this generation one by one, and the group that got it as a whole.
    told: Vec<i32>,
    told_group: Option<i32>,
    /// When that was, since the start of the machine.
    told_at: Duration,
    /// Pipes of its output, of all generations of which some are open.
    pipes: Vec<usize>,
    /// The channels of the current generation, by dialect and token.
    links: Vec<(Dialect, usize)>,
    /// The memory file of its lanes.
    lanes: Option<OwnedFd>,
    /// Datagrams of senders that may not speak for it.
    denied: links::Denied,
    /// What each of its hooks is doing, in the order of the settings.
    hooks: Vec<hooks::Runner>,
    /// A start that its pre-start hooks hold up.
    held: Option<Box<hooks::Held>>,
    /// A start whose exec has not come.
    launching: Option<Box<launching::Launching>>,
    /// The first of two looks at it.
    first_look: Option<Box<inspect::First>>,
    /// Threads and descriptors, taken down before a kill.
    gathered: Option<Box<inspect::Gathered>>,
    /// How long the machine had slept at its last sign of life.
    slept: Duration,
    /// Its own word for who is the main process when the present one ends (MAINPID).
    named: main_pid::Named,
}

/// A client that waits for the machine's answer.
struct Ticketed {
    client: usize,
    id: Value,
    services: Vec<ServiceId>,
}

/// A client that follows.
struct Follower {
    client: usize,
    id: Value,
    /// In order. None named: all, also those that a reload will add.
    services: Vec<ServiceId>,
    events: bool,
}

impl Follower {
    fn follows(&self, id: ServiceId) -> bool {
        self.services.is_empty() || self.services.binary_search(&id).is_ok()
    }
}

struct Reactor {
    clock: Clock,
    poll: Poll,
    signals: Signals,
    spawner: Spawner,
    machine: Supervisor,
    instance: Instance,
    workers: Vec<Worker>,
    /// Whose main process is whose.
    mains: BTreeMap<i32, ServiceId>,
    /// Commands of `give_up`, by pid: whose, and how far it is, which must be kept for as long as it is on its way.
    give_ups: BTreeMap<i32, (ServiceId, Option<Status>)>,
    /// Who has hooks: of thousands of services often none.
    hooked: Vec<usize>,
    journal: Journal,
    server: Option<Server>,
    tickets: BTreeMap<Ticket, Ticketed>,
    followers: Vec<Follower>,
    next_ticket: u64,
    next_token: usize,
    outputs: BTreeMap<usize, Box<Output>>,
    reads: reads::Reads,
    links: BTreeMap<usize, Box<link::Link>>,
    /// Where notify sockets are made.
    places: link::Places,
    /// Whose main process was named more often than is looked at.
    naming: BTreeSet<ServiceId>,
    /// Descriptors that came over channels.
    closers: closers::Closers,
    /// What is read from a channel, and what it said: kept, so that a beat allocates nothing.
    scratch: Vec<u8>,
    heard: Vec<link::Came>,
    spare: Actions,
    /// Workers whose output has just shown that they are ready.
    lines_seen: Vec<(ServiceId, Generation)>,
    store: crate::recorder::Store,
    /// Reports that were ordered.
    pending: record::Orders,
    sampler: Option<crate::sys::sample::Sampler<ServiceId>>,
    /// What those use whom a client watches.
    watched: Option<usage::Watched>,
    oom_before: Option<measure::OomCount>,
    own_kills: cgroup::OwnKills,
    /// Such kills since then that explain no death yet; looked up once for all that died together.
    oom_round: Option<measure::OomCount>,
    /// When it is looked at what watchdogs have left that were killed.
    tidy_due: Option<Duration>,
    wakes: wakes::Wakes,
    /// The channel that has words for its worker which are not sent yet.
    speaks_to: Option<usize>,
    /// In this turn nothing has come but signals.
    only_deaths: bool,
    /// What waits until the starts that follow from a death are under way.
    after: after::After,
    /// What the last worker got of variables.
    given: Option<launch::Given>,
    /// `/dev/null`, for the workers that read nothing.
    null: Option<std::fs::File>,
    /// Of commands of our own.
    environment: std::sync::Arc<Vec<(std::ffi::OsString, std::ffi::OsString)>>,
    /// Who is to be measured when the actions of this moment are done: one pass for all.
    to_measure: Vec<(ServiceId, Generation)>,
    /// Probes under way.
    tries: probes::Tries,
    /// What commands of ours have left.
    orphans: orphans::Orphans,
    /// Starts that wait for others to leave their ports.
    freeing: Vec<ports::Freeing>,
    /// Starts that were called off before they were begun.
    called_off: Vec<(ServiceId, Generation)>,
    /// Children that look for the file that a start waits for: whose, and which.
    looks: BTreeMap<i32, (ServiceId, std::path::PathBuf)>,
    /// By token: whose exec has not come.
    launching: BTreeMap<usize, ServiceId>,
    /// Pre-start hooks and children of starts of which nothing came: killed, and still to be reaped.
    loose: Vec<i32>,
    /// In the prefix form: descriptors that were open before us and pass on to the worker.
    inherited: Vec<i32>,
    /// The id of the last report of each service.
    reports: Vec<Option<String>>,
    sinks: [Option<Sink>; 2],
    /// Sources that had more than their share: looked at again without waiting.
    again: Vec<usize>,
    /// Children that were there before us and are nobody's worker.
    before: Vec<i32>,
    cgroups: Option<cgroup::Home>,
    init: bool,
    shared_group: bool,
    /// On a terminal, with a worker of another user in a session of its own.
    apart: bool,
    farewell: bool,
    me: i32,
    /// Marks the processes of this watchdog in their environment.
    invocation: String,
    /// Just before the last look at the signals: a worker that was not reaped then was alive. Not later, because we may
    /// be stopped at any point of a turn.
    awake: Duration,
    exit: Option<u8>,
    /// That this turn was held up has been told.
    held_up: bool,
    /// What the services are read from again.
    loader: Option<crate::Loader>,
    /// Who watches, and what it wants to show.
    observer: Option<Box<dyn crate::Observer>>,
    screen: Vec<u8>,
    /// Whether it was told that a reader that is behind or gone did not get all of it, since it fell behind.
    told_lost: bool,
    /// Wishes of other threads.
    wishes: Option<(std::sync::mpsc::Receiver<Wish>, std::sync::Arc<mio::Waker>)>,
    /// The wishes of people as they were last written down.
    kept_wishes: String,
    /// Files of variables, and when a change of them is acted upon.
    env_files: Option<crate::sys::watch::Watch>,
    env_due: Option<Duration>,
    /// Whoever started us and listens.
    upward: Option<upward::Upward>,
    /// Health and metrics over HTTP.
    web: Option<web::Web>,
}

impl Reactor {
    fn now(&self) -> MonoTime {
        MonoTime(self.clock.now())
    }

    /// Runs until the machine says that it is over; the status is the watchdog's.
    fn run(mut self: Box<Self>) -> u8 {
        self.begin();
        let mut events = Events::with_capacity(EVENTS);
        let mut tokens = Vec::new();
        loop {
            if let Some(status) = self.exit {
                self.leave();
                match self.instance.form {
                    Form::Library => self.take_apart(),
                    // The kernel takes all of it back at once; taking it apart piece by piece is time the caller waits.
                    Form::Prefix | Form::Up => std::mem::forget(self),
                }
                return status;
            }
            self.wait(&mut events);
            self.collect(&mut events, &mut tokens);
            tokens.extend(self.again.drain(..).map(Token));
            tokens.sort_unstable();
            tokens.dedup();
            self.turn(&tokens);
            #[cfg(feature = "counted")]
            crate::waste::one();
            #[cfg(debug_assertions)]
            Reactor::panic_if_asked();
        }
    }

    #[inline(never)]
    fn take_apart(self: Box<Self>) {}

    /// The first starts. Apart from the loop: what is on its stack here would stay for all its life.
    #[inline(never)]
    fn begin(&mut self) {
        #[cfg(feature = "counted")]
        crate::waste::one();
        let mut out = Actions::new();
        self.machine.begin(self.now(), &mut out);
        self.starts_first();
        self.perform(out);
        self.finish_starts();
        self.tend_reports();
        self.turn_shown();
        self.speak_upward();
    }

    /// The tests' way to see what a panic of ours does to the worker (case DEA-04), once the named file is there: a panic,
    /// or the end that the file names. Not in a release build.
    #[cfg(debug_assertions)]
    fn panic_if_asked() {
        let asked = std::env::var_os("WATCHDOG_DEBUG_PANIC").and_then(|file| std::fs::read_to_string(file).ok());
        match asked.as_deref().map(str::trim) {
            None => {}
            Some("abort") => std::process::abort(),
            Some("overflow") => drop(std::hint::black_box(overflow(1))),
            Some(_) => panic!("asked for by WATCHDOG_DEBUG_PANIC"),
        }
    }

    /// Waits for the first thing to happen, without limit if nothing is due.
    fn wait(&mut self, events: &mut Events) {
        let now = self.clock.now();
        let filing = self.reads.compresses() && self.compress_some();
        let busy = !self.again.is_empty() || self.reads.are_due() || filing;
        let machine = self.machine.next_deadline().map(|at| at.0);
        let server = self.server.as_ref().and_then(Server::next_deadline);
        let due = machine
            .into_iter()
            .chain(server)
            .chain(self.hooks_deadline())
            .chain(self.launches_deadline())
            .chain(self.ports_deadline())
            .chain(self.env_due)
            .chain(self.tries.next_deadline())
            .chain(self.orphans.next_deadline())
            .chain(self.closers.next_deadline())
            .chain(self.pending.due())
            .chain(self.after.due())
            .chain(self.tidy_due)
            .chain(self.wakes.due())
            .chain(self.named_deadline())
            .chain(self.upward.as_ref().and_then(upward::Upward::next_deadline))
            .chain(self.web.as_ref().and_then(web::Web::next_deadline))
            .min();
        let timeout = if busy { Some(Duration::ZERO) } else { due.map(|at| at.saturating_sub(now)) };
        // With every signal blocked, EINTR means that we were stopped and continued: `awake` stays what it was, so that
        // nobody gets credit for the time that we slept through (case RES-19).
        while let Err(e) = self.poll.poll(events, timeout) {
            if e.kind() != std::io::ErrorKind::Interrupted {
                events.clear();
                break;
            }
            self.resume_show();
            self.turn_shown();
        }
        if let Some(late) = due.map(|at| self.clock.now().saturating_sub(at)).filter(|late| *late >= LATE) {
            self.tell_own(What::Stall { late });
        }
    }

    /// All that has happened, not the first part of it: words of a worker must not wait behind the output of thousands, which
    /// is read in many turns.
    fn collect(&mut self, events: &mut Events, tokens: &mut Vec<Token>) {
        tokens.clear();
        loop {
            let before = tokens.len();
            tokens.extend(events.iter().map(|e| e.token()));
            self.note_ends(events);
            let more = tokens.len() - before == EVENTS && tokens.len() < TOKENS;
            if !more || self.poll.poll(events, Some(Duration::ZERO)).is_err() {
                return;
            }
        }
    }

    fn turn(&mut self, tokens: &[Token]) {
        let looked = self.clock.now();
        self.held_up = false;
        self.begin_turn(tokens);
        // What has begun comes before all that it does.
        for token in tokens.iter().filter(|t| t.0 >= FIRST_TOKEN) {
            self.serve_launch(token.0);
        }
        // Words first: they are few, and a flood of output must not hold them up. Both come before deaths and before judgement.
        for token in tokens.iter().filter(|t| t.0 >= FIRST_TOKEN) {
            self.serve_link(token.0);
        }
        self.look_at_those_named();
        self.read_outputs(tokens);
        if tokens.iter().any(|t| SINKS.contains(t)) {
            self.flush_sinks();
        }
        let mut received = Vec::new();
        if tokens.contains(&SIGNALS) {
            self.signals.drain(&mut received);
            self.on_signals(&received);
        }
        // Whoever is dead is not judged by what its probes have seen of its death.
        for token in tokens.iter().filter(|t| t.0 >= FIRST_TOKEN) {
            self.serve_try(token.0);
        }
        self.on_requests(tokens);
        if self.web.is_some() {
            self.on_web(tokens);
        }
        if tokens.contains(&crate::api::WAKER) {
            self.on_wishes();
        }
        self.look_at_closers();
        self.end_late_tries();
        self.end_what_tries_left();
        if self.env_files.is_some() || self.env_due.is_some() {
            self.on_env_files(tokens.contains(&ENV_FILES));
        }
        let mut out = std::mem::take(&mut self.spare);
        self.machine.handle_timeout(self.now(), &mut out);
        self.starts_first();
        self.perform(out);
        self.wake_in_time();
        self.end_late_hooks();
        self.end_late_launches();
        self.free_ports();
        self.finish_starts();
        self.tend_reports();
        self.flush_files();
        self.drop_clients();
        // Stopped in the middle of a turn: the deadlines of it were judged late, and the next ones are not.
        let took = self.clock.now().saturating_sub(looked);
        if took >= LATE && !self.held_up {
            self.tell_own(What::Stall { late: took });
        }
        self.turn_shown();
        self.speak_upward();
        // Lines of our own that stderr did not take before.
        log::logger().flush();
        self.awake = looked;
    }

    /// One event to the machine, and what follows from it.
    fn feed(&mut self, event: Event) {
        self.count(&event);
        let mut out = std::mem::take(&mut self.spare);
        self.machine.handle(self.now(), event, &mut out);
        self.perform(out);
    }

    /// Does all of it; what comes to light by doing it is judged at once and done as well.
    fn perform(&mut self, out: Actions) {
        let mut todo = VecDeque::from(out);
        self.call_off(&mut todo);
        while let Some(action) = todo.pop_front() {
            if !matches!(action, Action::Say { .. }) {
                self.send_words();
            }
            if let Some(event) = self.act(action) {
                self.count(&event);
                let mut more = Actions::new();
                self.machine.handle(self.now(), event, &mut more);
                let called_off = more.iter().any(|action| matches!(action, Action::CancelSpawn { .. }));
                todo.extend(more);
                if called_off {
                    self.call_off(&mut todo);
                }
            }
        }
        self.send_words();
        // The buffer serves again: a beat allocates nothing. What the start of all services needed is given back.
        self.spare = Some(Vec::from(todo)).filter(|todo| todo.capacity() <= SPARE).unwrap_or_default();
        self.measure();
    }

    /// Starts that have not been done and are not wanted any more: a stop wins over a pending start.
    fn call_off(&mut self, todo: &mut VecDeque<Action>) {
        if todo.iter().any(|action| matches!(action, Action::CancelSpawn { .. })) {
            self.call_off_some(todo);
        }
    }

    #[inline(never)]
    fn call_off_some(&mut self, todo: &mut VecDeque<Action>) {
        let mut off = BTreeSet::new();
        for action in &*todo {
            if let Action::CancelSpawn { service, generation } = action {
                off.insert((*service, *generation));
            }
        }
        todo.retain(|action| {
            let Action::Spawn { service, generation } = action else { return true };
            let start = (*service, *generation);
            if off.contains(&start) {
                self.called_off.push(start);
            }
            !off.contains(&start)
        });
    }

    fn frame(&self) -> Frame<'_> {
        Frame { now: self.now(), wall: clock::wall(), services: self.machine.services(), reports: &self.reports }
    }

    fn drop_clients(&mut self) {
        let now = self.clock.now();
        let Some(server) = self.server.as_mut() else { return };
        let gone = server.sweep(self.poll.registry(), now);
        self.forget_clients(&gone);
    }

    fn forget_clients(&mut self, gone: &[usize]) {
        if gone.is_empty() {
            return;
        }
        if self.server.as_ref().is_none_or(Server::is_alone) {
            self.nobody_watches();
        }
        self.followers.retain(|f| !gone.contains(&f.client));
        let lost: Vec<Ticket> =
            self.tickets.iter().filter(|(_, t)| gone.contains(&t.client)).map(|(ticket, _)| *ticket).collect();
        for ticket in lost {
            self.tickets.remove(&ticket);
            self.feed(Event::ClientGone { ticket });
        }
    }

    /// The end of the loop: what was captured is passed on as long as somebody takes it, files are closed, the socket
    /// goes.
    #[inline(never)]
    fn leave(&mut self) {
        self.end_all_tries();
        self.tell_what_waits();
        self.read_the_rest();
        self.do_what_waits_at_the_end();
        self.write_reports(usize::MAX);
        self.leave_message();
        self.end_show();
        for (id, reason) in std::mem::take(&mut self.machine.not_ready) {
            let name = self.machine.services().get(id.0 as usize).map_or("", |s| s.spec.name.as_str());
            log::error!("{name} was not ready: {reason}");
        }
        self.linger();
        self.await_hooks();
        self.flush_files();
        for worker in &mut self.workers {
            // Closed by hand, because nothing is dropped after this: what was half compressed is removed.
            worker.files.iter().flatten().for_each(|file| file.say_lost());
            worker.files = [None, None];
        }
        self.journal.close();
        log::logger().flush();
        if let Some(server) = self.server.take() {
            server.close();
        }
        if let Some(web) = &self.web {
            web.close();
        }
        // Nor are these dropped.
        self.links.values_mut().for_each(|link| link.file = None);
        self.places.close();
    }

    fn on_requests(&mut self, tokens: &[Token]) {
        let Some(server) = self.server.as_mut() else { return };
        let now = self.clock.now();
        let mut turn = Turn::default();
        if tokens.contains(&CONTROL) {
            server.accept(self.poll.registry(), now, &mut self.next_token, &mut turn);
        }
        for token in tokens {
            if server.knows(token.0) && server.serve(token.0, now, &mut turn) {
                self.again.push(token.0);
            }
        }
        for (pid, uid) in turn.denied {
            self.tell_own(What::ControlDenied { pid, uid });
        }
        self.forget_clients(&turn.gone);
        for (client, ask, peer) in turn.asks {
            self.on_ask(client, ask, peer);
        }
    }
}

/// A true fault: the stack comes to its end.
#[cfg(debug_assertions)]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 512]);
    if depth == 0 { 0 } else { overflow(depth.saturating_add(1)).wrapping_add(room[0]) }
}

/// At most [`NAMED_PIDS`] of them.
fn some(mut pids: Vec<i32>) -> Vec<i32> {
    pids.truncate(NAMED_PIDS);
    pids
}
