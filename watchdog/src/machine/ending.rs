//! Signals to the watchdog, and how it comes to its end.

use super::clients::announce;
use super::health::Readiness;
use super::service::{INT, Ladder, Service, TERM};
use super::state::State;
use super::supervisor::Supervisor;
use super::time::MonoTime;
use super::waiting::{Held, Leave};
use super::words::*;
use crate::spec::SignalNumber;
use serde::Serialize;
use std::time::Duration;

/// What the terminal sends to the whole group, and so to the worker as well.
const KEYS: [SignalNumber; 6] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH, libc::SIGTTIN, libc::SIGTTOU];
/// The end of the watchdog, once it has begun.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ending {
    pub(super) by: By,
    pub(super) terms: u32,
    pub(super) ints: u32,
    /// The status that was decided already (`give_up`), else the worker's own.
    pub(super) status: Option<u8>,
}

impl Supervisor {
    // --- signals to the watchdog ---

    pub(super) fn on_signalled(&mut self, now: MonoTime, received: SignalNumber, origin: Origin, out: &mut Actions) {
        let (pid, uid) = match origin {
            Origin::Process { pid, uid } => (Some(pid), Some(uid)),
            Origin::Kernel => (None, None),
        };
        if self.setup.up {
            let by = By { kind: ByKind::Signal, signal: Some(received), pid, uid };
            return self.on_own_signal(now, received, origin, by, out);
        }
        let key = origin == Origin::Kernel && (self.setup.shared_group || self.setup.apart);
        if key && KEYS.contains(&received) {
            self.pass_on(now, received, out);
            return self.on_key(now, received, out);
        }
        let rewrites = self.services.first().map(|s| s.spec.rewrite_signal.clone()).unwrap_or_default();
        let signal = rewrites.iter().find(|(from, _)| *from == received).map_or(received, |(_, to)| *to);
        if signal == 0 {
            return;
        }
        let by = By { kind: ByKind::Signal, signal: Some(signal), pid, uid };
        // As sent to the watchdog by the runtime of an image with that STOPSIGNAL.
        let stop_signal = self.services.iter().any(|s| s.spec.stop.signal == Some(signal));
        if signal == TERM || signal == INT || stop_signal {
            return self.end(now, by, signal, out);
        }
        // The kernel's HUP: the terminal is closed, and the one program may not have it as its own.
        let hung_up = self.setup.prefix && signal == libc::SIGHUP && origin == Origin::Kernel;
        let asks_for_end = received == TERM || received == INT || hung_up;
        if asks_for_end && self.services.iter().all(|s| s.living().is_none()) {
            // Rewritten or a closed terminal, but there is no worker to end itself its own way.
            return self.end(now, By { signal: Some(received), ..by }, received, out);
        }
        for n in 0..self.services.len() {
            self.with(n, now, out, |s, cx| {
                s.forward(cx, signal);
                if asks_for_end {
                    // The worker ends itself its own way, and that is no failure.
                    s.on_key(now);
                }
            });
        }
        if signal == libc::SIGTSTP && origin == Origin::Kernel {
            out.push(Action::Suspend);
        }
    }

    /// Of many services none is more meant than another: the signals are for us.
    fn on_own_signal(&mut self, now: MonoTime, received: SignalNumber, origin: Origin, by: By, out: &mut Actions) {
        match received {
            libc::SIGTERM | libc::SIGQUIT => self.end(now, by, TERM, out),
            libc::SIGINT => self.end(now, by, INT, out),
            // Of the kernel: the terminal is closed. Of a process: a wish to read the file again.
            libc::SIGHUP if origin == Origin::Kernel => self.end(now, by, TERM, out),
            libc::SIGHUP if !self.is_ending() => out.push(Action::ReadFileAgain { ticket: None, restart: true }),
            libc::SIGUSR1 => out.push(Action::ReopenLogs),
            libc::SIGTSTP => out.push(Action::Suspend),
            _ => {}
        }
    }

    /// A key of the terminal that only we heard. TTIN and TTOU are about our own reading and writing.
    fn pass_on(&mut self, now: MonoTime, key: SignalNumber, out: &mut Actions) {
        let own = matches!(key, libc::SIGTTIN | libc::SIGTTOU);
        if self.setup.apart && !own {
            for n in 0..self.services.len() {
                self.with(n, now, out, |s, cx| s.forward(cx, key));
            }
        }
    }

    /// The terminal's keys have reached the worker.
    fn on_key(&mut self, now: MonoTime, signal: SignalNumber, out: &mut Actions) {
        match signal {
            // TTIN and TTOU: the worker read or wrote from the background. The shell must see all of us stopped, or its
            // `fg` would continue nobody.
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => out.push(Action::Suspend),
            libc::SIGINT | libc::SIGQUIT => {
                if self.services.iter().all(|s| s.living().is_none()) {
                    // Nobody else is there to take it: ^C during a back-off ends us.
                    let by = By { kind: ByKind::Signal, signal: Some(signal), pid: None, uid: None };
                    return self.end(now, by, INT, out);
                }
                for service in &mut self.services {
                    service.on_key(now);
                }
            }
            _ => {}
        }
    }

    /// INT, or TERM or a stop signal, which are the same: begin the end, or go on with it.
    pub(super) fn end(&mut self, now: MonoTime, by: By, signal: SignalNumber, out: &mut Actions) {
        let ending = self.ending.get_or_insert(Ending { by, terms: 0, ints: 0, status: None });
        let first = ending.terms == 0 && ending.ints == 0;
        let int = signal == INT;
        let count = if int { &mut ending.ints } else { &mut ending.terms };
        *count = count.saturating_add(1);
        let again = *count > 1;
        if let Some((status, _)) = self.farewell.take_if(|_| again && int) {
            return self.exit(now, status, out);
        }
        for n in 0..self.services.len() {
            let Some(s) = self.services.get(n) else { continue };
            let signal = if int { INT } else { s.stop_signal() };
            let ladder = Ladder { signal, grace: s.spec.stop.shutdown_timeout };
            let was_stopping = matches!(s.state, State::Stopping { .. });
            let active = s.active();
            let reason = "the watchdog was asked to end";
            if first {
                self.with(n, now, out, |s, cx| {
                    announce(s, cx, by);
                    s.stopped_by = s.stopped_by.or((by.kind != ByKind::Policy).then_some(by));
                });
                self.hold(n, now, out, Held { leave: Leave::Down(ladder), alone: false, reason: reason.into() });
                if was_stopping && int {
                    self.with(n, now, out, |s, cx| s.forward(cx, INT));
                }
            } else if again && int && !self.setup.up && s.living().is_some() {
                // One program decides itself what a further INT means.
                self.with(n, now, out, |s, cx| s.forward(cx, INT));
            } else if again && int {
                // A second INT skips the grace, and the order.
                self.with(n, now, out, |s, cx| {
                    s.held = None;
                    s.want_down(cx, Ladder { signal, grace: Duration::ZERO }, "interrupted twice");
                });
            } else if !again && was_stopping {
                // The first TERM after an INT, or the first INT after a TERM; the clock goes on.
                self.with(n, now, out, |s, cx| s.forward(cx, signal));
            } else if !again && active {
                // Its exec is under way, or others have to be gone first: the newer signal.
                self.hold(n, now, out, Held { leave: Leave::Down(ladder), alone: false, reason: reason.into() });
            }
        }
    }

    // --- after every event ---

    pub(super) fn settle(&mut self, now: MonoTime, out: &mut Actions) {
        // Before anybody starts in its course.
        if self.setup.up
            && !self.is_ending()
            && let Some(status) = self.failed_for_all()
        {
            self.end_with(now, status, out);
        }
        self.arrange(now, out);
        if self.ending.is_none() && self.farewell.is_none() && !self.over {
            self.end_by_itself(now, out);
        }
        self.answer_waiters(now, out, false);
        if self.over || self.farewell.is_some() {
            return;
        }
        let Some(ending) = &self.ending else { return };
        if self.tally.standing > 0 {
            return;
        }
        let stuck = self.services.iter().any(|s| matches!(s.state, State::Stuck { .. }));
        let own = self.services.iter().find_map(|s| s.status);
        let never_ran = ending.by.signal.map_or(0, |s| u8::try_from(128 + s).unwrap_or(125));
        let status = match (stuck, ending.status) {
            (true, _) => 125,
            (false, Some(decided)) => decided,
            (false, None) if self.setup.up => 0,
            (false, None) => own.unwrap_or(never_ran),
        };
        if self.setup.init && !stuck {
            let grace = self.services.iter().map(|s| s.spec.stop.shutdown_timeout).max().unwrap_or_default();
            self.farewell = Some((status, now.after(grace)));
            out.push(Action::Farewell { signal: TERM });
        } else {
            self.exit(now, status, out);
        }
    }

    /// Nobody asked for the end, and it has come: the one service of the prefix form has, a failure that is the end of all,
    /// or nothing is left to do.
    fn end_by_itself(&mut self, now: MonoTime, out: &mut Actions) {
        let by = By { kind: ByKind::Policy, signal: None, pid: None, uid: None };
        if self.setup.prefix {
            let left = self.services.iter().find(|s| s.leave && s.state.is_terminal());
            if let Some(service) = left {
                let status = service.status.unwrap_or(125);
                self.ending = Some(Ending { by, terms: 0, ints: 0, status: Some(status) });
            }
            return;
        }
        if !self.setup.up {
            return;
        }
        if let Some(status) = self.failed_for_all().or_else(|| self.ready_or_not(now)).or_else(|| self.all_done()) {
            self.end_with(now, status, out);
            self.arrange(now, out);
        }
    }

    fn end_with(&mut self, now: MonoTime, status: u8, out: &mut Actions) {
        let by = By { kind: ByKind::Policy, signal: None, pid: None, uid: None };
        self.ending = Some(Ending { by, terms: 0, ints: 0, status: Some(status) });
        self.end(now, by, TERM, out);
    }

    /// The status of the first that failed, where its failure is the end of all.
    fn failed_for_all(&self) -> Option<u8> {
        if self.tally.fatal == 0 {
            return None;
        }
        let first = self.services.iter().filter(|s| s.weight().fatal).min_by_key(|s| s.since)?;
        Some(first.status.filter(|s| *s != 0).unwrap_or(1))
    }

    /// `run-until-ready`: 0 when all that is wanted is ready, 1 when that cannot be or is not in time.
    fn ready_or_not(&mut self, now: MonoTime) -> Option<u8> {
        let until = self.until_ready?;
        // Here one that has ended is missing as well: what is tried is whether all come up.
        let missing = |s: &&Service| s.readiness().is_missing() || s.readiness() == Readiness::Over;
        let is_lost = |s: &&Service| matches!(s.readiness(), Readiness::Lost | Readiness::Over);
        let waits = self.services.iter().any(|s| missing(&s));
        let lost = self.services.iter().any(|s| is_lost(&s));
        if waits && !lost && now < until {
            return None;
        }
        // Those that were still on their way are not to blame for the end.
        let to_blame = self.services.iter().filter(missing).filter(|s| !lost || is_lost(s));
        self.not_ready = to_blame.map(|s| (s.id, s.why(now))).collect();
        Some(u8::from(waits))
    }

    /// Everything that was to be done is done, and nobody has stopped anything that could come back.
    fn all_done(&self) -> Option<u8> {
        (self.tally.done > 0 && self.tally.open == 0).then_some(0)
    }

    pub(super) fn exit(&mut self, now: MonoTime, status: u8, out: &mut Actions) {
        self.answer_waiters(now, out, true);
        self.over = true;
        out.push(Action::Exit(status));
    }
}
