//! One service among others on the stage: what it waits for, its probes, and new settings.

use super::stage::{Deed, ID, Stage, every_state};
use crate::machine::*;
use crate::spec::{Autostart, Kind, ProbeSpec, Spec};
use std::time::Duration;

/// Another service, without a process and started by hand alone.
const OTHER: ServiceId = ServiceId(1);

fn with_file() -> Spec {
    let mut spec = every_state();
    spec.place.wait_for_file = Some("/run/file".into());
    spec
}

/// It has run once, so that there is an older generation than its last.
fn waiting() -> Stage {
    let seen = Stage::new(with_file(), Setup::default()).file(true);
    seen.up().ends(1).due()
}

/// What it requires was stopped by hand.
fn in_vain() -> Stage {
    let mut other = Spec { name: "other".into(), kind: Kind::Target, ..Spec::default() };
    other.place.autostart = Autostart::Ignore;
    let spec = Spec { name: "w".into(), ..every_state() }.requires("other");
    let stage = Stage::of(vec![spec, other], Setup::default());
    let ran = stage.ask(Request::Start { services: vec![OTHER] }).up();
    ran.ask(Request::Stop { services: vec![OTHER], timeout: None }).ends(0)
}

/// One probe, whose first failure counts and is one too many.
fn probed() -> Stage {
    let probe = ProbeSpec { name: "p".into(), start_period: Duration::ZERO, failures: 1, ..ProbeSpec::default() };
    Stage::new(Spec { probes: vec![probe], ..every_state() }, Setup::default()).up().due()
}

/// Places that only a service among others has. One that waits has a wish, or it does not wait.
pub(super) fn places(down: bool) -> Vec<(&'static str, Stage)> {
    if down {
        return Vec::new();
    }
    vec![
        ("Waiting", waiting()),
        ("Waiting in vain", in_vain()),
        ("Starting, waits for its probe", probed()),
        ("Running, probed", probed().probe(Outcome::Success).secs(10)),
    ]
}

/// Their events.
pub(super) fn deeds() -> Vec<(&'static str, Deed)> {
    vec![
        ("Probed success", |s| s.probe(Outcome::Success)),
        ("Probed failure", |s| s.probe(Outcome::Failure)),
        ("Probed of an older generation", |s| s.probe_of(1, Outcome::Failure)),
        ("FileSeen", |s| s.file(true)),
        ("FileSeen, not there", |s| s.file(false)),
        ("file of services: the same", |s| s.reads(|_| (), true)),
        ("file of services: another limit", |s| s.reads(|specs| change(specs, |s| s.restart.limit = 7), true)),
        ("file of services: another command", |s| {
            s.reads(|specs| change(specs, |s| s.command = vec!["v2".into()]), true)
        }),
        ("the same, put off", |s| s.reads(|specs| change(specs, |s| s.command = vec!["v2".into()]), false)),
        ("file of services: not in it", |s| s.reads(|specs| specs.retain(|s| s.name == "other"), true)),
    ]
}

fn change(specs: &mut [Spec], how: fn(&mut Spec)) {
    specs.iter_mut().filter(|s| s.name != "other").for_each(how);
}

impl Stage {
    fn probe(self, outcome: Outcome) -> Stage {
        self.probe_of(0, outcome)
    }

    /// The answer to the try of its only probe, of a generation that is so much older.
    fn probe_of(self, older: u64, outcome: Outcome) -> Stage {
        let generation = Generation(self.service().last.0 - older);
        let answer = Answer { outcome, message: String::new(), took: Duration::ZERO };
        self.give(Event::Probed { service: ID, generation, probe: 0, answer })
    }

    fn file(self, there: bool) -> Stage {
        self.give(Event::FileSeen { service: ID, there })
    }

    /// The file of the services, edited.
    fn reads(mut self, edit: fn(&mut Vec<Spec>), restart: bool) -> Stage {
        let there = self.machine.services().iter().filter(|s| !s.removed);
        let mut specs: Vec<Spec> = there.map(|s| s.next.as_deref().unwrap_or(&s.spec).clone()).collect();
        edit(&mut specs);
        self.out.clear();
        self.machine.apply(self.now, specs, restart, &mut self.out);
        self
    }
}
