//! A machine on a stage: events by short names, and every state as a place that can be reached.

use crate::machine::*;
use crate::spec::{Delays, GiveUp, MemoryLimit, Ready, Scope, Spec};
use std::time::Duration;

pub(super) const ID: ServiceId = ServiceId(0);

/// One service, its clock, and the actions of the last call.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) machine: Supervisor,
    pub(super) now: MonoTime,
    pub(super) out: Actions,
    tickets: u64,
}

/// `(code or negative signal)` as an exit.
pub(super) fn exit(how: i32) -> Exit {
    let (code, signal) = if how < 0 { (None, Some(-how)) } else { (Some(how), None) };
    Exit { code, signal, core: false, rss_peak_bytes: None, oom: Oom::No, cpu: Duration::ZERO }
}

impl Stage {
    pub(super) fn new(spec: Spec, setup: Setup) -> Stage {
        Stage::of(vec![spec], setup)
    }

    /// The first of them is the one that is looked at.
    pub(super) fn of(specs: Vec<Spec>, setup: Setup) -> Stage {
        let mut stage =
            Stage { machine: Supervisor::new(specs, setup), now: MonoTime::ZERO, out: Actions::new(), tickets: 0 };
        stage.machine.begin(stage.now, &mut stage.out);
        stage
    }

    pub(super) fn service(&self) -> &Service {
        &self.machine.services()[0]
    }

    pub(super) fn state(&self) -> State {
        self.service().state
    }

    pub(super) fn give(mut self, event: Event) -> Stage {
        self.out.clear();
        self.machine.handle(self.now, event, &mut self.out);
        self
    }

    pub(super) fn wait(mut self, d: Duration) -> Stage {
        self.now = self.now.after(d);
        self.out.clear();
        self.machine.handle_timeout(self.now, &mut self.out);
        self
    }

    pub(super) fn secs(self, s: u64) -> Stage {
        self.wait(Duration::from_secs(s))
    }

    /// To the next deadline.
    pub(super) fn due(self) -> Stage {
        let at = self.machine.next_deadline().unwrap_or(self.now);
        let d = at.since(self.now);
        self.wait(d)
    }

    pub(super) fn up(self) -> Stage {
        let generation = self.service().last;
        self.give(Event::Spawned { service: ID, generation, pid: 100 })
    }

    pub(super) fn no_exec(self, errno: i32) -> Stage {
        let generation = self.service().last;
        let failure = SpawnFailure { step: Step::Exec, errno, path: "/w".into() };
        self.give(Event::SpawnFailed { service: ID, generation, failure })
    }

    pub(super) fn ends(self, how: i32) -> Stage {
        self.ends_leaving(how, &[])
    }

    pub(super) fn ends_leaving(self, how: i32, left: &[i32]) -> Stage {
        let (generation, seen_alive) = (self.service().last, self.now);
        self.give(Event::Exited { service: ID, generation, exit: exit(how), seen_alive, left: left.to_vec() })
    }

    pub(super) fn tree(self, left: &[i32]) -> Stage {
        let generation = self.service().last;
        self.give(Event::Tree { service: ID, generation, left: left.to_vec() })
    }

    pub(super) fn ask(mut self, request: Request) -> Stage {
        self.tickets += 1;
        let by = By { kind: ByKind::Control, signal: None, pid: None, uid: None };
        let ticket = Ticket(self.tickets);
        self.give(Event::Asked { ticket, by, request })
    }

    pub(super) fn start(self) -> Stage {
        self.ask(Request::Start { services: vec![ID] })
    }

    pub(super) fn stop(self, grace: Option<u64>) -> Stage {
        self.ask(Request::Stop { services: vec![ID], timeout: grace.map(Duration::from_secs) })
    }

    pub(super) fn restart(self, force: bool) -> Stage {
        self.ask(Request::Restart { services: vec![ID], force, alone: false })
    }

    pub(super) fn signal(self, signal: i32) -> Stage {
        self.give(Event::Signalled { signal, origin: Origin::Process { pid: 1, uid: 0 } })
    }

    pub(super) fn key(self, signal: i32) -> Stage {
        self.give(Event::Signalled { signal, origin: Origin::Kernel })
    }

    // --- what a worker says, and what is seen of it ---

    pub(super) fn says(self, dialect: Dialect, news: News) -> Stage {
        let generation = self.service().last;
        self.give(Event::News { service: ID, generation, dialect, news })
    }

    pub(super) fn notify(self, news: News) -> Stage {
        self.says(Dialect::Notify, news)
    }

    pub(super) fn native(self, news: News) -> Stage {
        self.says(Dialect::Native, news)
    }

    /// The answer to the last ping.
    pub(super) fn pong(self) -> Stage {
        let nonce = self.service().run.as_ref().map(|r| r.beats.nonce);
        self.native(News::Pong(nonce))
    }

    /// A native worker that has answered once.
    pub(super) fn armed(self) -> Stage {
        self.up().native(News::Hello).pong()
    }

    pub(super) fn hands_over(self, pid: i32, told: bool) -> Stage {
        let generation = self.service().last;
        self.give(Event::HandedOver { service: ID, generation, pid, told })
    }

    pub(super) fn foreign(self, count: u64) -> Stage {
        let generation = self.service().last;
        self.give(Event::Foreign { service: ID, generation, count })
    }

    pub(super) fn lost(self, dialect: Dialect, fault: Option<&str>) -> Stage {
        let generation = self.service().last;
        self.give(Event::ChannelLost { service: ID, generation, dialect, fault: fault.map(Into::into) })
    }

    /// The evidence of two looks, at rest unless told otherwise.
    pub(super) fn evidence(self, facts: fn(&mut Evidence)) -> Stage {
        let mut evidence = Evidence { span: Duration::from_millis(200), threads: 3, ..Evidence::default() };
        facts(&mut evidence);
        let generation = self.service().last;
        self.give(Event::Evidence { service: ID, generation, evidence })
    }

    /// Both looks, and what they show.
    pub(super) fn looked_at(self, facts: fn(&mut Evidence)) -> Stage {
        let looking = |s: &Stage| s.service().timers.get(Timer::Verdict);
        let mut stage = self;
        while let Some(at) = looking(&stage) {
            let d = at.since(stage.now);
            stage = stage.wait(d);
        }
        stage.evidence(facts)
    }

    pub(super) fn holds(self, bytes: u64) -> Stage {
        self.sample(Some(bytes), None)
    }

    pub(super) fn sample(self, rss_bytes: Option<u64>, cpu_permille: Option<u32>) -> Stage {
        let (generation, at) = (self.service().last, self.now);
        self.give(Event::Sampled { service: ID, generation, sample: Sample { at, rss_bytes, cpu_permille } })
    }

    pub(super) fn seen_ready(self, by: ReadyBy) -> Stage {
        let generation = self.service().last;
        self.give(Event::SeenReady { service: ID, generation, by })
    }

    /// From deadline to deadline until this is told; how long that took.
    pub(super) fn until(mut self, name: &str) -> (Stage, Duration) {
        let begun = self.now;
        for _ in 0..10_000 {
            self = self.due();
            if self.told().contains(&name) {
                break;
            }
        }
        let took = self.now.since(begun);
        (self, took)
    }

    // --- what came of the last call ---

    /// What it was told.
    pub(super) fn words(&self) -> Vec<Word> {
        let word = |a: &Action| if let Action::Say { word, .. } = a { Some(word.clone()) } else { None };
        self.out.iter().filter_map(word).collect()
    }

    pub(super) fn pinged(&self) -> bool {
        self.words().iter().any(|w| matches!(w, Word::Ping(_)))
    }

    /// Causes of the reports that were ordered.
    pub(super) fn reports(&self) -> Vec<Cause> {
        let cause = |a: &Action| if let Action::Report(order) = a { Some(order.cause) } else { None };
        self.out.iter().filter_map(cause).collect()
    }

    pub(super) fn spawned(&self) -> bool {
        self.out.iter().any(|a| matches!(a, Action::Spawn { .. }))
    }

    pub(super) fn sent(&self) -> Vec<i32> {
        let signal = |a: &Action| if let Action::Signal { signal, .. } = a { Some(*signal) } else { None };
        self.out.iter().filter_map(signal).collect()
    }

    pub(super) fn told(&self) -> Vec<&'static str> {
        self.out.iter().filter_map(|a| if let Action::Tell(n) = a { Some(n.what.name()) } else { None }).collect()
    }

    pub(super) fn status(&self) -> Option<u8> {
        self.out.iter().find_map(|a| if let Action::Exit(status) = a { Some(*status) } else { None })
    }

    pub(super) fn answers(&self) -> Vec<(u64, bool)> {
        let answer = |a: &Action| match a {
            Action::Answer { ticket, reply } => {
                Some((ticket.0, matches!(reply, Reply::Done { .. } | Reply::Waited { reached: true, .. })))
            }
            Action::Spawn { .. }
            | Action::Signal { .. }
            | Action::Sweep { .. }
            | Action::LookAtTree { .. }
            | Action::CancelSpawn { .. }
            | Action::Say { .. }
            | Action::LookAtLanes { .. }
            | Action::LookAtPort { .. }
            | Action::Inspect { .. }
            | Action::Measure { .. }
            | Action::Gather { .. }
            | Action::Report(_)
            | Action::RunGiveUp { .. }
            | Action::EndGiveUp { .. }
            | Action::Farewell { .. }
            | Action::Suspend
            | Action::Probe { .. }
            | Action::EndProbes { .. }
            | Action::LookAtFile { .. }
            | Action::ReadFileAgain { .. }
            | Action::ReopenLogs
            | Action::Tell(_)
            | Action::Exit(_) => None,
        };
        self.out.iter().filter_map(answer).collect()
    }
}

/// Settings in which every state can be reached: code 78 gives up, the second crash is a crash loop.
pub(super) fn every_state() -> Spec {
    let mut spec = Spec { max_age_jitter: 0, ..Spec::default() };
    spec.stop.scope = Scope::Main;
    spec.restart.jitter = 0;
    spec.restart.delays = Delays::List(vec![Duration::from_secs(1)]);
    spec.restart.limit = 0;
    spec.restart.crash_loop_limit = 1;
    spec.restart.give_up = GiveUp::Exec(vec!["true".into()]);
    spec.limits.memory = Some(MemoryLimit::Bytes(100));
    spec.limits.memory_samples = 1;
    spec.limits.interval = Duration::from_secs(3600);
    spec
}

/// Every state and step, by the name of its column.
pub(super) fn places(down: bool) -> Vec<(&'static str, Stage)> {
    let new = || Stage::new(every_state(), Setup::default());
    let up = || new().up();
    let waiting = || Stage::new(Spec { ready: Ready::Reported, ..every_state() }, Setup::default()).up();
    let silent = || new().armed().until("hang").0;
    // The same way down or up: a stop or a restart that climbs the ladder.
    let end = |s: Stage| if down { s.stop(None) } else { s.restart(false) };
    let wish = |s: Stage| if down { s.stop(None) } else { s };
    let mut all = vec![
        ("Starting", wish(new())),
        ("Stopping term", end(up())),
        ("Stopping kill", end(up()).due()),
        ("Stopping sweep", wish(up().ends_leaving(1, &[7]))),
        ("Stopping sweep-kill", wish(up().ends_leaving(1, &[7])).secs(2)),
        ("Stuck main", end(up()).due().due()),
        ("Stuck tree", wish(up().ends_leaving(1, &[7])).secs(2).secs(1).tree(&[7])),
        ("Done", wish(up().ends(0))),
        ("Failed", wish(up().ends(78).give(Event::GiveUpRan { service: ID }))),
        ("Stopping ask", end(new().armed().native(News::TakesShutdown))),
        ("Stopping dump", wish(silent().looked_at(|_| ()))),
    ];
    if down {
        all.push(("Stopped", up().stop(None).ends(0)));
    } else {
        all.push(("Starting, waits for READY", waiting()));
        all.push(("Running", up()));
        all.push(("Running, armed", new().armed()));
        all.push(("Running, silent, first look", silent()));
        all.push(("Running, silent, second look", silent().due()));
        all.push(("Backoff", up().ends(1)));
        all.push(("CrashLoop", up().ends(1).due().up().ends(1)));
        all.push(("Failed command", up().ends(78)));
    }
    all.extend(super::among::places(down));
    all
}

/// An event, as what it does to a stage.
pub(super) type Deed = fn(Stage) -> Stage;

/// Every event by the name of its row.
pub(super) fn deeds() -> Vec<(&'static str, Deed)> {
    let mut all: Vec<(&'static str, Deed)> = vec![
        ("Spawned", |s| s.up()),
        ("SpawnFailed ENOENT", |s| s.no_exec(libc::ENOENT)),
        ("SpawnFailed EAGAIN", |s| s.no_exec(libc::EAGAIN)),
        ("SpawnFailed ETXTBSY", |s| s.no_exec(libc::ETXTBSY)),
        ("Exited 0", |s| s.ends(0)),
        ("Exited 1", |s| s.ends(1)),
        ("Exited 78", |s| s.ends(78)),
        ("Exited KILL", |s| s.ends(-9)),
        ("Exited 1, others left", |s| s.ends_leaving(1, &[7, 8])),
        ("Tree empty", |s| s.tree(&[])),
        ("Tree not empty", |s| s.tree(&[7])),
        ("Ready", |s| s.notify(News::Ready)),
        ("Pong", |s| s.pong()),
        ("Beat in another dialect", |s| s.notify(News::Beat)),
        ("Trigger", |s| s.notify(News::Trigger)),
        ("Extend 1 min", |s| s.notify(News::Extend(Duration::from_secs(60)))),
        ("Reloading", |s| s.notify(News::Reloading)),
        ("HandedOver", |s| s.hands_over(77, false)),
        ("Foreign", |s| s.foreign(3)),
        ("ChannelLost", |s| s.lost(Dialect::Native, None)),
        ("ChannelLost, garbage", |s| s.lost(Dialect::Native, Some("bad frame"))),
        ("Evidence deadlocked", |s| s.evidence(|_| ())),
        ("Evidence stopped", |s| s.evidence(|e| e.stopped = true)),
        ("Sampled over the limit", |s| s.holds(101)),
        ("GiveUpRan", |s| s.give(Event::GiveUpRan { service: ID })),
        ("Start", |s| s.start()),
        ("Stop", |s| s.stop(None)),
        ("Stop at once", |s| s.stop(Some(0))),
        ("Restart", |s| s.restart(false)),
        ("Restart by force", |s| s.restart(true)),
        ("Signal HUP (client)", |s| s.ask(Request::Signal { services: vec![ID], signal: 1 })),
        ("Reload", |s| s.ask(Request::Reload { services: vec![ID] })),
        ("Tell", |s| s.ask(Request::Tell { services: vec![ID], word: "flush".into() })),
        ("Wait stopped", |s| s.ask(Request::Wait { services: vec![ID], want: Want::Stopped, timeout: None })),
        ("Shutdown", |s| s.ask(Request::Shutdown)),
        ("TERM", |s| s.signal(15)),
        ("INT", |s| s.signal(2)),
        ("HUP", |s| s.signal(1)),
        ("TSTP of the terminal", |s| s.key(20)),
        ("ClientGone", |s| s.give(Event::ClientGone { ticket: Ticket(1) })),
        ("Alone", |s| s.give(Event::Alone)),
        ("time: next deadline", |s| s.due()),
        ("time: a day later", |s| s.secs(86_400)),
    ];
    all.extend(super::among::deeds());
    all
}
