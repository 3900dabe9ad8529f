//! One action, one call; every failure comes back as an event.

use super::launch::{self, Launched};
use super::{Proc, Reactor, some};
use crate::control::{Frame, error, ok, service, waited};
use crate::machine::*;
use crate::spec::{Form, GiveUp, Scope};
use crate::sys::reap::Rest;
use crate::sys::{clock, signals, tree, tty};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::time::Duration;

/// A spawn that held the loop for so long is told of as a stall.
const SLOW_SPAWN: Duration = Duration::from_millis(500);

impl Reactor {
    /// Does one thing. What came of it, if the machine has to know.
    pub(super) fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { service, generation } => self.spawn(service, generation),
            Action::CancelSpawn { service, generation } => {
                self.hurry_launch(service, generation);
                let begun = self.cancel_freeing(service, generation).or_else(|| self.cancel_held(service, generation));
                begun.or_else(|| self.never_begun(service, generation))
            }
            Action::LookAtPort { service, generation, port } => self.look_at_port(service, generation, port),
            Action::Inspect { service, generation, second } => self.inspect(service, generation, second),
            Action::Gather { service, generation } => {
                self.gather(service, generation);
                None
            }
            Action::Measure { service, generation } => {
                self.to_measure.push((service, generation));
                None
            }
            Action::Report(order) => {
                self.take_report(*order);
                None
            }
            Action::Signal { service, generation, signal, scope, wake } => {
                if signal == libc::SIGKILL {
                    self.gather_once(service, generation);
                }
                self.signal(service, generation, signal, scope, wake);
                None
            }
            Action::Sweep { service, generation, signal } => {
                self.sweep(service, generation, signal);
                None
            }
            Action::LookAtTree { service, generation } => {
                let left = self.left(service, Rest::Some);
                Some(Event::Tree { service, generation, left })
            }
            Action::Say { service, generation, dialect, word } => {
                self.say_word(service, generation, dialect, &word);
                None
            }
            Action::LookAtLanes { service, generation } => {
                self.look_at_lanes(service, generation);
                None
            }
            Action::Probe { service, generation, probe } => self.start_probe(service, generation, probe),
            Action::EndProbes { service, generation } => {
                self.end_probes(service, generation);
                None
            }
            Action::LookAtFile { service } => self.look_at_file(service),
            Action::ReadFileAgain { ticket, restart } => {
                self.read_again(ticket, restart);
                None
            }
            Action::ReopenLogs => {
                self.reopen_logs();
                None
            }
            Action::RunGiveUp { service } => self.run_give_up(service),
            Action::EndGiveUp { service } => {
                let own = self.give_ups.iter().find(|(_, (of, _))| *of == service).map(|(pid, _)| *pid);
                if let Some(pid) = own.filter(|pid| self.give_ups.remove(pid).is_some()) {
                    // Not reaped yet: the number is still its own.
                    let _ = signals::kill(pid, libc::SIGKILL);
                }
                None
            }
            Action::Farewell { signal } => {
                self.farewell = true;
                let strangers = self.strangers();
                tree::signal_each(&strangers, signal, true);
                strangers.is_empty().then_some(Event::Alone)
            }
            Action::Suspend => {
                self.stop_apart();
                signals::suspend();
                self.resume_show();
                None
            }
            Action::Answer { ticket, reply } => {
                // What led to an outcome is told before it.
                self.tell_what_waits();
                self.answer(ticket, reply);
                None
            }
            Action::Tell(mut notice) => {
                if let What::Stuck { pids } | What::LeftoverKilled { pids, .. } = &mut notice.what {
                    *pids = some(std::mem::take(pids));
                }
                self.tell(notice);
                None
            }
            Action::Exit(status) => {
                // To a host program an end that it asked for is no failure of anybody.
                let asked = self.instance.form == Form::Library && self.machine.end_was_asked_for();
                self.exit = Some(if asked { 0 } else { status });
                None
            }
        }
    }

    /// It was called off while it stood in the list of this turn.
    fn never_begun(&mut self, service: ServiceId, generation: Generation) -> Option<Event> {
        let at = self.called_off.iter().position(|off| *off == (service, generation))?;
        self.called_off.swap_remove(at);
        let failure = SpawnFailure { step: Step::PreStart, errno: libc::ECANCELED, path: String::new() };
        Some(Event::SpawnFailed { service, generation, failure })
    }

    /// A new process, unless its ports have to be freed or a pre-start hook holds it up.
    fn spawn(&mut self, id: ServiceId, generation: Generation) -> Option<Event> {
        match self.waits_for_ports(id, generation) {
            true => None,
            false => self.spawn_behind_hooks(id, generation),
        }
    }

    pub(super) fn spawn_behind_hooks(&mut self, id: ServiceId, generation: Generation) -> Option<Event> {
        match self.hold(id, generation, 0) {
            None => self.spawn_now(id, generation),
            Some(Ok(())) => None,
            Some(Err(failure)) => Some(Event::SpawnFailed { service: id, generation, failure }),
        }
    }

    /// What came of it, if that is known at once.
    pub(super) fn spawn_now(&mut self, id: ServiceId, generation: Generation) -> Option<Event> {
        self.fit(id.0 as usize);
        if self.shared_group && generation.0 > 1 {
            // A shell that was the worker had made itself the foreground.
            tty::take_back();
        }
        let before = self.clock.now();
        let mut launched = self.launch(id, generation);
        let lacks = |made: &Result<_, SpawnFailure>| {
            made.as_ref().is_err_and(|f: &SpawnFailure| matches!(f.errno, libc::EMFILE | libc::ENFILE))
        };
        if lacks(&launched) {
            // First those of the worker that it follows.
            self.close_what_waits();
            launched = self.launch(id, generation);
        }
        if lacks(&launched) && self.shed_clients() {
            launched = self.launch(id, generation);
        }
        let took = self.clock.now().saturating_sub(before);
        if took >= SLOW_SPAWN {
            self.tell_own(What::Stall { late: took });
        }
        match launched {
            Ok((launched, None)) => {
                self.mains.insert(launched.proc.pid, id);
                self.remember(id, launched.proc.pid);
                Some(self.runs(id, launched))
            }
            Ok((launched, Some(status))) => {
                self.await_exec(id, launched, status);
                None
            }
            Err(failure) => Some(Event::SpawnFailed { service: id, generation, failure }),
        }
    }

    /// The program runs: what it says and does is heard from now on.
    pub(super) fn runs(&mut self, id: ServiceId, launched: Launched) -> Event {
        let Launched { proc, group, marks, outputs, links } = launched;
        let (pid, generation) = (proc.pid, proc.generation);
        if let Some(worker) = self.workers.get_mut(id.0 as usize) {
            worker.told.clear();
            worker.told_group = None;
            worker.named.forget();
            worker.proc = Some(proc);
            worker.group = group;
            worker.marks = marks;
        }
        for output in outputs {
            self.register_output(output);
        }
        self.open_links(id, links);
        self.count_oom_kills();
        self.pending.started();
        if generation.0 > 1 {
            self.after.prepare_next(id);
        }
        Event::Spawned { service: id, generation, pid }
    }

    /// Takes the descriptors of idle clients back. False where there was none to take.
    #[inline(never)]
    fn shed_clients(&mut self) -> bool {
        let web = self.shed_web();
        let Some(server) = self.server.as_mut() else { return web };
        let gone = server.shed(self.poll.registry());
        self.forget_clients(&gone);
        true
    }

    #[inline(never)]
    fn signal(&mut self, id: ServiceId, generation: Generation, signal: i32, scope: Scope, wake: bool) {
        let Some(proc) = self.workers.get(id.0 as usize).and_then(|w| w.proc.as_ref()) else { return };
        if proc.generation != generation {
            return;
        }
        let main = proc.pid;
        let told_at = crate::sys::clock::since_boot();
        let (scope_word, pids) = match scope {
            Scope::Main => ("main", self.signal_main(id, signal)),
            Scope::Group if proc.own_group => {
                // Members of the group cannot be told apart from outside; the group is alive as long as main is not
                // reaped, so its number is its own.
                let reached = signals::kill(-main, signal).is_ok();
                let elsewhere = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(main)))
                    .is_ok_and(|group| group.as_raw() != main);
                let mut pids = if reached && !elsewhere { vec![main] } else { Vec::new() };
                if !reached || elsewhere {
                    pids.extend(self.signal_main(id, signal));
                }
                ("group", pids)
            }
            Scope::Group | Scope::Tree => {
                let word = if scope == Scope::Tree { "tree" } else { "group" };
                (word, tree::signal_each(&tree::descendants(&[main]), signal, false))
            }
        };
        if wake {
            self.wakes.add(id, generation, scope, self.clock.now());
            if let Some(worker) = self.workers.get_mut(id.0 as usize) {
                worker.told = pids.clone();
                worker.told_group = (scope_word == "group").then_some(main);
                worker.told_at = told_at;
            }
        }
        let reached = !pids.is_empty();
        self.tell(Notice {
            service: Some(id),
            generation: Some(generation),
            pid: Some(main),
            cause: None,
            what: What::SignalSent { signal, scope: scope_word, pids: some(pids) },
        });
        if !reached {
            log::warn!("pid {main} could not be sent SIG{}", crate::signal_name(signal));
        }
    }

    /// Before we stop with the terminal's job: a worker in a session of its own has got the key from us. Its default action
    /// is none there, because no shell minds that group (it is orphaned): a worker that does not catch it is stopped in the
    /// way that always works. SIGCONT is passed on as it comes.
    fn stop_apart(&self) {
        if !self.apart {
            return;
        }
        for proc in self.workers.iter().filter_map(|w| w.proc.as_ref()) {
            if proc.own_group && !crate::sys::proc::catches(proc.pid, libc::SIGTSTP) {
                // Not reaped yet: the number is its own, and its group's.
                let _ = signals::kill(-proc.pid, libc::SIGSTOP);
            }
        }
    }

    pub(super) fn signal_main(&self, id: ServiceId, signal: i32) -> Vec<i32> {
        let proc = self.workers.get(id.0 as usize).and_then(|w| w.proc.as_ref());
        // Not reaped yet: the number is still its own, where there is no descriptor of it.
        let reached = |p: &&Proc| signals::send(p.pid, p.pidfd.as_ref().map(AsFd::as_fd), signal).is_ok();
        proc.filter(reached).map(|p| p.pid).into_iter().collect()
    }

    /// All that is left of a tree whose main process is gone.
    #[inline(never)]
    fn sweep(&mut self, id: ServiceId, generation: Generation, signal: i32) {
        let mut left = self.left(id, Rest::Some);
        if signal == libc::SIGTERM
            && let Some(worker) = self.workers.get(id.0 as usize)
        {
            // Who got the stop signal with the main process is on its way: a second one means "at once" to many.
            let group = |pid: i32| crate::sys::proc::stat(pid).map(|s| s.group);
            left.retain(|p| {
                !worker.told.contains(p) && (worker.told_group.is_none() || group(*p) != worker.told_group)
            });
        }
        let killed_at_once = signal == libc::SIGKILL
            && self.workers.get(id.0 as usize).and_then(|w| w.group.as_ref()).is_some_and(|g| g.kill());
        let mut pids = tree::signal_each(&left, signal, true);
        if killed_at_once {
            pids = left;
        }
        if !pids.is_empty() {
            let what = What::SignalSent { signal, scope: "tree", pids: some(pids) };
            self.tell(Notice { service: Some(id), generation: Some(generation), pid: None, cause: None, what });
        }
    }

    #[inline(never)]
    fn run_give_up(&mut self, id: ServiceId) -> Option<Event> {
        let reports = self.report_dir();
        let Reactor { machine, spawner, give_ups, server, environment, .. } = self;
        let control = server.as_ref().map(|s| s.path());
        let around = launch::Surroundings { environment, control, reports: reports.as_deref() };
        let spec = &machine.services().get(id.0 as usize)?.spec;
        let GiveUp::Exec(command) = &spec.restart.give_up else { return None };
        match spawner.spawn(&launch::helper(spec, command, &around, "gave-up", None)) {
            Ok(child) => {
                give_ups.insert(child.pid, (id, child.status));
                None
            }
            Err(failed) => {
                let program = command.first().cloned().unwrap_or_default();
                log::error!("give_up command {program:?}: {}", errno_name(failed.errno as i32));
                Some(Event::GiveUpRan { service: id })
            }
        }
    }

    #[inline(never)]
    fn answer(&mut self, ticket: Ticket, reply: Reply) {
        // What was wished is kept before anybody is told that it is done.
        self.keep_wishes();
        if let Some(web) = self.web.as_mut() {
            web.pages.hear(ticket, &reply);
        }
        let Some(waiting) = self.tickets.remove(&ticket) else { return };
        let frame = Frame {
            now: MonoTime(self.clock.now()),
            wall: clock::wall(),
            services: self.machine.services(),
            reports: &self.reports,
        };
        let name = |id: ServiceId| frame.services.get(id.0 as usize).map_or("", |s| s.spec.name.as_str());
        let id = &waiting.id;
        let asked = || frame.picked(&waiting.services).map(|s| service(&frame, s)).collect::<Vec<_>>();
        let value: Value = match reply {
            Reply::Done { services } if services.is_empty() => ok(id, json!({})),
            Reply::Done { .. } => ok(id, json!({"services": asked()})),
            Reply::NotSo { service, reason } => {
                ok(id, json!({"services": asked(), "reason": format!("{}: {reason}", name(service))}))
            }
            Reply::Refused { service: Some(service), reason } => {
                error(id, "refused", &format!("{}: {reason}", name(service)), None)
            }
            Reply::Refused { service: None, reason } => error(id, "refused", &reason, None),
            Reply::TimedOut { service, reason } => error(id, "timeout", &format!("{}: {reason}", name(service)), None),
            Reply::Waited { service, want, reached, waited: time, reason } => {
                let tail = if reached { Vec::new() } else { self.log_tail(service) };
                let mut value = waited(&frame, service, want, reached, time, tail);
                value["reason"] = reason.into();
                ok(id, value)
            }
        };
        if let Some(server) = self.server.as_mut() {
            server.say(waiting.client, &value);
            server.set_open(waiting.client, false, self.clock.now());
        }
    }
}
