//! Signals to the watchdog, its end, and the status it ends with: the contract once more, for all services together.

use super::witness::{Phase, Witness};
use crate::machine::sim::sometimes::{Rare, Sometimes};
use crate::machine::{Action, MonoTime, Origin, Setup};
use crate::spec::{GiveUp, SignalNumber};
use std::time::Duration;

/// Deeds of the watchdog itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnDeeds {
    pub(super) suspends: usize,
    pub(super) farewells: usize,
    pub(super) exits: Vec<u8>,
}

impl OwnDeeds {
    pub(super) fn of(actions: &[Action]) -> OwnDeeds {
        let mut own = OwnDeeds::default();
        for action in actions {
            match action {
                Action::Suspend => own.suspends += 1,
                Action::Farewell { .. } => own.farewells += 1,
                Action::Exit(status) => own.exits.push(*status),
                _ => {}
            }
        }
        own
    }
}

/// How the end began.
#[derive(Clone, Copy, Debug)]
struct Ending {
    signal: Option<SignalNumber>,
    decided: Option<u8>,
}

/// What the outsider knows of the watchdog itself.
#[derive(Clone, Debug)]
pub(super) struct House {
    pub(super) setup: Setup,
    ending: Option<Ending>,
    terms: u32,
    ints: u32,
    farewell: Option<(u8, MonoTime)>,
    pub(super) over: bool,
    pub(super) want: OwnDeeds,
    pub(super) seen: Sometimes,
}

impl House {
    pub(super) fn new(setup: Setup) -> House {
        House {
            setup,
            ending: None,
            terms: 0,
            ints: 0,
            farewell: None,
            over: false,
            want: OwnDeeds::default(),
            seen: Sometimes::default(),
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some() || self.farewell.is_some()
    }

    pub(super) fn signalled(&mut self, now: MonoTime, all: &mut [Witness], received: SignalNumber, origin: Origin) {
        if self.setup.up {
            return match received {
                libc::SIGTERM | libc::SIGQUIT => self.end(now, all, libc::SIGTERM, Some(received)),
                libc::SIGINT => self.end(now, all, libc::SIGINT, Some(received)),
                libc::SIGHUP if origin == Origin::Kernel => {
                    self.seen.saw(Rare::TerminalClosed);
                    self.end(now, all, libc::SIGTERM, Some(received));
                }
                libc::SIGTSTP => self.want.suspends += 1,
                _ => {}
            };
        }
        let alive = all.iter().any(|w| w.phase == Phase::Alive);
        let mark = |all: &mut [Witness]| {
            for w in all.iter_mut().filter(|w| w.phase == Phase::Alive) {
                w.run.key = Some(now);
            }
        };
        let apart = self.setup.apart;
        if (self.setup.shared_group || apart) && origin == Origin::Kernel {
            let keys = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH];
            if apart && keys.contains(&received) {
                self.seen.saw(Rare::KeyPassedOn);
                all.iter_mut().for_each(|w| w.forward(received));
            }
            match received {
                libc::SIGTSTP => return self.want.suspends += 1,
                libc::SIGWINCH => return,
                libc::SIGINT | libc::SIGQUIT if alive => return mark(all),
                libc::SIGINT | libc::SIGQUIT => {
                    self.seen.saw(Rare::KeyAlone);
                    return self.end(now, all, libc::SIGINT, Some(received));
                }
                _ => {}
            }
        }
        let rewrites = &all[0].spec.rewrite_signal;
        let signal = rewrites.iter().find(|r| r.0 == received).map_or(received, |r| r.1);
        let closed = self.setup.prefix && signal == libc::SIGHUP && origin == Origin::Kernel;
        let asks = received == libc::SIGTERM || received == libc::SIGINT || closed;
        let stop_signal = all.iter().any(|w| w.spec.stop.signal == Some(signal));
        match signal {
            0 => {}
            libc::SIGTERM | libc::SIGINT => self.end(now, all, signal, Some(signal)),
            _ if stop_signal => {
                self.seen.saw(Rare::StopSignalCame);
                self.end(now, all, libc::SIGTERM, Some(signal));
            }
            _ if asks && !alive => self.end(now, all, received, Some(received)),
            _ => {
                all.iter_mut().for_each(|w| w.forward(signal));
                if asks {
                    self.seen.saw(if closed { Rare::TerminalClosed } else { Rare::RewrittenEnd });
                    mark(all);
                }
                if signal == libc::SIGTSTP && origin == Origin::Kernel {
                    self.want.suspends += 1;
                }
            }
        }
    }

    pub(super) fn end(&mut self, now: MonoTime, all: &mut [Witness], signal: SignalNumber, by: Option<SignalNumber>) {
        let int = signal == libc::SIGINT;
        let first = self.terms + self.ints == 0;
        let count = if int { &mut self.ints } else { &mut self.terms };
        *count += 1;
        let again = *count > 1;
        self.ending.get_or_insert(Ending { signal: by, decided: None });
        match (again, int) {
            (true, true) => self.seen.saw(Rare::IntTwice),
            (true, false) => self.seen.saw(Rare::TermTwice),
            (false, _) if !first => self.seen.saw(Rare::IntThenTerm),
            (false, _) => {}
        }
        if let Some((status, _)) = self.farewell.filter(|_| again && int) {
            return self.leave(status);
        }
        for w in all {
            let signal = if int { libc::SIGINT } else { w.stop_signal() };
            let grace = w.spec.stop.shutdown_timeout;
            let stopping = w.phase == Phase::Alive && w.ending() && !w.run.stuck;
            if first {
                w.stop(now, signal, grace);
                if stopping && int {
                    w.forward(signal);
                }
            } else if again && int && !self.setup.up && w.phase == Phase::Alive {
                w.forward(signal);
            } else if again && int {
                w.stop(now, signal, Duration::ZERO);
            } else if !again && stopping {
                w.forward(signal);
            } else if !again && w.phase == Phase::Exec {
                w.stop(now, signal, grace);
            }
        }
    }

    fn leave(&mut self, status: u8) {
        self.farewell = None;
        self.over = true;
        self.want.exits.push(status);
    }

    pub(super) fn alone(&mut self) {
        if let Some((status, _)) = self.farewell {
            self.leave(status);
        }
    }

    pub(super) fn time(&mut self, now: MonoTime) {
        if let Some((status, _)) = self.farewell.filter(|(_, due)| *due <= now) {
            self.seen.saw(Rare::FarewellLate);
            self.leave(status);
        }
    }

    /// After every call: is it the end?
    pub(super) fn settle(&mut self, now: MonoTime, all: &mut [Witness]) {
        if self.over || self.farewell.is_some() {
            return;
        }
        if self.setup.prefix
            && let Some(w) = all.iter().find(|w| w.leave && w.resting())
        {
            self.ending.get_or_insert(Ending { signal: None, decided: w.status });
        }
        if self.setup.up && self.ending.is_none() {
            let failed = |w: &&Witness| w.resting() && w.rest.is_some_and(|(well, _)| !well);
            let lost = |w: &&Witness| failed(w) && w.leave && w.spec.restart.give_up != GiveUp::Stay;
            let first = all.iter().filter(lost).min_by_key(|w| w.rest.map(|r| r.1));
            let decided = match first {
                Some(w) => Some(w.status.filter(|s| *s != 0).unwrap_or(1)),
                None => all.iter().all(|w| w.resting() && w.rest.is_some_and(|(well, _)| well)).then_some(0),
            };
            if decided.is_some() {
                self.seen.saw(if first.is_some() { Rare::FailedForAll } else { Rare::AllDone });
                self.ending = Some(Ending { signal: None, decided });
                self.end(now, all, libc::SIGTERM, None);
            }
        }
        let Some(ending) = self.ending else { return };
        if !all.iter().all(|w| w.run.stuck || (w.resting() && w.give_up_due.is_none())) {
            return;
        }
        if all.iter().any(|w| w.run.stuck) {
            self.seen.saw(Rare::EndStuck);
            return self.leave(125);
        }
        let own = all.iter().find_map(|w| w.status);
        let own = if self.setup.up { Some(0) } else { own };
        let status = ending.decided.or(own).unwrap_or(ending.signal.map_or(0, |s| 128 + s as u8));
        if self.setup.init {
            self.seen.saw(Rare::Farewell);
            let grace = all.iter().map(|w| w.spec.stop.shutdown_timeout).max().unwrap_or_default();
            self.farewell = Some((status, now.after(grace)));
            self.want.farewells += 1;
        } else {
            self.leave(status);
        }
    }

    pub(super) fn compare(&mut self, actions: &[Action]) -> Result<(), String> {
        let (want, saw) = (std::mem::take(&mut self.want), OwnDeeds::of(actions));
        let last = actions.iter().position(|a| matches!(a, Action::Exit(_)));
        if last.is_some_and(|at| at + 1 != actions.len()) {
            return Err("end: something comes after it".into());
        }
        if want == saw { Ok(()) } else { Err(format!("end: wanted {want:?}, saw {saw:?}")) }
    }
}
