//! The world outside of the machine: a virtual clock, processes that follow their scripts, and letters on their way. It
//! keeps its own truth about who lives and takes nothing on trust.

use super::draw::{Draw, Faults};
use super::process::{Left, Proc, Script, Stage, exit_signal};
use super::sometimes::{Rare, Sometimes};
use crate::machine::{Action, Dialect, Event, Exit, Generation, MonoTime, News, ReadyBy, ServiceId};
use crate::spec::{Scope, SignalNumber, Spec};
use std::time::Duration;

/// Something that happens at a moment, whoever looks.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    ExecOver(ServiceId, Generation),
    Dies(ServiceId, Generation, Exit),
    Freezes(ServiceId, Generation),
    LeftDies(ServiceId, Generation, i32),
    GiveUpEnds(ServiceId, u32),
    Alone,
    Person,
    Says(ServiceId, Generation, Dialect, News),
    SeenReady(ServiceId, Generation, ReadyBy),
    /// It beats by itself.
    Beats(ServiceId, Generation),
    /// Others send datagrams to its notify socket.
    Crowd(ServiceId, Generation),
    Closes(ServiceId, Generation, Dialect, Option<String>),
}

/// The world.
pub(super) struct World {
    pub(super) now: MonoTime,
    pub(super) draw: Draw,
    pub(super) faults: Faults,
    pub(super) seen: Sometimes,
    /// Troubles are over: everybody is healthy from now on.
    pub(super) calm: bool,
    pub(super) facts: Vec<(MonoTime, u64, Fact)>,
    inbox: Vec<(MonoTime, u64, Event)>,
    pub(super) procs: Vec<Vec<Proc>>,
    give_up_runs: Vec<u32>,
    stalled_since: Option<MonoTime>,
    serial: u64,
    pub(super) next_pid: i32,
    pub(super) person_due: bool,
    pub(super) specs: Vec<Spec>,
    /// What looks and measurements have shown: handed over at once.
    pub(super) fed: Vec<Event>,
}

impl World {
    pub(super) fn new(specs: Vec<Spec>, draw: Draw, faults: Faults) -> World {
        let services = specs.len();
        let mut world = World {
            specs,
            fed: Vec::new(),
            now: MonoTime::ZERO,
            draw,
            faults,
            seen: Sometimes::default(),
            calm: false,
            facts: Vec::new(),
            inbox: Vec::new(),
            procs: vec![Vec::new(); services],
            give_up_runs: vec![0; services],
            stalled_since: None,
            serial: 0,
            next_pid: 100,
            person_due: false,
        };
        world.call_person();
        world
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn happen(&mut self, after: Duration, fact: Fact) {
        let serial = self.serial();
        self.facts.push((self.now.after(after), serial, fact));
    }

    /// Puts a letter on its way; troubles make it late or come twice.
    pub(super) fn post(&mut self, event: Event, may_repeat: bool) {
        let late = if self.draw.chance(self.faults.late) { self.draw.ms(&[1, 10, 200, 2000]) } else { Duration::ZERO };
        if may_repeat && self.draw.chance(self.faults.twice) {
            let serial = self.serial();
            let again = late + self.draw.ms(&[0, 5, 1000]);
            self.seen.saw(Rare::Repeated);
            self.inbox.push((self.now.after(again), serial, event.clone()));
        }
        let serial = self.serial();
        self.inbox.push((self.now.after(late), serial, event));
    }

    /// A letter that comes so much later.
    pub(super) fn post_after(&mut self, after: Duration, event: Event) {
        let serial = self.serial();
        self.inbox.push((self.now.after(after), serial, event));
    }

    pub(super) fn call_person(&mut self) {
        let pause = self.draw.ms(&[0, 1, 50, 300, 1000, 2500, 20_000]);
        self.happen(pause, Fact::Person);
    }

    /// When something happens or arrives next.
    pub(super) fn next(&self) -> Option<MonoTime> {
        self.facts.iter().map(|f| f.0).chain(self.inbox.iter().map(|l| l.0)).min()
    }

    /// Time goes on to `to`. A stalled loop notices nothing of it: who dies meanwhile was last seen when it began.
    pub(super) fn pass(&mut self, to: MonoTime, stalled: bool) {
        self.stalled_since = stalled.then_some(self.now);
        while let Some(at) = self.facts.iter().enumerate().filter(|(_, f)| f.0 <= to).min_by_key(|(_, f)| (f.0, f.1)) {
            let at = at.0;
            let (when, _, fact) = self.facts.swap_remove(at);
            self.now = self.now.max(when);
            self.fact(fact);
        }
        self.now = self.now.max(to);
        self.stalled_since = None;
    }

    pub(super) fn proc(&mut self, id: ServiceId, generation: Generation) -> Option<&mut Proc> {
        self.procs[id.0 as usize].iter_mut().find(|p| p.generation == generation)
    }

    fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::ExecOver(id, generation) => self.exec_over(id, generation),
            Fact::Dies(id, generation, exit) => self.dies(id, generation, exit),
            Fact::Freezes(id, generation) => {
                if let Some(p) = self.proc(id, generation).filter(|p| p.stage == Stage::Alive) {
                    p.frozen = true;
                }
            }
            Fact::LeftDies(id, generation, pid) => {
                if let Some(p) = self.proc(id, generation) {
                    p.left.retain(|l| l.pid != pid);
                }
            }
            Fact::GiveUpEnds(id, run) => {
                // An ended command may be reported late, but a reactor does not mistake it for the next one.
                if self.give_up_runs[id.0 as usize] == run {
                    self.post(Event::GiveUpRan { service: id }, false);
                }
            }
            Fact::Alone => self.post(Event::Alone, true),
            Fact::Person => self.person_due = true,
            Fact::Says(id, generation, dialect, news) => self.says(id, generation, dialect, news),
            Fact::SeenReady(service, generation, by) => {
                if self.proc(service, generation).is_some_and(|p| p.stage == Stage::Alive && !p.frozen) {
                    self.post(Event::SeenReady { service, generation, by }, true);
                }
            }
            Fact::Beats(id, generation) => self.beats(id, generation),
            Fact::Crowd(id, generation) => self.crowd(id, generation),
            Fact::Closes(service, generation, dialect, fault) => {
                if self.proc(service, generation).is_some_and(|p| p.stage == Stage::Alive && !p.frozen) {
                    self.post(Event::ChannelLost { service, generation, dialect, fault }, true);
                }
            }
        }
    }

    fn exec_over(&mut self, service: ServiceId, generation: Generation) {
        self.next_pid += 1;
        let (now, pid) = (self.now, self.next_pid);
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Exec) else { return };
        if let Some(failure) = p.script.fails.clone() {
            p.stage = Stage::Gone;
            return self.post(Event::SpawnFailed { service, generation, failure }, true);
        }
        (p.stage, p.pid, p.seen_alive, p.born) = (Stage::Alive, pid, now, now);
        let (own, freezes) = (p.script.own, p.script.freezes);
        if let Some((after, exit)) = own {
            self.happen(after, Fact::Dies(service, generation, exit));
        }
        if let Some(after) = freezes {
            self.happen(after, Fact::Freezes(service, generation));
        }
        self.post(Event::Spawned { service, generation, pid }, true);
        self.begin_talk(service, generation);
    }

    fn dies(&mut self, service: ServiceId, generation: Generation, exit: Exit) {
        let seen_alive = self.stalled_since.unwrap_or(self.now);
        let first = self.next_pid + 1;
        let Some(p) = self.proc(service, generation) else { return };
        if p.stage != Stage::Alive || (p.frozen && exit.signal != Some(9)) {
            return;
        }
        if p.script.heirs > 0 && !p.was_killed && exit.signal != Some(libc::SIGKILL) {
            return self.hands_over(service, generation);
        }
        p.stage = Stage::Zombie(exit);
        p.seen_alive = p.seen_alive.max(seen_alive);
        let seen_alive = p.seen_alive;
        let scripts = std::mem::take(&mut p.script.leaves);
        let count = scripts.len() as i32;
        p.left =
            scripts.into_iter().zip(first..).map(|(script, pid)| Left { pid, script, was_killed: false }).collect();
        let eof = p.script.voice.eof.then_some(p.script.voice.dialect);
        self.next_pid += count;
        if self.stalled_since.is_some() {
            self.seen.saw(Rare::StallHidesDeath);
        }
        if let Some(dialect) = eof.filter(|d| d.is_asked()) {
            self.post(Event::ChannelLost { service, generation, dialect, fault: None }, true);
        }
        self.post(Event::Exited { service, generation, exit, seen_alive, left: Vec::new() }, true);
    }

    /// It has ended and named another process of its tree before: that one goes on, and may have got the stop signal with it.
    fn hands_over(&mut self, service: ServiceId, generation: Generation) {
        self.next_pid += 1;
        let (pid, had_it) = (self.next_pid, self.draw.chance(30));
        let Some(p) = self.proc(service, generation) else { return };
        (p.pid, p.frozen, p.held) = (pid, false, None);
        p.script.heirs -= 1;
        let told = p.was_asked && had_it;
        if let Some((after, exit)) = p.script.asked.filter(|_| told) {
            self.happen(after, Fact::Dies(service, generation, exit));
        }
        self.post(Event::HandedOver { service, generation, pid, told }, false);
    }

    /// The letters that have arrived, oldest first; with disorder, in any order. What an exit says about the tree is
    /// true when it is handed over.
    pub(super) fn arrived(&mut self) -> Vec<Event> {
        let now = self.now;
        let mut due: Vec<_> = self.inbox.extract_if(.., |l| l.0 <= now).collect();
        due.sort_by_key(|l| (rank(&l.2), l.0, l.1));
        if due.len() > 1 && self.draw.chance(self.faults.reorder) {
            for i in (1..due.len()).rev() {
                due.swap(i, self.draw.below(i as u64 + 1) as usize);
            }
        }
        due.into_iter().map(|l| l.2).collect()
    }

    /// The last touch before an event is handed over. False: it waits for the news that there is a process.
    pub(super) fn hand_over(&mut self, event: &mut Event) -> bool {
        match event {
            Event::Spawned { service, generation, .. } => {
                let Some(p) = self.proc(*service, *generation) else { return true };
                p.announced = true;
                for early in std::mem::take(&mut p.early) {
                    let serial = self.serial();
                    self.inbox.push((self.now, serial, early));
                }
            }
            Event::News { service, generation, .. }
            | Event::HandedOver { service, generation, .. }
            | Event::Foreign { service, generation, .. }
            | Event::SeenReady { service, generation, .. }
            | Event::ChannelLost { service, generation, .. } => {
                if let Some(p) = self.proc(*service, *generation).filter(|p| !p.announced) {
                    p.early.push(event.clone());
                    return false;
                }
            }
            _ => {}
        }
        if let Event::Exited { service, generation, left, .. } = event
            && let Some(p) = self.procs[service.0 as usize].iter_mut().find(|p| p.generation == *generation)
        {
            p.stage = Stage::Gone;
            *left = p.left_pids();
        }
        // The file of the lanes is read when the word is heard.
        let now = self.now;
        if let Event::News { service, generation, news: News::Lanes(views), .. } = event
            && let Some(p) = self.procs[service.0 as usize].iter().find(|p| p.generation == *generation)
        {
            *views = p.script.voice.views(now.since(p.born));
        }
        true
    }

    /// Does what the machine asked for.
    pub(super) fn perform(&mut self, action: &Action) {
        match action {
            Action::Spawn { service, generation } => self.spawn(*service, *generation),
            Action::Signal { service, generation, signal, scope, wake } => {
                let dumps =
                    *wake && *scope == Scope::Main && self.specs[service.0 as usize].heartbeat.hang_signal == *signal;
                match dumps {
                    true => self.dump(*service, *generation, *signal),
                    false => self.signal(*service, *generation, *signal, *wake),
                }
            }
            Action::Sweep { service, generation, signal } => self.sweep(*service, *generation, *signal),
            Action::LookAtTree { service, generation } => {
                let left = self.proc(*service, *generation).map(|p| p.left_pids()).unwrap_or_default();
                self.post(Event::Tree { service: *service, generation: *generation, left }, true);
            }
            Action::RunGiveUp { service } => {
                self.give_up_runs[service.0 as usize] += 1;
                let run = self.give_up_runs[service.0 as usize];
                let takes = self.draw.ms(&[0, 10, 29_999, 30_000, 100_000]);
                self.happen(takes, Fact::GiveUpEnds(*service, run));
            }
            Action::EndGiveUp { service } => {
                let run = self.give_up_runs[service.0 as usize];
                self.happen(Duration::from_millis(2), Fact::GiveUpEnds(*service, run));
            }
            Action::Farewell { .. } => {
                if self.calm || self.draw.chance(60) {
                    self.happen(Duration::from_millis(3), Fact::Alone);
                }
            }
            Action::CancelSpawn { service, generation } => self.cancel_spawn(*service, *generation),
            Action::Say { service, generation, dialect, word } => self.told(*service, *generation, *dialect, word),
            Action::LookAtLanes { service, generation } => self.look_at_lanes(*service, *generation),
            Action::LookAtPort { service, generation, .. } => self.look_at_port(*service, *generation),
            Action::Inspect { service, generation, second: true } => self.inspect(*service, *generation),
            Action::Measure { service, generation } => self.measure(*service, *generation),
            Action::Probe { .. }
            | Action::EndProbes { .. }
            | Action::LookAtFile { .. }
            | Action::ReadFileAgain { .. }
            | Action::ReopenLogs
            | Action::Inspect { second: false, .. }
            | Action::Gather { .. }
            | Action::Report(_)
            | Action::Suspend
            | Action::Answer { .. }
            | Action::Tell(_)
            | Action::Exit(_) => {}
        }
    }

    fn spawn(&mut self, service: ServiceId, generation: Generation) {
        let spec = &self.specs[service.0 as usize];
        let script = if self.calm { Script::healthy(spec) } else { Script::draw(&mut self.draw, &self.faults, spec) };
        let healthy = self.calm;
        let exec = script.exec;
        let all = &mut self.procs[service.0 as usize];
        all.retain(|p| p.lives() || matches!(p.stage, Stage::Zombie(_)));
        all.push(Proc {
            generation,
            pid: 0,
            stage: Stage::Exec,
            script,
            frozen: false,
            was_killed: false,
            was_asked: false,
            held: None,
            seen_alive: self.now,
            born: self.now,
            announced: false,
            early: Vec::new(),
            healthy,
            measured: 0,
            left: Vec::new(),
        });
        self.happen(exec, Fact::ExecOver(service, generation));
    }

    fn signal(&mut self, service: ServiceId, generation: Generation, signal: SignalNumber, wake: bool) {
        let calm = self.calm;
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive) else { return };
        let thawed = p.frozen && wake;
        if signal == libc::SIGSTOP {
            p.frozen = !calm;
            return;
        }
        if signal == libc::SIGKILL {
            p.was_killed = true;
            let after = if calm { Some(Duration::from_millis(1)) } else { p.script.killed };
            if let Some(after) = after {
                self.happen(after, Fact::Dies(service, generation, exit_signal(9)));
            }
            return;
        }
        if p.frozen && !wake {
            p.held = Some(signal);
            return;
        }
        p.frozen = false;
        // `wake` marks the signal that begins a stop; TERM and INT ask for an end however they come.
        let asks = wake || signal == libc::SIGTERM || signal == libc::SIGINT;
        p.was_asked |= asks;
        let reaction = if asks {
            p.script.asked
        } else {
            p.script.fragile.then_some((Duration::from_millis(1), exit_signal(signal)))
        };
        if let Some((after, exit)) = reaction {
            self.happen(after, Fact::Dies(service, generation, exit));
        }
        if thawed {
            self.seen.saw(Rare::Thawed);
        }
    }
}

/// The order of phases within one turn of the loop: words before deaths, requests after them.
fn rank(event: &Event) -> u8 {
    match event {
        Event::Spawned { .. }
        | Event::SpawnFailed { .. }
        | Event::News { .. }
        | Event::HandedOver { .. }
        | Event::Foreign { .. }
        | Event::SeenReady { .. }
        | Event::ChannelLost { .. }
        | Event::Evidence { .. }
        | Event::Probed { .. }
        | Event::FileSeen { .. }
        | Event::Sampled { .. } => 0,
        Event::Exited { .. } => 1,
        Event::Tree { .. } | Event::GiveUpRan { .. } | Event::Alone => 2,
        Event::Signalled { .. } => 3,
        Event::Asked { .. } | Event::ClientGone { .. } => 4,
    }
}
