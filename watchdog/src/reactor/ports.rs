//! Before a start: whoever holds one of its declared ports is told of, and ended where that was asked for. The start
//! waits a bounded time for that and goes on whatever came of it: a port that is still held is then the worker's own
//! error, in its own words.

use super::Reactor;
use crate::machine::*;
use crate::ports::{Family, Found, judge, look, port_word};
use crate::spec::{Form, Port};
use crate::sys::owners::Owner;
use crate::sys::{fds, signals, spawn};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(2);
/// From KILL to going on.
const KILL_WAIT: Duration = Duration::from_secs(1);
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// A start that waits until its ports are free.
pub(super) struct Freeing {
    service: ServiceId,
    generation: Generation,
    targets: Vec<Target>,
    ports: Vec<Port>,
    /// When they are killed, or when they were and the wait is over.
    until: Duration,
    killed: bool,
    next: Duration,
}

/// Somebody who is being ended.
struct Target {
    owner: Owner,
    pidfd: OwnedFd,
    sockets: BTreeSet<u64>,
}

impl Target {
    /// The very process that was looked at: the pidfd first, then another look at who bears the number.
    fn of(found: &Found, many: bool) -> Option<Target> {
        let (owner, _) = found.owner.as_ref()?;
        let pidfd = signals::pidfd_open(owner.pid).ok()?;
        let pidfd = if many { fds::raise(pidfd, spawn::FLOOR) } else { pidfd };
        owner.lives().then(|| Target { owner: owner.clone(), pidfd, sockets: found.sockets.clone() })
    }
}

impl Freeing {
    /// Another look. True: it is over.
    fn go_on(&mut self, now: Duration) -> bool {
        let in_the_way: Vec<&Target> = self.targets.iter().filter(|t| t.owner.holds(&t.sockets)).collect();
        if in_the_way.is_empty() || (self.killed && now >= self.until) {
            return true;
        }
        if now >= self.until {
            for target in in_the_way {
                let _ = signals::pidfd_send(target.pidfd.as_fd(), libc::SIGKILL);
            }
            self.killed = true;
            self.until = now + KILL_WAIT;
        }
        self.next = self.until.min(now + PAUSE);
        false
    }

    /// Whom it has ended.
    fn ended(&self) -> Vec<String> {
        let dead = self.targets.iter().filter(|t| !t.owner.lives());
        let mut names: Vec<String> = dead.map(|t| format!("{} (pid {})", t.owner.name, t.owner.pid)).collect();
        names.dedup();
        names
    }
}

impl Reactor {
    /// Looks who holds the ports of a start. True: somebody is being ended, and the start waits for that.
    pub(super) fn waits_for_ports(&mut self, id: ServiceId, generation: Generation) -> bool {
        let Some(spec) = self.machine.services().get(id.0 as usize).map(|s| &s.spec) else { return false };
        if spec.ports.declared.is_empty() {
            return false;
        }
        let many = self.instance.form != Form::Prefix;
        let user = nix::unistd::geteuid().as_raw();
        let mut targets = Vec::new();
        let mut ports = Vec::new();
        let holders = self.port_holders(&spec.ports.declared);
        let judged = judge(&holders, user, &spec.ports.process_filters);
        for (found, judged) in holders.iter().zip(judged) {
            let said = format!("{}: port {} is held by {}", spec.name, port_word(found.port), found.by());
            if !spec.ports.kill_others {
                log::warn!("{said}");
                continue;
            }
            if let Err(why) = judged {
                log::warn!("{said}, which is not ended: {why}");
            } else {
                log::warn!("{said}, which is ended to free it");
                targets.extend(Target::of(found, many));
                ports.push(found.port);
            }
        }
        for target in &targets {
            if let Err(e) = signals::pidfd_send(target.pidfd.as_fd(), libc::SIGTERM) {
                log::warn!("{}: {} (pid {}): {e}", spec.name, target.owner.name, target.owner.pid);
            }
        }
        if targets.is_empty() {
            return false;
        }
        let now = self.clock.now();
        let (until, next) = (now + GRACE, now + PAUSE);
        self.freeing.push(Freeing { service: id, generation, targets, ports, until, killed: false, next });
        true
    }

    fn port_holders(&self, declared: &[Port]) -> Vec<Found> {
        let service = |pid: i32| {
            let id = self.mains.get(&pid)?;
            self.machine.services().get(id.0 as usize).map(|s| s.spec.name.clone())
        };
        look(declared, &Family { me: self.me, before: &self.before, service: &service })
    }

    /// When the next look is due.
    pub(super) fn ports_deadline(&self) -> Option<Duration> {
        self.freeing.iter().map(|f| f.next).min()
    }

    /// Looks again at those who are being ended; a start that waits for nobody any more goes on.
    pub(super) fn free_ports(&mut self) {
        let now = self.clock.now();
        let over = |f: &mut Freeing| f.next <= now && f.go_on(now);
        let done: Vec<Freeing> = self.freeing.extract_if(.., over).collect();
        for freed in done {
            self.say_freed(&freed);
            if let Some(event) = self.spawn_behind_hooks(freed.service, freed.generation) {
                self.feed(event);
            }
        }
    }

    #[inline(never)]
    fn say_freed(&self, freed: &Freeing) {
        let name = self.machine.services().get(freed.service.0 as usize).map_or("", |s| s.spec.name.as_str());
        let ended = freed.ended();
        let how = if freed.killed { " by SIGKILL" } else { "" };
        let ended = if ended.is_empty() { "nobody".into() } else { ended.join(", ") };
        let still: Vec<String> = self
            .port_holders(&freed.ports)
            .iter()
            .map(|found| format!("port {} is still held by {}", port_word(found.port), found.by()))
            .collect();
        let still = if still.is_empty() { "its ports are free".into() } else { still.join(", ") };
        log::warn!("{name}: ended {ended}{how}; {still}");
    }

    /// Nobody waits for this start any more. Whoever got a TERM for it has got it; nobody is killed.
    pub(super) fn cancel_freeing(&mut self, id: ServiceId, generation: Generation) -> Option<Event> {
        let at = self.freeing.iter().position(|f| f.service == id && f.generation == generation)?;
        let freed = self.freeing.swap_remove(at);
        let path = freed.ports.first().map_or(String::new(), |port| format!("port {}", port_word(*port)));
        let failure = SpawnFailure { step: Step::PreStart, errno: libc::ECANCELED, path };
        Some(Event::SpawnFailed { service: id, generation, failure })
    }
}
