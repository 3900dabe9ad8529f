//! Probes under way: each a small errand of its own in the one loop, with one deadline for all that it does.

use super::exec_probe::{Exec, answer_of};
use super::{LATE, Reactor};
use crate::machine::*;
use crate::probe::{Errand, Seen};
use crate::spec::Check;
use crate::sys::reap::Dead;
use crate::sys::{proc, signals, sockets, tree};
use mio::Token;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::Duration;

/// Commands that were killed and are not gone (an uninterruptible file system); with so many of them no more are run.
const MAX_KILLED: usize = 64;

/// All tries.
#[derive(Default)]
pub(super) struct Tries {
    all: BTreeMap<usize, Try>,
    by_probe: BTreeMap<(ServiceId, u16), usize>,
    deadlines: BTreeSet<(Duration, usize)>,
    by_pid: BTreeMap<i32, usize>,
    /// Further descriptors of a try: the second pipe of a command.
    by_token: BTreeMap<usize, usize>,
    /// Commands that were killed and are still to be reaped.
    killed: Vec<(i32, Which)>,
    /// Commands that were reaped, and what they have shown: told of when it is known who was reaped with them.
    reaped: Vec<(usize, Seen)>,
}

/// Which try: there is never a second one of the same.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Which {
    service: ServiceId,
    generation: Generation,
    probe: u16,
}

/// One try.
struct Try {
    which: Which,
    began: Duration,
    until: Duration,
    timeout: Duration,
    /// It got more time, because we were late ourselves.
    spared: bool,
    errand: Kind,
}

enum Kind {
    Socket(Errand),
    Command(Exec),
}

impl Tries {
    /// When the next one has had its time.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Commands that run: helpers of ours, not part of any worker's tree.
    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.by_pid.keys().copied().chain(self.killed.iter().map(|(pid, _)| *pid))
    }

    /// Whether this one is not over.
    pub(super) fn is_under_way(&self, token: usize) -> bool {
        self.all.contains_key(&token)
    }

    fn of(&self, service: ServiceId) -> Vec<usize> {
        self.by_probe.range((service, 0)..=(service, u16::MAX)).map(|(_, token)| *token).collect()
    }

    fn insert(&mut self, token: usize, one: Try) {
        if let Kind::Command(exec) = &one.errand {
            self.by_pid.insert(exec.pid, token);
            self.by_token.extend(exec.tokens().map(|t| (t, token)));
        }
        self.by_probe.insert((one.which.service, one.which.probe), token);
        self.deadlines.insert((one.until, token));
        self.all.insert(token, one);
    }

    fn remove(&mut self, token: usize) -> Option<Try> {
        let one = self.all.remove(&token)?;
        if let Kind::Command(exec) = &one.errand {
            for t in exec.tokens() {
                self.by_token.remove(&t);
            }
        }
        self.by_probe.remove(&(one.which.service, one.which.probe));
        self.deadlines.remove(&(one.until, token));
        Some(one)
    }
}

impl Reactor {
    /// Begins one try. What came of it at once, if anything did.
    #[inline(never)]
    pub(super) fn start_probe(&mut self, id: ServiceId, generation: Generation, probe: u16) -> Option<Event> {
        let which = Which { service: id, generation, probe };
        let service = self.machine.services().get(id.0 as usize)?;
        let Some(spec) = service.spec.probes.get(usize::from(probe)) else {
            return Some(probed(which, Seen::error("there is no such probe"), Duration::ZERO));
        };
        let (check, timeout, began) = (spec.check.clone(), spec.timeout, self.clock.now());
        let main = self.main_of(id, generation);
        // Gone, and the machine is about to hear of it.
        let gone = service.spec.kind.has_process() && main.is_none();
        if gone || !self.is_free(which) {
            return None;
        }
        self.next_token += 1;
        let token = self.next_token;
        let begun = match &check {
            Check::Tcp(_) | Check::Unix(_) | Check::Http(_) => {
                Errand::begin(&check, self.poll.registry(), Token(token)).map(Kind::Socket)
            }
            Check::Port { port, udp } => Err(self.port_seen(id, main, *port, *udp)),
            Check::Exec(command) => self.run_command(which, command, token).map(Kind::Command),
        };
        let until = began.saturating_add(timeout);
        match begun {
            Ok(errand) => {
                self.tries.insert(token, Try { which, began, until, timeout, spared: false, errand });
                None
            }
            Err(seen) => Some(probed(which, seen, self.clock.now().saturating_sub(began))),
        }
    }

    /// False: the same is under way, and its answer is the answer. Tries of an older generation are ended here at the latest.
    fn is_free(&mut self, which: Which) -> bool {
        for token in self.tries.of(which.service) {
            match self.tries.all.get(&token).map(|one| one.which) {
                Some(other) if other == which => return false,
                Some(other) if other.generation == which.generation => {}
                Some(_) | None => drop(self.end_try(token)),
            }
        }
        true
    }

    #[inline(never)]
    fn run_command(&mut self, which: Which, command: &[OsString], token: usize) -> Result<Exec, Seen> {
        let killed = &self.tries.killed;
        if killed.len() >= MAX_KILLED || killed.iter().any(|(_, other)| *other == which) {
            return Err(Seen::error("the last run was killed and is not gone"));
        }
        let before = self.clock.now();
        let begun = self.start_command(which.service, which.generation, command, token);
        let took = self.clock.now().saturating_sub(before);
        if took >= LATE {
            // The loop stands still until the exec.
            self.tell_own(What::Stall { late: took });
        }
        begun
    }

    /// Whether somebody holds it: of its tree, where it has one.
    fn port_seen(&self, id: ServiceId, main: Option<i32>, port: u16, udp: bool) -> Seen {
        let name = format!("port {port}/{}", if udp { "udp" } else { "tcp" });
        let Some(main) = main else {
            return match sockets::anybody_holds_port(port, udp) {
                true => Seen::success(format!("{name} is open")),
                false => Seen::failure(format!("nobody listens on {name}")),
            };
        };
        let mut pids = tree::descendants(&[main]);
        if let Some(group) = self.workers.get(id.0 as usize).and_then(|w| w.group.as_ref()) {
            // Also whoever of it has lost its parents.
            pids.extend(group.pids());
        }
        match sockets::holds_port(&pids, port, udp) {
            true => Seen::success(format!("{name} is open")),
            false if sockets::anybody_holds_port(port, udp) => {
                Seen::failure(format!("nobody of it listens on {name}, somebody else does"))
            }
            false => Seen::failure(format!("nobody of it listens on {name}")),
        }
    }

    /// Something has happened to the descriptor of a try.
    pub(super) fn serve_try(&mut self, token: usize) {
        if self.tries.all.is_empty() {
            return;
        }
        let first = self.tries.by_token.get(&token).copied().unwrap_or(token);
        let Some(one) = self.tries.all.get_mut(&first) else { return };
        match &mut one.errand {
            Kind::Socket(errand) => {
                if let Some(seen) = errand.go_on(self.poll.registry(), Token(first)) {
                    self.try_over(first, seen);
                }
            }
            Kind::Command(exec) => {
                if exec.read(token) {
                    self.again.push(token);
                }
            }
        }
    }

    /// Ends a try and tells the machine of it.
    fn try_over(&mut self, token: usize, seen: Seen) {
        let now = self.clock.now();
        let Some(one) = self.end_try(token) else { return };
        self.feed(probed(one.which, seen, now.saturating_sub(one.began)));
    }

    /// Takes all of it back: socket, pipes, and a command with its tree.
    fn end_try(&mut self, token: usize) -> Option<Try> {
        let mut one = self.tries.remove(token)?;
        match &mut one.errand {
            Kind::Socket(errand) => {
                let left = errand.end(self.poll.registry());
                self.close_elsewhere(one.which.service, token, left.into_iter().collect());
            }
            Kind::Command(exec) => {
                exec.close(self.poll.registry());
                if self.tries.by_pid.remove(&exec.pid).is_some() {
                    kill(exec.pid);
                    self.tries.killed.push((exec.pid, one.which));
                }
            }
        }
        Some(one)
    }

    /// Ends all tries of this generation; nothing is told of them.
    pub(super) fn end_probes(&mut self, id: ServiceId, generation: Generation) {
        for token in self.tries.of(id) {
            if self.tries.all.get(&token).is_some_and(|one| one.which.generation == generation) {
                self.end_try(token);
            }
        }
    }

    /// Whoever has had his time.
    pub(super) fn end_late_tries(&mut self) {
        let now = self.clock.now();
        while let Some((until, token)) = self.tries.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let Some(one) = self.tries.all.get_mut(&token) else {
                self.tries.deadlines.remove(&(until, token));
                continue;
            };
            if now.saturating_sub(until) >= LATE && !one.spared {
                // We were held up, and perhaps those who were to answer with us: a moment more, once.
                (one.spared, one.until) = (true, now.saturating_add(one.timeout.min(LATE)));
                self.tries.deadlines.remove(&(until, token));
                self.tries.deadlines.insert((one.until, token));
                continue;
            }
            let seen = match &one.errand {
                Kind::Socket(errand) => {
                    Seen::failure(format!("{}, timed out after {}", errand.how_far(), human(one.timeout)))
                }
                // The contract's words for a command, to the letter.
                Kind::Command(_) => Seen::failure("timed out"),
            };
            self.try_over(token, seen);
        }
    }

    /// A child of ours was reaped: if it is the command of a try, what it has shown is kept. False: it is none.
    pub(super) fn try_ended(&mut self, dead: &Dead) -> bool {
        let tries = &mut self.tries;
        if let Some(at) = tries.killed.iter().position(|(pid, _)| *pid == dead.pid) {
            tries.killed.swap_remove(at);
            self.orphans.command_ended();
            return true;
        }
        let Some(token) = tries.by_pid.remove(&dead.pid) else { return false };
        if let Some(Try { errand: Kind::Command(exec), .. }) = tries.all.get_mut(&token) {
            tries.reaped.push((token, answer_of(exec, dead)));
        }
        self.orphans.command_ended();
        self.end_its_group(dead.pid, token);
        true
    }

    /// After a round of reaping, and after the ends of workers that it found: whoever is dead is judged by nobody, and the
    /// number of one who was reaped is not his own any more.
    pub(super) fn tell_reaped_tries(&mut self) {
        for (token, seen) in std::mem::take(&mut self.tries.reaped) {
            self.try_over(token, seen);
        }
    }

    /// Whoever a command has left in its group is our child by now: while one is there, the number is still the group's. Who
    /// has left the group is found by its mark.
    fn end_its_group(&mut self, group: i32, token: usize) {
        // Nearly always there is no such group, and one call says so.
        if signals::kill(-group, 0).is_err() {
            return;
        }
        let member = |pid: &i32| proc::stat(*pid).is_some_and(|s| s.group == group);
        let members: Vec<i32> = tree::children(self.me).into_iter().filter(member).collect();
        if !members.is_empty() {
            let _ = signals::kill(-group, libc::SIGKILL);
        }
        for pid in members {
            self.orphans.note(pid, token);
        }
    }

    /// Our own end: nobody waits for an answer.
    pub(super) fn end_all_tries(&mut self) {
        while let Some(token) = self.tries.all.keys().next().copied() {
            self.end_try(token);
        }
    }

    /// One look at the file that a start waits for, by a child: its file system may not answer.
    pub(super) fn look_at_file(&mut self, id: ServiceId) -> Option<Event> {
        let Reactor { machine, spawner, looks, .. } = self;
        let file = machine.services().get(id.0 as usize)?.spec.place.wait_for_file.as_ref()?;
        if looks.values().any(|(service, _)| *service == id) {
            // The answer to the last question is still to come, and is the answer to this one.
            return None;
        }
        match spawner.look_for(file) {
            Ok(pid) => {
                looks.insert(pid, (id, file.clone()));
                None
            }
            Err(_) => Some(Event::FileSeen { service: id, there: false }),
        }
    }

    /// A child of ours was reaped: if it looked for a file, what it has seen. False: it did not.
    #[inline(never)]
    pub(super) fn look_ended(&mut self, dead: &Dead) -> bool {
        let Some((id, file)) = self.looks.remove(&dead.pid) else { return false };
        let spec = self.machine.services().get(id.0 as usize).map(|s| &s.spec);
        // A reload may have named another file meanwhile.
        match spec.is_some_and(|spec| spec.place.wait_for_file.as_ref() == Some(&file)) {
            true => self.feed(Event::FileSeen { service: id, there: dead.code == Some(0) }),
            false => {
                if let Some(event) = self.look_at_file(id) {
                    self.feed(event);
                }
            }
        }
        true
    }
}

fn probed(which: Which, seen: Seen, took: Duration) -> Event {
    let Which { service, generation, probe } = which;
    let answer = Answer { outcome: seen.outcome, message: seen.message, took };
    Event::Probed { service, generation, probe, answer }
}

/// A command that is not reaped yet, so that its number is still its own, and its group's. Whoever of its tree has left
/// the group is found by his parents, and one without by his mark.
fn kill(pid: i32) {
    // Stopped first: else a child that comes after the look could be out of the group before the kill.
    let _ = signals::kill(-pid, libc::SIGSTOP);
    let all = tree::descendants(&[pid]);
    let _ = signals::kill(-pid, libc::SIGKILL);
    // It may not lead its group yet.
    let _ = signals::kill(pid, libc::SIGKILL);
    tree::signal_each(all.get(1..).unwrap_or_default(), libc::SIGKILL, false);
}
