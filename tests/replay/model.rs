//! What has to happen: the real machine, a virtual clock, and a world that follows the script to the letter.

use crate::script::{Child, End, Life, Order, Script};
use std::collections::VecDeque;
use std::time::Duration;
use watchdog_engine::machine::{
    Action, Actions, By, ByKind, Cause, Event, Exit, Generation, MonoTime, Notice, Oom, Origin, Reply, Request,
    ServiceId, Setup, Supervisor, Ticket, Timer, Want, What,
};
use watchdog_engine::signal_name;

/// Nothing happens by itself for so long: a moment of rest.
const REST: Duration = Duration::from_secs(10);
/// A longer story is not worth its time.
const LONGEST: Duration = Duration::from_millis(2600);
const MOST_STEPS: usize = 60;

/// How fast the world is.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// From a spawn to its success.
    pub(crate) exec: Duration,
    /// A run lives so much longer than its script says.
    pub(crate) longer: Duration,
    /// A run lived so long before its spawn was noticed.
    pub(crate) unseen: Duration,
    /// From a signal to the end that it causes.
    pub(crate) reaction: Duration,
    /// A timer is served so much later.
    pub(crate) late: Duration,
}

impl Pace {
    const fn of(exec: u64, longer: u64, unseen: u64, reaction: u64, late: u64) -> Pace {
        let ms = Duration::from_millis;
        Pace { exec: ms(exec), longer: ms(longer), unseen: ms(unseen), reaction: ms(reaction), late: ms(late) }
    }

    /// No time is lost anywhere: what takes time here takes at least as long in any world.
    const EAGER: Pace = Pace::of(0, 0, 0, 0, 0);
    const ALL: [Pace; 6] = [
        Pace::EAGER,
        Pace::of(1, 2, 1, 1, 1),
        Pace::of(30, 400, 0, 400, 10),
        Pace::of(60, 0, 50, 0, 200),
        Pace::of(0, 400, 0, 5, 0),
        Pace::of(50, 0, 50, 0, 0),
    ];
}

/// What has to happen, in order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An event, and when it comes at the earliest after the one before it.
    Event { line: String, not_before: Duration },
    /// Nothing happens by itself. So it looks then, so many runs have said that they are up, and this is done.
    Rest { status: String, ups: usize, order: Order },
}

/// A story: its steps, and what the clients were told in the order of their requests.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) steps: Vec<Step>,
    pub(crate) answers: Vec<String>,
    pub(crate) code: u8,
    /// Runs that began.
    pub(crate) starts: usize,
}

impl Story {
    /// As lines that can be compared.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |step: &Step| match step {
            Step::Event { line, .. } => line.clone(),
            Step::Rest { status, order, .. } => rest_line(status, *order),
        };
        self.steps.iter().map(line).chain(last_lines(&self.answers, i32::from(self.code))).collect()
    }
}

pub(crate) fn rest_line(status: &str, order: Order) -> String {
    format!("-- {status}; then {order:?}")
}

pub(crate) fn last_lines(answers: &[String], code: i32) -> Vec<String> {
    let answers = answers.iter().enumerate().map(|(n, a)| format!("== answer {}: {a}", n + 1));
    answers.chain([format!("== the watchdog ends with {code}")]).collect()
}

/// The story of a script, if it is one of those that are wanted, ends, is short enough, and is the same in every world.
pub(crate) fn story(script: &Script, wanted: impl Fn(&Story) -> bool) -> Option<Story> {
    let mut stories = Pace::ALL.iter().map(|pace| play(script, *pace));
    let first = stories.next()?.filter(wanted)?;
    let same = stories.all(|s| s.is_some_and(|s| s.lines() == first.lines()));
    same.then_some(first)
}

struct Play<'a> {
    script: &'a Script,
    pace: Pace,
    machine: Supervisor,
    now: MonoTime,
    begun: usize,
    ups: usize,
    alive: Option<Alive>,
    /// The child of a run that is over.
    left: Option<(Generation, Child)>,
    facts: Vec<(MonoTime, Fact)>,
    steps: Vec<Step>,
    last_event: MonoTime,
    answers: Vec<Option<String>>,
    exit: Option<u8>,
    race: bool,
}

struct Alive {
    generation: Generation,
    life: Life,
    frozen: bool,
    dying: bool,
}

#[derive(Clone, Copy)]
enum Fact {
    Dies(Generation, Exit),
    ChildDies(Generation),
}

fn play(script: &Script, pace: Pace) -> Option<Story> {
    let setup = Setup { prefix: true, ..Setup::default() };
    let mut play = Play {
        script,
        pace,
        machine: Supervisor::new(vec![script.spec.clone()], setup),
        now: MonoTime::ZERO,
        begun: 0,
        ups: 0,
        alive: None,
        left: None,
        facts: Vec::new(),
        steps: Vec::new(),
        last_event: MonoTime::ZERO,
        answers: Vec::new(),
        exit: None,
        race: false,
    };
    let mut out = Actions::new();
    play.machine.begin(play.now, &mut out);
    play.perform(out);
    // at the end: TERM, and INT twice for whoever does not hear it
    let mut orders = script.orders.iter().copied().chain([Order::Term, Order::Int, Order::Int]);
    while play.exit.is_none() {
        if play.race || play.steps.len() > MOST_STEPS || play.now.since(MonoTime::ZERO) > LONGEST {
            return None;
        }
        let next = play.next().filter(|at| at.since(play.now) < REST);
        match next {
            Some(at) => play.go_on(at),
            None => {
                let order = orders.next()?;
                play.rest(order);
            }
        }
    }
    let answers = play.answers.into_iter().map(|a| a.unwrap_or_else(|| "none".into())).collect();
    Some(Story { steps: play.steps, answers, code: play.exit?, starts: play.begun })
}

impl Play<'_> {
    fn next(&self) -> Option<MonoTime> {
        let due = self.machine.next_deadline().map(|at| at.after(self.pace.late));
        self.facts.iter().map(|f| f.0).chain(due).min()
    }

    /// To the next thing that happens: deaths before deadlines, as in the loop.
    fn go_on(&mut self, at: MonoTime) {
        self.now = self.now.max(at);
        let mut out = Actions::new();
        let fact = self.facts.iter().enumerate().filter(|(_, f)| f.0 <= self.now).min_by_key(|(_, f)| f.0);
        match fact.map(|(at, _)| at) {
            Some(at) => {
                let (_, fact) = self.facts.remove(at);
                if let Some(event) = self.fact(fact) {
                    self.machine.handle(self.now, event, &mut out);
                }
            }
            None => self.machine.handle_timeout(self.now, &mut out),
        }
        self.perform(out);
    }

    fn fact(&mut self, fact: Fact) -> Option<Event> {
        let service = ServiceId(0);
        match fact {
            Fact::Dies(generation, exit) => {
                let life = self.alive.take_if(|a| a.generation == generation)?.life;
                self.left = life.child.map(|child| (generation, child));
                let left = self.tree();
                Some(Event::Exited { service, generation, exit, seen_alive: self.now, left })
            }
            Fact::ChildDies(generation) => {
                self.left.take_if(|left| left.0 == generation)?;
                Some(Event::Tree { service, generation, left: Vec::new() })
            }
        }
    }

    fn tree(&self) -> Vec<i32> {
        self.left.iter().map(|_| 1).collect()
    }

    /// Does all of it, in the order of the loop.
    fn perform(&mut self, out: Actions) {
        let mut todo = VecDeque::from(out);
        while let Some(action) = todo.pop_front() {
            if let Some(event) = self.act(action) {
                let mut more = Actions::new();
                self.machine.handle(self.now, event, &mut more);
                todo.extend(more);
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { service, generation } => {
                self.now = self.now.after(self.pace.exec);
                let life = self.script.lives[self.begun.min(self.script.lives.len() - 1)];
                self.begun += 1;
                let own = match life.end {
                    End::Code(code) => Some(exit(Some(code), None)),
                    End::Signal(signal) => Some(exit(None, Some(signal))),
                    End::Obeys | End::Answers(_) | End::Deaf => None,
                };
                self.ups += usize::from(own.is_none());
                let lasts = Duration::from_millis(life.after).saturating_sub(self.pace.unseen) + self.pace.longer;
                let ends = self.now.after(lasts);
                self.facts.extend(own.map(|e| (ends, Fact::Dies(generation, e))));
                let dying = own.is_some();
                self.alive = Some(Alive { generation, life, frozen: false, dying });
                return Some(Event::Spawned { service, generation, pid: 2 });
            }
            Action::Signal { generation, signal, wake, .. } => self.signal(generation, signal, wake),
            Action::Sweep { generation, signal, .. } => {
                if let Some((_, child)) = self.left {
                    self.event(format!("signal-sent {} {} tree", generation.0, signal_name(signal)));
                    let heard = signal == libc::SIGKILL || matches!(child, Child::Obeys);
                    if heard {
                        self.facts.push((self.now.after(self.pace.reaction), Fact::ChildDies(generation)));
                    }
                }
            }
            Action::LookAtTree { service, generation } => {
                return Some(Event::Tree { service, generation, left: self.tree() });
            }
            Action::Answer { ticket, reply } => self.answers[ticket.0 as usize] = Some(answer(&reply)),
            Action::Tell(notice) => self.event(notice_line(&notice)),
            Action::Exit(status) => self.exit = Some(status),
            // These workers say nothing, and a report is no event.
            Action::CancelSpawn { .. }
            | Action::Say { .. }
            | Action::LookAtLanes { .. }
            | Action::LookAtPort { .. }
            | Action::Inspect { .. }
            | Action::Measure { .. }
            | Action::Gather { .. }
            | Action::Report(_)
            | Action::Probe { .. }
            | Action::EndProbes { .. }
            | Action::LookAtFile { .. }
            | Action::ReadFileAgain { .. }
            | Action::ReopenLogs => {}
            Action::RunGiveUp { .. } | Action::EndGiveUp { .. } | Action::Farewell { .. } | Action::Suspend => {
                self.race = true;
            }
        }
        None
    }

    fn signal(&mut self, generation: Generation, signal: i32, wake: bool) {
        let Some(worker) = self.alive.as_mut().filter(|a| a.generation == generation) else { return };
        // Who is about to end may hear a signal first, or not.
        self.race |= worker.dying;
        let end = match (signal, worker.life.end) {
            (libc::SIGKILL, _) => Some(exit(None, Some(signal))),
            (libc::SIGSTOP, _) => {
                worker.frozen = true;
                None
            }
            _ if worker.frozen && !wake => {
                // It waits with it until it is continued, and then the lower number comes first.
                self.race = true;
                None
            }
            (libc::SIGTERM | libc::SIGINT | libc::SIGQUIT, End::Answers(code)) => Some(exit(Some(code), None)),
            (libc::SIGTERM | libc::SIGINT | libc::SIGQUIT, End::Deaf) => None,
            _ => Some(exit(None, Some(signal))),
        };
        worker.frozen &= signal == libc::SIGSTOP || !wake;
        worker.dying |= end.is_some();
        self.facts.extend(end.map(|e| (self.now.after(self.pace.reaction), Fact::Dies(generation, e))));
        self.event(format!("signal-sent {} {} group", generation.0, signal_name(signal)));
    }

    /// Somebody does something.
    fn rest(&mut self, order: Order) {
        let service = &self.machine.services()[0];
        let status = format!(
            "{} {} cause {} generation {} streak {} restarts {} due {}",
            if service.goal == watchdog_engine::machine::Goal::Up { "up" } else { "down" },
            service.state.word(),
            service.cause.map_or("null", Cause::word),
            service.last.0,
            service.book.streak,
            service.book.total,
            service.timers.get(Timer::Restart).is_some(),
        );
        self.steps.push(Step::Rest { status, ups: self.ups, order });
        self.last_event = self.now;
        let services = vec![ServiceId(0)];
        let by = By { kind: ByKind::Control, signal: None, pid: Some(1), uid: Some(0) };
        let request = match order {
            Order::Term | Order::Int => {
                let signal = if matches!(order, Order::Int) { libc::SIGINT } else { libc::SIGTERM };
                let mut out = Actions::new();
                let origin = Origin::Process { pid: 1, uid: 0 };
                self.machine.handle(self.now, Event::Signalled { signal, origin }, &mut out);
                return self.perform(out);
            }
            Order::Stop => Request::Stop { services, timeout: None },
            Order::StopWithin(ms) => Request::Stop { services, timeout: Some(Duration::from_millis(ms)) },
            Order::Start => Request::Start { services },
            Order::Restart => Request::Restart { services, force: false, alone: false },
            Order::Force => Request::Restart { services, force: true, alone: false },
            Order::Signal(signal) => Request::Signal { services, signal },
            Order::Freeze => Request::Signal { services, signal: libc::SIGSTOP },
            Order::Wait("stopped") => Request::Wait { services, want: Want::Stopped, timeout: None },
            Order::Wait("ready") => Request::Wait { services, want: Want::Ready, timeout: None },
            Order::Wait(_) => Request::Wait { services, want: Want::Completed, timeout: None },
            Order::Shutdown => Request::Shutdown,
        };
        let ticket = Ticket(self.answers.len() as u64);
        self.answers.push(None);
        let mut out = Actions::new();
        self.machine.handle(self.now, Event::Asked { ticket, by, request }, &mut out);
        self.perform(out);
    }

    fn event(&mut self, line: String) {
        let not_before = self.now.since(self.last_event);
        self.last_event = self.now;
        // A tree that was killed is killed again until it is gone: how often is a matter of time.
        if !repeats(&self.steps, &line) {
            self.steps.push(Step::Event { line, not_before });
        }
    }
}

fn repeats(steps: &[Step], line: &str) -> bool {
    line.ends_with(" tree") && matches!(steps.last(), Some(Step::Event { line: last, .. }) if last == line)
}

fn exit(code: Option<i32>, signal: Option<i32>) -> Exit {
    Exit { code, signal, core: false, rss_peak_bytes: None, oom: Oom::No, cpu: Duration::ZERO }
}

fn answer(reply: &Reply) -> String {
    match reply {
        Reply::Done { .. } => "ok".into(),
        Reply::NotSo { .. } => "not so".into(),
        Reply::Refused { .. } => "refused".into(),
        Reply::TimedOut { .. } => "timeout".into(),
        Reply::Waited { reached, .. } => format!("reached {reached}"),
    }
}

/// An event without what depends on time: as `real_line` writes it from the JSON.
fn notice_line(notice: &Notice) -> String {
    let generation = notice.generation.map_or("null".into(), |g| g.0.to_string());
    let cause = notice.cause.map_or("null", Cause::word);
    let by = |by: &By| match by.kind {
        ByKind::Signal => format!("by signal {}", by.signal.map_or("null".into(), signal_name)),
        ByKind::Control => "by control null".into(),
        ByKind::Policy => "by policy null".into(),
    };
    let more = match &notice.what {
        What::Exit { exit, requested, .. } => {
            let code = exit.code.map_or("null".into(), |c| c.to_string());
            format!("code {code} signal {} requested {requested}", exit.signal.map_or("null".into(), signal_name))
        }
        What::RestartScheduled { attempt, limit, delay, .. } => {
            format!("attempt {attempt} limit {limit} delay_ms {}", delay.as_millis())
        }
        What::GaveUp { restarts, exit_status, .. } => format!("restarts {restarts} exit_status {exit_status}"),
        What::CrashLoop { restarts, window, pause } => {
            format!("restarts {restarts} window_ms {} pause_ms {}", window.as_millis(), pause.as_millis())
        }
        What::StopRequested { by: who } | What::StartRequested { by: who } | What::RestartRequested { by: who } => {
            by(who)
        }
        What::SignalRequested { by: who, signal } => format!("signal {} {}", signal_name(*signal), by(who)),
        What::LeftoverKilled { pids, .. } | What::Stuck { pids } => format!("{} pids", pids.len()),
        What::Spawn
        | What::SpawnFailed { .. }
        | What::Ready { .. }
        | What::Hang { .. }
        | What::Verdict { .. }
        | What::Threshold { .. }
        | What::Oom { .. }
        | What::ChannelLost { .. }
        | What::ProtoError { .. }
        | What::NotifyDenied { .. }
        | What::Status { .. }
        | What::Reload
        | What::ReloadRequested { .. }
        | What::SignalSent { .. }
        | What::KillEscalated { .. }
        | What::Stopped
        | What::OrphanReaped { .. }
        | What::LogDropped { .. }
        | What::ControlDenied { .. }
        | What::Stall { .. }
        | What::Probe { .. }
        | What::Blocked { .. }
        | What::Unblocked
        | What::ConfigReloaded { .. }
        | What::ConfigError { .. } => String::new(),
    };
    format!("{} {generation} cause {cause} {more}", notice.what.name()).trim_end().to_string()
}
