//! Commands on events. They run beside us, one at a time for each hook, and nothing waits for them: not the loop, not a
//! restart. Only a pre-start hook holds its start up, and may forbid it.

use super::launch::Surroundings;
use super::orphans::MARK;
use super::{Reactor, launch};
use crate::machine::*;
use crate::spec::Hook;
use crate::sys::spawn::{self, Child, Plan, Status};
use crate::sys::{reap, signals};
use mio::Events;
use nix::fcntl::OFlag;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Longest run of a hook; then its process group is killed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long those who were killed at our end may take to be gone.
const SETTLING: Duration = Duration::from_millis(200);
/// Events that wait for one hook; further ones are dropped with a count.
const QUEUE: usize = 64;
/// A hook is started at most so often within a minute; events beyond it are dropped with a count.
const RATE: usize = 60;
const RATE_TIME: Duration = Duration::from_secs(60);
/// An event is smaller than what a pipe holds, so that writing it never waits (pipe(7): 65536 bytes).
const EVENT_BYTES: usize = 60 * 1024;

/// What one hook is doing.
#[derive(Default)]
pub(super) struct Runner {
    queue: VecDeque<(&'static str, String)>,
    running: Option<Running>,
    started: VecDeque<Duration>,
    dropped: u64,
}

struct Running {
    pid: i32,
    until: Duration,
    killed: bool,
    /// How far it is, where it runs as another user.
    status: Option<Status>,
}

impl Running {
    fn of(child: Child, now: Duration) -> Running {
        Running { pid: child.pid, until: now + TIMEOUT, killed: false, status: child.status }
    }

    /// Why its program did not run, once it has been reaped.
    fn failure(&mut self) -> Option<String> {
        self.status.as_mut().and_then(Status::failure).map(|failed| errno_name(failed.errno as i32))
    }

    /// Kills it with its group, which it may not lead yet. Not reaped yet: the numbers are still its own.
    fn kill(&self) {
        let _ = signals::kill(-self.pid, libc::SIGKILL);
        let _ = signals::kill(self.pid, libc::SIGKILL);
    }
}

/// A start that is held up by its pre-start hooks.
pub(super) struct Held {
    generation: Generation,
    hook: usize,
    running: Running,
}

impl Runner {
    /// Whoever runs.
    pub(super) fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|r| r.pid)
    }
}

impl Reactor {
    /// Whether some hook wants this event.
    pub(super) fn hooks_want(&self, service: Option<ServiceId>, event: &str) -> bool {
        let mine = self.hooked.iter().filter(|at| service.is_none_or(|id| id.0 as usize == **at));
        mine.filter_map(|at| self.machine.services().get(*at)).any(|s| s.spec.hooks.iter().any(|h| wants(h, event)))
    }

    /// Gives an event to the hooks that want it.
    #[inline(never)]
    pub(super) fn run_hooks(&mut self, service: Option<ServiceId>, event: &'static str, json: &Value) {
        let text = json.to_string();
        for at in self.hooked.clone() {
            if service.is_some_and(|id| id.0 as usize != at) {
                continue;
            }
            let Some(s) = self.machine.services().get(at) else { continue };
            let hooks: Vec<usize> =
                s.spec.hooks.iter().enumerate().filter(|(_, h)| wants(h, event)).map(|(n, _)| n).collect();
            for n in hooks {
                let Some(runner) = self.workers[at].hooks.get_mut(n) else { continue };
                if runner.queue.len() >= QUEUE || text.len() > EVENT_BYTES {
                    runner.dropped += 1;
                } else {
                    runner.queue.push_back((event, text.clone()));
                }
                self.next_hook(at, n);
            }
        }
    }

    /// Starts the next run of a hook, if it is free and has something to do.
    fn next_hook(&mut self, at: usize, n: usize) {
        let now = self.clock.now();
        let mark = self.mark_of_hooks();
        let reports = self.report_dir();
        let Reactor { machine, spawner, workers, server, environment, .. } = self;
        let control = server.as_ref().map(|s| s.path());
        let around = Surroundings { environment, control, reports: reports.as_deref() };
        let Some(spec) = machine.services().get(at).map(|s| &s.spec) else { return };
        let (Some(runner), Some(hook)) = (workers[at].hooks.get_mut(n), spec.hooks.get(n)) else { return };
        while runner.running.is_none() {
            let Some((event, text)) = runner.queue.pop_front() else { break };
            while runner.started.front().is_some_and(|t| now.saturating_sub(*t) >= RATE_TIME) {
                runner.started.pop_front();
            }
            if runner.started.len() >= RATE {
                runner.dropped += 1;
                continue;
            }
            runner.started.push_back(now);
            match start(spawner, spec, hook, (event, &text), &around, &mark) {
                Ok(child) => runner.running = Some(Running::of(child, now)),
                Err(why) => log::error!("hook {:?}: {why}", hook.command.first().cloned().unwrap_or_default()),
            }
        }
        if runner.dropped > 0 && runner.running.is_none() {
            log::warn!(
                "hook {:?}: {} events were dropped: at most {RATE} runs in a minute, and {QUEUE} that wait",
                hook.command.first().cloned().unwrap_or_default(),
                std::mem::take(&mut runner.dropped)
            );
        }
    }

    pub(super) fn report_dir(&self) -> Option<PathBuf> {
        self.instance.report_dir.clone().filter(|_| self.instance.report_keep > 0)
    }

    // --- before a start ---

    /// Begins the pre-start hooks of a start. `None`: there are none, so the start may go on.
    pub(super) fn hold(
        &mut self,
        id: ServiceId,
        generation: Generation,
        from: usize,
    ) -> Option<Result<(), SpawnFailure>> {
        let at = id.0 as usize;
        let now = self.clock.now();
        let hooks = &self.machine.services().get(at)?.spec.hooks;
        let n = hooks.iter().enumerate().skip(from).find(|(_, h)| h.pre_start)?.0;
        let mark = self.mark_of_hooks();
        let reports = self.report_dir();
        let Reactor { machine, spawner, workers, server, environment, .. } = self;
        let control = server.as_ref().map(|s| s.path());
        let around = Surroundings { environment, control, reports: reports.as_deref() };
        let spec = &machine.services().get(at)?.spec;
        let hook = spec.hooks.get(n)?;
        let text = serde_json::json!({
            "event": "pre-start", "service": spec.name, "generation": generation.0,
        });
        Some(match start(spawner, spec, hook, ("pre-start", &text.to_string()), &around, &mark) {
            Ok(child) => {
                let running = Running::of(child, now);
                workers[at].held = Some(Box::new(Held { generation, hook: n, running }));
                Ok(())
            }
            Err(why) => {
                log::error!("pre-start hook: {why}");
                Err(veto(hook, libc::ENOEXEC))
            }
        })
    }

    /// Nobody waits for this start any more.
    pub(super) fn cancel_held(&mut self, id: ServiceId, generation: Generation) -> Option<Event> {
        let held = self.workers.get_mut(id.0 as usize)?.held.take_if(|h| h.generation == generation)?;
        held.running.kill();
        self.loose.push(held.running.pid);
        let hook = self.machine.services().get(id.0 as usize)?.spec.hooks.get(held.hook)?;
        Some(Event::SpawnFailed { service: id, generation, failure: veto(hook, libc::ECANCELED) })
    }

    /// The pre-start hook that a start waits for: its program, and for how long it has been running.
    pub(super) fn start_hook(&self, id: ServiceId) -> Option<(String, Duration)> {
        let held = self.workers.get(id.0 as usize)?.held.as_ref()?;
        let hook = self.machine.services().get(id.0 as usize)?.spec.hooks.get(held.hook)?;
        let begun = held.running.until.saturating_sub(TIMEOUT);
        let name = hook.command.first().map_or_else(String::new, |c| c.to_string_lossy().into_owned());
        Some((name, self.clock.now().saturating_sub(begun)))
    }

    // --- their ends ---

    /// A child of ours was reaped: if it is a hook, what follows. False: it is none.
    pub(super) fn hook_ended(&mut self, dead: &reap::Dead) -> bool {
        if let Some(at) = self.loose.iter().position(|pid| *pid == dead.pid) {
            self.loose.swap_remove(at);
            return true;
        }
        for at in self.hooked.clone() {
            if let Some(mut held) = self.workers[at].held.take_if(|h| h.running.pid == dead.pid) {
                self.held_ended(ServiceId(at as u32), &mut held, dead);
                return true;
            }
            let hooks = &mut self.workers[at].hooks;
            let mine = hooks.iter().position(|h| h.running.as_ref().is_some_and(|r| r.pid == dead.pid));
            if let Some(n) = mine {
                let mut how = hooks[n].running.take();
                if dead.code != Some(0) {
                    let late = how.as_ref().is_some_and(|r| r.killed);
                    self.say_hook_failed(at, n, dead, late, how.as_mut().and_then(Running::failure));
                }
                self.next_hook(at, n);
                return true;
            }
        }
        false
    }

    fn say_hook_failed(&self, at: usize, n: usize, dead: &reap::Dead, late: bool, failure: Option<String>) {
        let hook = self.machine.services().get(at).and_then(|s| s.spec.hooks.get(n));
        let command = hook.and_then(|h| h.command.first()).cloned().unwrap_or_default();
        if let Some(why) = failure {
            return log::error!("hook {command:?}: {why}");
        }
        match (late, dead.code, dead.signal) {
            (true, ..) => log::warn!("hook {command:?}: killed after {}", human(TIMEOUT)),
            (_, Some(code), _) => log::warn!("hook {command:?}: exited with code {code}"),
            (.., signal) => log::warn!("hook {command:?}: died by SIG{}", crate::signal_name(signal.unwrap_or(0))),
        }
    }

    fn held_ended(&mut self, id: ServiceId, held: &mut Held, dead: &reap::Dead) {
        let (service, generation) = (id, held.generation);
        if dead.code == Some(0) {
            match self.hold(id, generation, held.hook + 1) {
                None => {
                    if let Some(event) = self.spawn_now(id, generation) {
                        self.feed(event);
                    }
                }
                Some(Ok(())) => {}
                Some(Err(failure)) => self.feed(Event::SpawnFailed { service, generation, failure }),
            }
            return;
        }
        let errno = match held.running.failure() {
            Some(why) => {
                log::error!("pre-start hook: {why}");
                libc::ENOEXEC
            }
            None if held.running.killed => libc::ETIMEDOUT,
            None => libc::EPERM,
        };
        let hook = self.machine.services().get(id.0 as usize).and_then(|s| s.spec.hooks.get(held.hook));
        if let Some(failure) = hook.map(|h| veto(h, errno)) {
            self.feed(Event::SpawnFailed { service, generation, failure });
        }
    }

    /// Pids of all that run: helpers of ours, not part of any worker's tree.
    pub(super) fn hook_pids(&self) -> impl Iterator<Item = i32> {
        let hooked = || self.hooked.iter().filter_map(|at| self.workers.get(*at));
        let running = hooked().flat_map(|w| w.hooks.iter().filter_map(|h| h.running.as_ref()));
        let held = hooked().filter_map(|w| w.held.as_ref().map(|h| &h.running));
        running.chain(held).map(|r| r.pid).chain(self.loose.iter().copied())
    }

    /// When the next one has had its time.
    pub(super) fn hooks_deadline(&self) -> Option<Duration> {
        let hooked = || self.hooked.iter().filter_map(|at| self.workers.get(*at));
        let running = hooked().flat_map(|w| w.hooks.iter().filter_map(|h| h.running.as_ref()));
        let held = hooked().filter_map(|w| w.held.as_ref().map(|h| &h.running));
        running.chain(held).filter(|r| !r.killed).map(|r| r.until).min()
    }

    /// Kills whoever has had his time.
    pub(super) fn end_late_hooks(&mut self) {
        let now = self.clock.now();
        for at in self.hooked.clone() {
            let Some(worker) = self.workers.get_mut(at) else { continue };
            let running = worker.hooks.iter_mut().filter_map(|h| h.running.as_mut());
            let held = worker.held.iter_mut().map(|h| &mut h.running);
            for r in running.chain(held).filter(|r| !r.killed && r.until <= now) {
                r.kill();
                r.killed = true;
            }
        }
    }

    /// At our own end: hooks that were told of it finish their work, within their time; a signal to us ends the wait. Then
    /// whatever commands have left ends with us.
    pub(super) fn await_hooks(&mut self) {
        // What was killed before may not be gone yet.
        let mut killed = self.tries.pids().next().is_some() || !self.loose.is_empty();
        let mut events = Events::with_capacity(16);
        let until = self.clock.now() + TIMEOUT;
        while self.hook_pids().next().is_some() {
            self.beat_upward();
            while let Ok(dead) = reap::reap_one() {
                let _ = self.hook_ended(&dead) || self.try_ended(&dead);
            }
            if self.hook_pids().next().is_none() || self.clock.now() >= until || self.asked_to_end() {
                break;
            }
            if self.poll.poll(&mut events, Some(Duration::from_millis(100))).is_err() {
                events.clear();
            }
        }
        for pid in self.hook_pids() {
            // Not reaped yet: the number is still its own, and its group's.
            let _ = signals::kill(-pid, libc::SIGKILL);
            let _ = signals::kill(pid, libc::SIGKILL);
            killed = true;
        }
        // What these have not closed is closed by our own end, which waits for no peer.
        for pid in self.closers.pids() {
            let _ = signals::kill(pid, libc::SIGKILL);
            killed = true;
        }
        self.forget_strangers();
        if self.end_all_orphans() || killed {
            self.settle(&mut events);
        }
    }

    /// Whoever was killed is gone before we are, as far as the kernel is quick about it. Nothing follows from it: what still
    /// waits for a hook is not run any more.
    fn settle(&mut self, events: &mut Events) {
        let until = self.clock.now() + SETTLING;
        while self.clock.now() < until {
            match reap::reap_one() {
                Ok(_) => {}
                Err(reap::Rest::Alone) => return,
                Err(reap::Rest::Some) => {
                    // Whoever was killed may have left us children of its own.
                    self.end_all_orphans();
                    if self.poll.poll(events, Some(Duration::from_millis(5))).is_err() {
                        events.clear();
                    }
                }
            }
        }
    }
}

fn wants(hook: &Hook, event: &str) -> bool {
    !hook.pre_start && (hook.events.is_empty() || hook.events.iter().any(|e| e == event))
}

fn veto(hook: &Hook, errno: i32) -> SpawnFailure {
    let path = hook.command.first().map_or(String::new(), |c| c.to_string_lossy().chars().take(200).collect());
    SpawnFailure { step: Step::PreStart, errno, path }
}

/// Runs a hook with its event on standard input.
fn start(
    spawner: &mut spawn::Spawner,
    spec: &crate::spec::Spec,
    hook: &Hook,
    (event, text): (&str, &str),
    around: &Surroundings<'_>,
    mark: &str,
) -> Result<Child, String> {
    let input = pipe_with(text).map_err(|e| format!("pipe: {e}"))?;
    let mut plan: Plan<'_> = launch::helper(spec, &hook.command, around, event, Some((MARK, mark)));
    plan.stdio[0] = Some(input.as_raw_fd());
    launch::give_to(&input, plan.uid);
    match spawner.spawn(&plan) {
        Ok(child) => Ok(child),
        Err(failed) => Err(errno_name(failed.errno as i32)),
    }
}

/// The read end of a pipe that holds this text and a newline, and then ends.
fn pipe_with(text: &str) -> std::io::Result<OwnedFd> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // Only the writing end: the hook's waits as any pipe does.
    nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut write = File::from(write);
    write.write_all(text.as_bytes())?;
    write.write_all(b"\n")?;
    Ok(read)
}
