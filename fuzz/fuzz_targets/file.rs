//! The file of `watchdog up`: any text and any drop-in behind a NUL, no panic, every fault with a place inside the text, and
//! nothing shown of what a variable holds. The front door is a program and no library: its rooms are taken in by path.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../src/settings/mod.rs"]
mod settings;

use settings::plan::{self, Plan};
use settings::source::Source;
use settings::{Accounts, Fault, World};

/// Stands in a variable, and must stand nowhere else.
const SECRET: &str = "x7-hunter2-x7";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Files that a text may name are opened: those of this machine are not to make a difference.
    if ["env_file", "/dev", "/proc", "/sys"].iter().any(|word| text.contains(word)) {
        return;
    }
    let sources = || text.split('\0').take(3).map(|part| Source::new("w.toml", part.to_string())).collect::<Vec<_>>();
    let world = World {
        environment: vec![("SECRET".into(), SECRET.into()), ("N".into(), "5".into()), ("D".into(), "1s".into())],
        pid: 4,
        uid: 1000,
        accounts: Accounts { passwd: "/none".into(), group: "/none".into() },
    };
    let lines: Vec<usize> = sources().iter().map(|s| s.text.matches('\n').count() + 1).collect();
    match plan::of(&[], sources(), &[], &world) {
        Ok(plan) => right(&plan),
        Err(faults) => faults.iter().for_each(|fault| wrong(fault, &lines)),
    }
});

/// A plan names nobody who is not there, and starts nobody twice.
fn right(plan: &Plan) {
    let known = |name: &String| plan.specs.iter().any(|spec| spec.name == *name);
    for spec in &plan.specs {
        let place = &spec.place;
        let needs = place.requires.iter().map(|need| &need.service);
        assert!(needs.chain(&place.wants).chain(&place.after).chain(&place.conflicts).all(known));
        assert!(spec.command.is_empty() != spec.kind.has_process());
    }
    let started: Vec<&String> = plan.order.iter().flatten().collect();
    let mut once = started.clone();
    once.sort_unstable();
    once.dedup();
    assert!(once.len() == started.len() && started.into_iter().all(known));
    for service in plan.said.services() {
        // Other values are shown with their variables put in.
        let env = service.settings.iter().filter(|told| told.key == "env");
        assert!(env.into_iter().all(|told| !told.value.to_string().contains(SECRET)));
    }
}

fn wrong(fault: &Fault, lines: &[usize]) {
    assert!(!fault.message.is_empty() && !fault.message.contains(SECRET), "{fault:?}");
    if let Some(place) = &fault.place {
        let whole = place.line == 0 && place.column == 0;
        assert!(whole || (1..=lines[place.order.0]).contains(&place.line) && place.column >= 1, "{fault:?}");
    }
}
