//! What outlives a worker, and the end of all troubles.

use super::draw::Faults;
use super::process::{Left, LeftScript, Script, Stage, exit_signal};
use super::sometimes::Rare;
use super::world::{Fact, World};
use crate::machine::{Generation, ReadyBy, ServiceId};
use crate::spec::SignalNumber;
use std::time::Duration;

impl World {
    pub(super) fn sweep(&mut self, service: ServiceId, generation: Generation, signal: SignalNumber) {
        let (calm, mut pid) = (self.calm, self.next_pid);
        let mut deaths = Vec::new();
        let mut forked = 0;
        let Some(p) = self.proc(service, generation) else { return };
        let mut born = Vec::new();
        for left in &mut p.left {
            let after = match signal {
                libc::SIGKILL if left.was_killed => continue,
                libc::SIGKILL => {
                    left.was_killed = true;
                    if left.script.chain > 0 && !calm {
                        pid += 1;
                        forked += 1;
                        let script = LeftScript { chain: left.script.chain - 1, ..left.script.clone() };
                        born.push(Left { pid, script, was_killed: false });
                    }
                    if calm { Some(Duration::from_millis(1)) } else { left.script.kill }
                }
                _ => left.script.term,
            };
            deaths.extend(after.map(|after| (after, left.pid)));
        }
        p.left.extend(born);
        self.next_pid = pid;
        if forked > 0 {
            self.seen.saw(Rare::ForkChain);
        }
        for (after, pid) in deaths {
            self.happen(after, Fact::LeftDies(service, generation, pid));
        }
    }

    /// The troubles end: nobody fails, is late or deaf any more, and who was killed is gone at last.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.faults = Faults::default();
        self.facts.retain(|f| !matches!(f.2, Fact::Person | Fact::Freezes(..)));
        let soon = Duration::from_millis(1);
        let mut facts = Vec::new();
        for (n, procs) in self.procs.iter_mut().enumerate() {
            let id = ServiceId(n as u32);
            for p in procs {
                p.frozen = false;
                let healthy = Script::healthy(&self.specs[n]);
                if p.stage == Stage::Alive {
                    let words = healthy.voice.words.iter();
                    facts.extend(words.map(|(_, d, news)| Fact::Says(id, p.generation, *d, news.clone())));
                    facts.push(Fact::SeenReady(id, p.generation, ReadyBy::Line));
                }
                p.script = Script { own: p.script.own, fails: p.script.fails.take(), ..healthy };
                if p.stage == Stage::Alive && p.was_killed {
                    facts.push(Fact::Dies(id, p.generation, exit_signal(9)));
                } else if p.stage == Stage::Alive && (p.was_asked || p.held.is_some()) {
                    facts.push(Fact::Dies(id, p.generation, exit_signal(15)));
                }
                facts.extend(p.left.iter().map(|l| Fact::LeftDies(id, p.generation, l.pid)));
            }
        }
        facts.push(Fact::Alone);
        for fact in facts {
            self.happen(soon, fact);
        }
    }
}
