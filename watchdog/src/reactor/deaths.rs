//! Who is dead: signals first, then every child that can be reaped, then what is left of its tree.

use super::Reactor;
use crate::machine::*;
use crate::sys::reap::{self, Rest};
use crate::sys::signals::Received;
use crate::sys::{panic, tree};

impl Reactor {
    /// Signals to us, then deaths: a key of the terminal is heard before the end that it caused is judged.
    pub(super) fn on_signals(&mut self, received: &[Received]) {
        if received.iter().any(|r| r.signal != libc::SIGCHLD) {
            self.only_deaths = false;
            self.do_what_waits();
        }
        for r in received.iter().filter(|r| r.signal != libc::SIGCHLD) {
            let origin = match r.from_kernel {
                true => Origin::Kernel,
                false => Origin::Process { pid: r.pid, uid: r.uid },
            };
            self.feed(Event::Signalled { signal: r.signal, origin });
        }
        if received.iter().any(|r| r.signal == libc::SIGCHLD) {
            // If we were stopped meanwhile, nobody can say when the worker died: it lived when we last looked.
            let stopped = received.iter().any(|r| r.signal == libc::SIGCONT);
            let seen_alive = if stopped { MonoTime(self.awake) } else { self.now() };
            self.reap(seen_alive);
        }
    }

    /// Takes everybody who is dead; then says who of them was a worker, and what is left of its tree.
    fn reap(&mut self, seen_alive: MonoTime) {
        let mut ended = Vec::new();
        self.starts_first();
        let mut orphans = false;
        let rest = loop {
            match reap::reap_one() {
                Ok(dead) => match self.whose(dead.pid).inspect(|_| panic::forget(dead.pid)) {
                    Some(service) => ended.push((service, dead)),
                    None if self.hook_ended(&dead) || self.try_ended(&dead) || self.look_ended(&dead) => {}
                    None => orphans |= self.on_stranger(dead.pid),
                },
                Err(rest) => break rest,
            }
        };
        // One look for all who died together, before anything is started in their place.
        let mut strangers = None;
        for (service, dead) in ended {
            if self.ended_before_exec(service, &dead) {
                continue;
            }
            // What it said stands before its end.
            self.last_news(service);
            if self.passes_on(service) {
                continue;
            }
            let Some(worker) = self.workers.get_mut(service.0 as usize) else { continue };
            let Some(proc) = worker.proc.take() else { continue };
            self.mains.remove(&dead.pid);
            self.wakes.forget(service);
            self.last_words(service, proc.generation);
            self.tell_lines_seen();
            self.close_links(service);
            self.end_probes(service, proc.generation);
            self.forget_usage(service);
            self.doubt(service, proc.generation, &dead);
            let left = self.left_of(service, rest, &mut strangers);
            let exit = Exit {
                code: dead.code,
                signal: dead.signal,
                core: dead.core,
                rss_peak_bytes: Some(dead.rss_peak_bytes),
                // Not known yet: see `after`.
                oom: Oom::No,
                cpu: dead.cpu,
            };
            self.feed(Event::Exited { service, generation: proc.generation, exit, seen_alive, left });
        }
        self.tell_reaped_tries();
        self.end_what_tries_left();
        if orphans || rest == Rest::Alone {
            self.look_at_trees(rest);
        }
        if self.farewell && (rest == Rest::Alone || self.strangers().is_empty()) {
            self.feed(Event::Alone);
        }
        if !self.only_deaths {
            self.do_what_waits();
        }
    }

    fn whose(&self, pid: i32) -> Option<ServiceId> {
        self.mains.get(&pid).copied()
    }

    /// A helper of ours, or an orphan that we inherited. True for the latter.
    #[inline(never)]
    fn on_stranger(&mut self, pid: i32) -> bool {
        if let Some((service, status)) = self.give_ups.remove(&pid) {
            if let Some(failed) = status.and_then(|mut status| status.failure()) {
                log::error!("give_up command: {}", errno_name(failed.errno as i32));
            }
            self.feed(Event::GiveUpRan { service });
            return false;
        }
        if self.closer_ended(pid) {
            return false;
        }
        self.before.retain(|p| *p != pid);
        self.orphans.reaped(pid);
        true
    }

    /// Whoever dies of a tree that is being swept is reaped here: look again at what is left of it.
    fn look_at_trees(&mut self, rest: Rest) {
        for (service, generation) in self.machine.swept() {
            // What was found of another may have changed that.
            let swept = self.machine.services().get(service.0 as usize).and_then(Service::swept);
            if swept != Some(generation) {
                continue;
            }
            let left = self.left(service, rest);
            self.feed(Event::Tree { service, generation, left });
        }
    }

    /// What of this service's tree still lives, its main process being gone.
    pub(super) fn left(&mut self, service: ServiceId, rest: Rest) -> Vec<i32> {
        self.left_of(service, rest, &mut None)
    }

    /// The same; `strangers` are our children that are nobody's main process, looked for when they are needed first.
    fn left_of(&mut self, service: ServiceId, rest: Rest, strangers: &mut Option<Vec<i32>>) -> Vec<i32> {
        let strangers = match rest {
            Rest::Alone => &Vec::new(),
            Rest::Some => strangers.get_or_insert_with(|| self.stranger_children()),
        };
        let Some(worker) = self.workers.get_mut(service.0 as usize) else { return Vec::new() };
        let mut left = tree::left(strangers, &worker.marks);
        if let Some(group) = &worker.group {
            left.extend(group.pids());
            left.sort_unstable();
            left.dedup();
        }
        if left.is_empty() {
            let group = worker.group.take();
            self.after.remove_group(group);
        }
        left
    }

    /// Children of ours that are not part of any tree that lost its main process, beside the main processes.
    fn helpers(&self) -> Vec<i32> {
        let helpers = self.give_ups.keys().chain(self.looks.keys()).copied();
        let helpers = helpers.chain(self.closers.pids());
        helpers.chain(self.hook_pids()).chain(self.tries.pids()).chain(self.before.iter().copied()).collect()
    }

    /// Children of ours that are neither a main process nor a helper.
    pub(super) fn stranger_children(&self) -> Vec<i32> {
        self.strangers_of(tree::children(self.me))
    }

    /// Those of our children who are.
    pub(super) fn strangers_of(&self, mut children: Vec<i32>) -> Vec<i32> {
        if children.len() > self.mains.len() || self.has_strangers(&children) {
            let helpers = self.helpers();
            children.retain(|p| !self.mains.contains_key(p) && !helpers.contains(p));
            return children;
        }
        Vec::new()
    }

    /// Both in order, side by side: with thousands of children that takes a fraction of a search for each.
    fn has_strangers(&self, children: &[i32]) -> bool {
        let mut children = children.to_vec();
        children.sort_unstable();
        let mut mains = self.mains.keys();
        children.iter().any(|child| mains.by_ref().find(|main| *main >= child) != Some(child))
    }

    /// As PID 1: who would be killed by the kernel if we left now.
    pub(super) fn strangers(&self) -> Vec<i32> {
        tree::descendants(&self.stranger_children())
    }
}
