//! What is outside of the machine: processes by their scripts, probes that are answered somehow, files that come or do not,
//! and letters on their way. It keeps its own truth of who lives.

use super::specs::File;
use crate::machine::sim::draw::Draw;
use crate::machine::{
    Action, Answer, Dialect, Event, Exit, Generation, MonoTime, News, Oom, Outcome, ServiceId, SpawnFailure, Step,
    Supervisor,
};
use crate::spec::{Kind, SignalNumber};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which troubles, in percent.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) exec_fails: u64,
    pub(super) crashes: u64,
    pub(super) never_ready: u64,
    pub(super) ignores_term: u64,
    pub(super) unkillable: u64,
    pub(super) leftovers: u64,
    pub(super) bad_probes: u64,
    pub(super) mute_probes: u64,
    pub(super) late: u64,
    pub(super) twice: u64,
    pub(super) files_missing: u64,
    pub(super) stalls: u64,
    pub(super) commands: u64,
    pub(super) reloads: u64,
    pub(super) ends: u64,
}

impl Faults {
    pub(super) fn draw(draw: &mut Draw) -> Faults {
        let mut rate = || if draw.chance(50) { draw.pick(&[3, 10, 40]) } else { 0 };
        Faults {
            exec_fails: rate() / 2,
            crashes: rate(),
            never_ready: rate() / 2,
            ignores_term: rate(),
            unkillable: rate() / 3,
            leftovers: rate() / 2,
            bad_probes: rate() + 5,
            mute_probes: rate() / 3,
            late: rate(),
            twice: rate() / 2,
            files_missing: rate() + 20,
            stalls: rate() / 3,
            commands: rate() + 10,
            reloads: rate() / 2,
            ends: rate() / 10,
        }
    }
}

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Execs(ServiceId, Generation),
    Dies(ServiceId, Generation, i32),
    Killed(ServiceId, Generation),
    Person,
    Letter(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Exec,
    Alive,
    Gone,
}

/// One process.
#[derive(Clone, Debug)]
pub(super) struct Proc {
    pub(super) stage: Stage,
    fails: bool,
    ready_after: Option<Duration>,
    ends: Option<(Duration, i32)>,
    on_term: Option<Duration>,
    on_kill: Option<Duration>,
    /// What outlives it, and whether a TERM is enough for that.
    leaves: Option<bool>,
    pub(super) left: Option<bool>,
    asked: bool,
    /// Its letters come in the order in which they were written.
    post: MonoTime,
}

impl Proc {
    pub(super) fn lives(&self) -> bool {
        self.stage != Stage::Gone || self.left.is_some()
    }
}

pub(super) struct World {
    pub(super) now: MonoTime,
    pub(super) draw: Draw,
    pub(super) faults: Faults,
    pub(super) calm: bool,
    pub(super) file: File,
    pub(super) facts: BTreeMap<(MonoTime, u64), Fact>,
    serial: u64,
    next_pid: i32,
    pub(super) procs: BTreeMap<(ServiceId, Generation), Proc>,
    /// Probes that will never be answered.
    mute: Vec<Event>,
    give_ups: BTreeMap<ServiceId, u64>,
    files: BTreeSet<PathBuf>,
    /// The file is to be read again.
    pub(super) reread: Option<bool>,
    pub(super) person_due: bool,
}

impl World {
    pub(super) fn new(file: File, draw: Draw, faults: Faults) -> World {
        let mut world = World {
            now: MonoTime::ZERO,
            draw,
            faults,
            calm: false,
            file,
            facts: BTreeMap::new(),
            serial: 0,
            next_pid: 100,
            procs: BTreeMap::new(),
            mute: Vec::new(),
            give_ups: BTreeMap::new(),
            files: BTreeSet::new(),
            reread: None,
            person_due: false,
        };
        world.call_person();
        world
    }

    pub(super) fn call_person(&mut self) {
        let pause = self.draw.ms(&[0, 1, 50, 300, 1000, 2500, 10_000]);
        self.happen(pause, Fact::Person);
    }

    pub(super) fn happen(&mut self, after: Duration, fact: Fact) {
        self.serial += 1;
        self.facts.insert((self.now.after(after), self.serial), fact);
    }

    pub(super) fn post(&mut self, event: Event) {
        self.happen(Duration::ZERO, Fact::Letter(event));
    }

    /// A letter about a process: late perhaps, and perhaps twice, but in order.
    fn post_of(&mut self, key: (ServiceId, Generation), event: Event) {
        let late = if self.draw.chance(self.faults.late) { self.draw.ms(&[1, 10, 200, 2000]) } else { Duration::ZERO };
        let mut at = self.now.after(late);
        if let Some(p) = self.procs.get_mut(&key) {
            at = at.max(p.post);
            p.post = at;
        }
        if self.draw.chance(self.faults.twice) {
            let again = self.draw.ms(&[0, 5, 1000]);
            self.serial += 1;
            self.facts.insert((at.after(again), self.serial + 1), Fact::Letter(event.clone()));
        }
        self.serial += 2;
        self.facts.insert((at, self.serial - 1), Fact::Letter(event));
    }

    pub(super) fn next(&self) -> Option<MonoTime> {
        self.facts.keys().next().map(|k| k.0)
    }

    /// Time goes on to `to`; the letters that have arrived then.
    pub(super) fn pass(&mut self, to: MonoTime) -> Vec<Event> {
        let mut letters = Vec::new();
        while let Some(entry) = self.facts.first_entry().filter(|e| e.key().0 <= to) {
            self.now = self.now.max(entry.key().0);
            match entry.remove() {
                Fact::Letter(event) => letters.push(event),
                Fact::Person => self.person_due = true,
                Fact::Execs(id, generation) => self.execs(id, generation),
                Fact::Dies(id, generation, how) => self.dies(id, generation, how),
                Fact::Killed(id, generation) => self.dies(id, generation, -9),
            }
        }
        self.now = self.now.max(to);
        letters
    }

    fn execs(&mut self, service: ServiceId, generation: Generation) {
        let key = (service, generation);
        self.next_pid += 1;
        let pid = self.next_pid;
        let Some(p) = self.procs.get_mut(&key) else { return };
        if p.fails {
            p.stage = Stage::Gone;
            let errno = self.draw.pick(&[libc::ENOENT, libc::EAGAIN, libc::ETXTBSY]);
            let failure = SpawnFailure { step: Step::Exec, errno, path: "/w".into() };
            return self.post_of(key, Event::SpawnFailed { service, generation, failure });
        }
        p.stage = Stage::Alive;
        let (ready, ends) = (p.ready_after, p.ends);
        self.post_of(key, Event::Spawned { service, generation, pid });
        if let Some(after) = ready {
            let news = Event::News { service, generation, dialect: Dialect::Notify, news: News::Ready };
            self.happen(after, Fact::Letter(news));
        }
        if let Some((after, how)) = ends {
            self.happen(after, Fact::Dies(service, generation, how));
        }
    }

    fn dies(&mut self, service: ServiceId, generation: Generation, how: i32) {
        let key = (service, generation);
        let now = self.now;
        let Some(p) = self.procs.get_mut(&key).filter(|p| p.stage == Stage::Alive) else { return };
        (p.stage, p.left) = (Stage::Gone, p.leaves);
        let left = p.left.map(|_| 9_999).into_iter().collect();
        let (code, signal) = if how < 0 { (None, Some(-how)) } else { (Some(how), None) };
        let exit = Exit { code, signal, core: false, rss_peak_bytes: None, oom: Oom::No, cpu: Duration::ZERO };
        self.post_of(key, Event::Exited { service, generation, exit, seen_alive: now, left });
    }

    /// Does what the machine asked for.
    pub(super) fn perform(&mut self, action: &Action, machine: &Supervisor) {
        match action {
            Action::Spawn { service, generation } => {
                let kind = machine.services().get(service.0 as usize).map_or(Kind::Service, |s| s.spec.kind);
                self.spawn(*service, *generation, kind);
            }
            Action::Signal { service, generation, signal, .. } => self.signal(*service, *generation, *signal),
            Action::Sweep { service, generation, signal } => {
                if let Some(p) = self.procs.get_mut(&(*service, *generation)) {
                    p.left = p.left.filter(|gentle| *signal != 9 && !*gentle);
                }
            }
            Action::LookAtTree { service, generation } => {
                let left = self.procs.get(&(*service, *generation)).and_then(|p| p.left);
                let left = left.map(|_| 9_999).into_iter().collect();
                self.post(Event::Tree { service: *service, generation: *generation, left });
            }
            Action::Probe { service, generation, probe } => self.probe(*service, *generation, *probe),
            Action::LookAtFile { service } => {
                let spec = machine.services().get(service.0 as usize).map(|s| &s.spec);
                if let Some(file) = spec.and_then(|s| s.place.wait_for_file.clone()) {
                    self.look_at_file(*service, file);
                }
            }
            Action::RunGiveUp { service } => {
                self.give_ups.insert(*service, 0);
                let takes = self.draw.ms(&[0, 10, 2000]);
                self.happen(takes, Fact::Letter(Event::GiveUpRan { service: *service }));
            }
            Action::ReadFileAgain { restart, .. } => self.reread = Some(*restart),
            _ => {}
        }
    }

    fn spawn(&mut self, service: ServiceId, generation: Generation, kind: Kind) {
        self.procs.retain(|(id, _), p| *id != service || p.lives());
        let (d, f, calm) = (&mut self.draw, &self.faults, self.calm);
        let mut bad = |rate: u64| !calm && d.chance(rate);
        let (fails, crashes, unready) = (bad(f.exec_fails), bad(f.crashes), bad(f.never_ready));
        let (deaf, unkillable, leaves, gentle) = (bad(f.ignores_term), bad(f.unkillable), bad(f.leftovers), bad(50));
        let ends = match (kind, crashes) {
            (_, true) => Some((d.ms(&[0, 10, 500, 3000, 10_000]), d.pick(&[1, -11, 0, 78]))),
            (Kind::Oneshot, false) => Some((d.ms(&[0, 100, 1000]), 0)),
            _ => None,
        };
        let proc = Proc {
            stage: Stage::Exec,
            fails,
            ready_after: (!unready).then(|| d.ms(&[0, 10, 500, 1500])),
            ends,
            on_term: (!deaf).then(|| d.ms(&[0, 10, 400, 1500])),
            on_kill: (!unkillable).then(|| d.ms(&[0, 1])),
            leaves: leaves.then_some(gentle),
            left: None,
            asked: false,
            post: self.now,
        };
        let exec = d.ms(&[0, 1, 50, 500]);
        self.procs.insert((service, generation), proc);
        self.happen(exec, Fact::Execs(service, generation));
    }

    fn signal(&mut self, service: ServiceId, generation: Generation, signal: SignalNumber) {
        let Some(p) = self.procs.get_mut(&(service, generation)).filter(|p| p.stage == Stage::Alive) else { return };
        match signal {
            libc::SIGKILL => {
                if let Some(after) = p.on_kill {
                    self.happen(after, Fact::Killed(service, generation));
                }
            }
            libc::SIGTERM | libc::SIGINT if !p.asked => {
                p.asked = true;
                if let Some(after) = p.on_term {
                    self.happen(after, Fact::Dies(service, generation, 0));
                }
            }
            _ => {}
        }
    }

    fn probe(&mut self, service: ServiceId, generation: Generation, probe: u16) {
        let bad = !self.calm && self.draw.chance(self.faults.bad_probes);
        let outcome = match bad {
            true => self.draw.pick(&[Outcome::Failure, Outcome::Error]),
            false => Outcome::Success,
        };
        let took = self.draw.ms(&[0, 1, 100, 400]);
        let answer = Answer { outcome, message: "m".into(), took };
        let event = Event::Probed { service, generation, probe, answer };
        if !self.calm && self.draw.chance(self.faults.mute_probes) {
            return self.mute.push(event);
        }
        if self.draw.chance(self.faults.twice) {
            let again = self.draw.ms(&[1, 2000]);
            self.happen(took + again, Fact::Letter(event.clone()));
        }
        self.happen(took, Fact::Letter(event));
    }

    /// The place has somebody else: the loop, too, throws away what it still had of the one before him.
    pub(super) fn forget(&mut self, place: ServiceId) {
        let of = |event: &Event| match event {
            Event::Spawned { service, .. }
            | Event::SpawnFailed { service, .. }
            | Event::Exited { service, .. }
            | Event::Tree { service, .. }
            | Event::News { service, .. }
            | Event::SeenReady { service, .. }
            | Event::Probed { service, .. }
            | Event::FileSeen { service, .. }
            | Event::GiveUpRan { service } => *service == place,
            _ => false,
        };
        self.facts.retain(|_, fact| !matches!(fact, Fact::Letter(event) if of(event)));
        self.mute.retain(|event| !of(event));
        self.procs.retain(|(service, _), p| *service != place || p.lives());
    }

    pub(super) fn file_is_there(&self, file: &Path) -> bool {
        self.files.contains(file)
    }

    fn look_at_file(&mut self, service: ServiceId, file: PathBuf) {
        if self.calm || !self.draw.chance(self.faults.files_missing) {
            self.files.insert(file.clone());
        }
        let there = self.files.contains(&file);
        self.post(Event::FileSeen { service, there });
    }

    /// Troubles are over: whoever is born now is healthy, what would never come comes.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.faults = Faults::default();
        for event in std::mem::take(&mut self.mute) {
            self.post(event);
        }
        let stubborn: Vec<_> = self.procs.iter_mut().filter(|(_, p)| p.on_kill.is_none()).collect();
        let mut freed = Vec::new();
        for (key, p) in stubborn {
            p.on_kill = Some(Duration::ZERO);
            freed.push(*key);
        }
        // Those to whom the KILL was sent in vain.
        for (service, generation) in freed {
            self.happen(Duration::from_millis(5), Fact::Killed(service, generation));
        }
    }
}
