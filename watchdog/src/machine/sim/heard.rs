//! The world's side of the channels: what processes say and are told, and what is seen of them from outside.

use super::process::{Stage, exit_signal};
use super::sometimes::Rare;
use super::voice::{Lie, obedient};
use super::world::{Fact, World};
use crate::machine::{Dialect, Event, Generation, News, Sample, ServiceId, SpawnFailure, Step, Word};
use crate::spec::SignalNumber;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

impl World {
    /// All that it will say by itself.
    pub(super) fn begin_talk(&mut self, id: ServiceId, generation: Generation) {
        let Some(p) = self.proc(id, generation) else { return };
        let voice = p.script.voice.clone();
        for (after, dialect, news) in voice.words {
            self.happen(after, Fact::Says(id, generation, dialect, news));
        }
        for (after, by) in voice.seen {
            self.happen(after, Fact::SeenReady(id, generation, by));
        }
        for (after, dialect, fault) in voice.closes {
            self.happen(after, Fact::Closes(id, generation, dialect, fault));
        }
        if let Some(every) = voice.beats {
            self.happen(every, Fact::Beats(id, generation));
        }
        if let Some((from, ..)) = voice.crowd {
            self.happen(from, Fact::Crowd(id, generation));
        }
    }

    /// Others send datagrams; the loop hears of it, whatever the worker does.
    pub(super) fn crowd(&mut self, service: ServiceId, generation: Generation) {
        let now = self.now;
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive) else { return };
        let Some((_, _, every)) = p.script.voice.crowd.filter(|_| p.script.voice.is_crowded(now.since(p.born))) else {
            return;
        };
        self.happen(every, Fact::Crowd(service, generation));
        self.post(Event::Foreign { service, generation, count: 3 }, true);
    }

    pub(super) fn says(&mut self, service: ServiceId, generation: Generation, dialect: Dialect, news: News) {
        if self.proc(service, generation).is_some_and(|p| p.stage == Stage::Alive && !p.frozen) {
            self.post(Event::News { service, generation, dialect, news }, true);
        }
    }

    pub(super) fn beats(&mut self, service: ServiceId, generation: Generation) {
        let now = self.now;
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive) else { return };
        let Some(every) = p.script.voice.beats else { return };
        let dialect = p.script.voice.dialect;
        let quiet = p.frozen || p.script.voice.is_deaf(now.since(p.born));
        let crowded = dialect == Dialect::Notify && p.script.voice.is_crowded(now.since(p.born));
        self.happen(every, Fact::Beats(service, generation));
        let lost = crowded && self.draw.chance(70);
        if !quiet && !lost {
            self.post(Event::News { service, generation, dialect, news: News::Beat }, true);
        }
    }

    /// A word of the watchdog has come to it.
    pub(super) fn told(&mut self, service: ServiceId, generation: Generation, dialect: Dialect, word: &Word) {
        let (now, calm) = (self.now, self.calm);
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive && !p.frozen) else { return };
        let voice = p.script.voice.clone();
        let age = now.since(p.born);
        match word {
            Word::Ping(nonce) if calm => {
                self.happen(MS, Fact::Says(service, generation, dialect, pong(dialect, *nonce)))
            }
            Word::Ping(nonce) if dialect == voice.dialect && !voice.is_deaf(age) => {
                let Some(after) = voice.pong else { return };
                let nonces = match voice.lie {
                    Lie::None => vec![*nonce],
                    Lie::Wrong => vec![nonce + 7],
                    Lie::Replay => vec![nonce - 1],
                    Lie::Double => vec![*nonce, *nonce],
                };
                for n in nonces {
                    self.happen(after, Fact::Says(service, generation, dialect, pong(dialect, n)));
                }
            }
            Word::Shutdown(_) => {
                p.was_asked = true;
                let obeys = if calm { Some(obedient()) } else { voice.obeys };
                if let Some((after, exit)) = obeys {
                    self.seen.saw(Rare::WordObeyed);
                    self.happen(after, Fact::Dies(service, generation, exit));
                }
            }
            Word::Reload => {
                self.happen(MS, Fact::Says(service, generation, dialect, News::Reloading));
                self.happen(3 * MS, Fact::Says(service, generation, dialect, News::Ready));
            }
            _ => {}
        }
    }

    /// The signal that makes it show its stacks. It wakes whoever is stopped.
    pub(super) fn dump(&mut self, service: ServiceId, generation: Generation, signal: SignalNumber) {
        let calm = self.calm;
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive) else { return };
        p.frozen = false;
        if let Some(after) = if calm { Some(MS) } else { p.script.voice.dump } {
            self.seen.saw(Rare::DumpDied);
            self.happen(after, Fact::Dies(service, generation, exit_signal(signal)));
        }
    }

    pub(super) fn look_at_lanes(&mut self, service: ServiceId, generation: Generation) {
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive) else { return };
        if !p.script.voice.lanes.is_empty() {
            // `hand_over` reads the file.
            let news = News::Lanes(Vec::new());
            self.fed.push(Event::News { service, generation, dialect: Dialect::Native, news });
        }
    }

    pub(super) fn look_at_port(&mut self, service: ServiceId, generation: Generation) {
        let now = self.now;
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive) else { return };
        if p.script.voice.port.is_some_and(|after| now.since(p.born) >= after) {
            self.fed.push(Event::SeenReady { service, generation, by: crate::machine::ReadyBy::Port });
        }
    }

    pub(super) fn inspect(&mut self, service: ServiceId, generation: Generation) {
        let now = self.now;
        let Some(p) = self.proc(service, generation) else { return };
        let evidence = p.script.voice.evidence(now.since(p.born), p.frozen);
        let event = Event::Evidence { service, generation, evidence };
        self.fed.push(event.clone());
        if self.draw.chance(self.faults.twice / 3) {
            // What was found of an earlier hang comes once more, when there may be another.
            self.post(event, true);
        }
    }

    pub(super) fn measure(&mut self, service: ServiceId, generation: Generation) {
        let (at, calm) = (self.now, self.calm);
        let Some(p) = self.proc(service, generation).filter(|p| p.stage == Stage::Alive) else { return };
        let n = p.measured;
        p.measured += 1;
        let voice = &p.script.voice;
        let (rss_bytes, load) = (voice.memory[n % voice.memory.len()], voice.cpu[n % voice.cpu.len()]);
        let cpu_permille = if calm { Some(0) } else { load }.filter(|_| n > 0);
        let sample = Sample { at, rss_bytes, cpu_permille };
        let event = Event::Sampled { service, generation, sample };
        self.fed.push(event.clone());
        if self.draw.chance(self.faults.late / 3) {
            self.seen.saw(Rare::LateSample);
            let after = self.draw.ms(&[10, 2000, 8000]);
            self.post_after(after, event);
        }
    }

    /// A start that is held up by its hook fails now; one that is under way goes on.
    pub(super) fn cancel_spawn(&mut self, service: ServiceId, generation: Generation) {
        let held = self.draw.chance(50);
        let Some(p) = self.proc(service, generation).filter(|p| held && p.stage == Stage::Exec) else { return };
        p.stage = Stage::Gone;
        self.seen.saw(Rare::HookCalledOff);
        let failure = SpawnFailure { step: Step::PreStart, errno: libc::ECANCELED, path: "true".into() };
        self.fed.push(Event::SpawnFailed { service, generation, failure });
    }
}

/// Node's channel has no nonce.
fn pong(dialect: Dialect, nonce: u64) -> News {
    News::Pong(Some(nonce).filter(|_| dialect == Dialect::Native))
}
