//! Probes under way: each a small errand of its own in the one loop, with one deadline for all that it does.

use super::exec_probe::{Exec, answer_of};
use super::{Reactor, inspect};
use crate::machine::*;
use crate::probe::{Errand, Seen};
use crate::spec::Check;
use crate::sys::reap::Dead;
use crate::sys::{proc, signals, sockets, tree};
use mio::Token;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// All tries.
#[derive(Default)]
pub(super) struct Tries {
    all: BTreeMap<usize, Try>,
    deadlines: BTreeSet<(Duration, usize)>,
    by_pid: BTreeMap<i32, usize>,
    /// Further descriptors of a try: the second pipe of a command.
    by_token: BTreeMap<usize, usize>,
    /// Some command was run.
    pub(super) ran_commands: bool,
}

/// One try.
struct Try {
    service: ServiceId,
    generation: Generation,
    probe: u16,
    began: Duration,
    until: Duration,
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
        self.by_pid.keys().copied()
    }
}

impl Reactor {
    /// Begins one try. What came of it at once, if anything did.
    pub(super) fn start_probe(&mut self, id: ServiceId, generation: Generation, probe: u16) -> Option<Event> {
        let service = self.machine.services().get(id.0 as usize)?;
        let spec = service.spec.probes.get(usize::from(probe))?;
        let began = self.clock.now();
        let until = began.saturating_add(spec.timeout);
        self.next_token += 1;
        let token = self.next_token;
        let begun = match &spec.check {
            Check::Tcp(_) | Check::Unix(_) | Check::Http(_) => {
                Errand::begin(&spec.check, self.poll.registry(), Token(token)).map(Kind::Socket)
            }
            Check::Port { port, udp } => Err(self.port_seen(id, *port, *udp)),
            Check::Exec(command) => {
                let command = command.clone();
                self.start_command(id, &command, token).map(Kind::Command)
            }
        };
        match begun {
            Ok(errand) => {
                if let Kind::Command(exec) = &errand {
                    self.tries.ran_commands = true;
                    self.tries.by_pid.insert(exec.pid, token);
                    self.tries.by_token.extend(exec.tokens().map(|t| (t, token)));
                }
                self.tries.deadlines.insert((until, token));
                self.tries.all.insert(token, Try { service: id, generation, probe, began, until, errand });
                None
            }
            Err(seen) => {
                let answer = Answer { outcome: seen.outcome, message: seen.message, took: self.clock.now() - began };
                Some(Event::Probed { service: id, generation, probe, answer })
            }
        }
    }

    /// Whether somebody listens there: of its tree, where it has one.
    fn port_seen(&self, id: ServiceId, port: u16, udp: bool) -> Seen {
        let kind = if udp { "udp" } else { "tcp" };
        let process = self.machine.services().get(id.0 as usize).is_some_and(|s| s.spec.kind.has_process());
        let main = self.workers.get(id.0 as usize).and_then(|w| w.proc.as_ref()).map(|p| p.pid);
        let open = match (process, main) {
            (true, Some(main)) => sockets::holds_port(&tree::descendants(&[main]), port, udp),
            (true, None) => false,
            (false, _) => sockets::anybody_holds_port(port, udp),
        };
        match open {
            true => Seen::success(format!("port {port}/{kind} is open")),
            false => Seen::failure(format!("nobody of it listens on port {port}/{kind}")),
        }
    }

    /// Something has happened to the descriptor of a try.
    pub(super) fn serve_try(&mut self, token: usize) {
        if self.tries.all.is_empty() {
            return;
        }
        let first = self.tries.by_token.get(&token).copied().unwrap_or(token);
        let Some(one) = self.tries.all.get_mut(&first) else { return };
        let seen = match &mut one.errand {
            Kind::Socket(errand) => errand.go_on(self.poll.registry(), Token(first)),
            Kind::Command(exec) => {
                if exec.read(token) {
                    self.again.push(token);
                }
                None
            }
        };
        if let Some(seen) = seen {
            self.try_over(first, seen);
        }
    }

    /// Ends a try and tells the machine of it.
    fn try_over(&mut self, token: usize, seen: Seen) {
        let now = self.clock.now();
        let Some(one) = self.end_try(token) else { return };
        let answer = Answer { outcome: seen.outcome, message: seen.message, took: now.saturating_sub(one.began) };
        let Try { service, generation, probe, .. } = one;
        self.feed(Event::Probed { service, generation, probe, answer });
    }

    /// Takes all of it back: socket, pipes, and the group of a command.
    fn end_try(&mut self, token: usize) -> Option<Try> {
        let mut one = self.tries.all.remove(&token)?;
        self.tries.deadlines.remove(&(one.until, token));
        match &mut one.errand {
            Kind::Socket(errand) => errand.end(self.poll.registry()),
            Kind::Command(exec) => {
                for t in exec.tokens() {
                    self.tries.by_token.remove(&t);
                }
                exec.close(self.poll.registry());
                if self.tries.by_pid.remove(&exec.pid).is_some() {
                    // Not reaped yet: the number is still its own, and its group's.
                    let all = tree::descendants(&[exec.pid]);
                    let _ = signals::kill(-exec.pid, libc::SIGKILL);
                    tree::signal_each(&all, libc::SIGKILL, false);
                    self.loose.push(exec.pid);
                }
            }
        }
        Some(one)
    }

    /// Ends all tries of this generation; nothing is told of them.
    pub(super) fn end_probes(&mut self, id: ServiceId, generation: Generation) {
        let mine = |t: &Try| t.service == id && t.generation == generation;
        let tokens: Vec<usize> = self.tries.all.iter().filter(|(_, t)| mine(t)).map(|(token, _)| *token).collect();
        for token in tokens {
            self.end_try(token);
        }
    }

    /// Whoever has had his time.
    pub(super) fn end_late_tries(&mut self) {
        let now = self.clock.now();
        while let Some((_, token)) = self.tries.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let took = self.tries.all.get(&token).map_or(Duration::ZERO, |t| t.until.saturating_sub(t.began));
            self.try_over(token, Seen::failure(format!("timed out after {}", human(took))));
        }
    }

    /// A child of ours was reaped: if it is the command of a try, what it has shown. False: it is none.
    pub(super) fn try_ended(&mut self, dead: &Dead) -> bool {
        let Some(token) = self.tries.by_pid.remove(&dead.pid) else { return false };
        self.end_what_it_left(dead.pid);
        let seen = match self.tries.all.get_mut(&token).map(|t| &mut t.errand) {
            Some(Kind::Command(exec)) => answer_of(exec, dead),
            Some(Kind::Socket(_)) | None => return true,
        };
        self.try_over(token, seen);
        true
    }

    /// Whoever a command has left in its group is our child by now: while one is there, the number is still the group's.
    fn end_what_it_left(&self, group: i32) {
        let member = |pid: &i32| proc::stat(*pid).is_some_and(|s| s.group == group);
        // Nearly always there is no such group, and one call says so.
        if signals::kill(-group, 0).is_ok() && tree::children(self.me).iter().any(member) {
            let _ = signals::kill(-group, libc::SIGKILL);
        }
    }

    /// Our own end: nobody waits for an answer.
    pub(super) fn end_all_tries(&mut self) {
        let tokens: Vec<usize> = self.tries.all.keys().copied().collect();
        for token in tokens {
            self.end_try(token);
        }
    }

    /// One look at the file that a start waits for.
    pub(super) fn look_at_file(&mut self, id: ServiceId) -> Option<Event> {
        let file = self.machine.services().get(id.0 as usize)?.spec.place.wait_for_file.as_ref()?;
        Some(Event::FileSeen { service: id, there: inspect::is_there(file) })
    }
}
