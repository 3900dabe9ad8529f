//! Chance from a seed, and which troubles a seed switches on (swarm testing: each run has its own subset and rates).

use std::time::Duration;

/// SplitMix64. Its own copy, so that the world's chance is independent of the machine's.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Draw {
        Draw(seed ^ 0xA076_1D64_78BD_642F)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64) as usize;
        from[at].clone()
    }

    pub(super) fn ms(&mut self, from: &[u64]) -> Duration {
        Duration::from_millis(self.pick(from))
    }
}

/// Rates in percent; 0 is off.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) spawn_fails: u64,
    pub(super) shortage: u64,
    pub(super) busy: u64,
    pub(super) crashes: u64,
    pub(super) ignores_term: u64,
    pub(super) unkillable: u64,
    pub(super) leftovers: u64,
    pub(super) stubborn_leftovers: u64,
    pub(super) chains: u64,
    pub(super) late: u64,
    pub(super) twice: u64,
    pub(super) reorder: u64,
    pub(super) stalls: u64,
    pub(super) frozen: u64,
    pub(super) commands: u64,
    pub(super) signals: u64,
    pub(super) keys: u64,
    pub(super) ends: u64,
    pub(super) mute: u64,
    pub(super) unready: u64,
    pub(super) deaf: u64,
    pub(super) lies: u64,
    pub(super) extends: u64,
    pub(super) triggers: u64,
    pub(super) closes: u64,
    pub(super) lanes: u64,
    pub(super) excuses: u64,
    pub(super) hogs: u64,
    pub(super) ooms: u64,
    pub(super) heirs: u64,
    pub(super) crowds: u64,
    pub(super) perform_at_once: bool,
}

impl Faults {
    pub(super) fn draw(draw: &mut Draw) -> Faults {
        let mut rate = || if draw.chance(50) { draw.pick(&[5, 20, 60]) } else { 0 };
        let mut faults = Faults {
            spawn_fails: rate(),
            shortage: rate(),
            busy: rate(),
            crashes: rate(),
            ignores_term: rate(),
            unkillable: rate(),
            leftovers: rate(),
            stubborn_leftovers: rate(),
            chains: rate(),
            late: rate(),
            twice: rate(),
            reorder: rate(),
            stalls: rate().min(20),
            frozen: rate(),
            commands: rate(),
            signals: rate(),
            keys: rate(),
            ends: rate(),
            mute: rate() + 20,
            unready: rate(),
            deaf: rate(),
            lies: rate(),
            extends: rate(),
            triggers: rate().min(20),
            closes: rate(),
            lanes: rate(),
            excuses: rate(),
            hogs: rate(),
            ooms: rate(),
            heirs: rate(),
            crowds: rate(),
            perform_at_once: false,
        };
        faults.perform_at_once = draw.chance(30);
        faults
    }
}
