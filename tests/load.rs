//! A machine in which everybody waits: nobody hangs for that, and who hangs is found (HAN-26). In a file of its own, for
//! it takes the processors away from whatever runs beside it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, stays, wait_for};
use std::time::Duration;

/// Those that use up what there is, at equal priority.
fn burners() -> Vec<Dog> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    (0..cores * 4).map(|_| Run::quick().talks(&["spin"]).spawn()).collect()
}

/// HAN-26, shortened: a machine in which everybody waits is nobody's hang
#[test]
fn workers_on_a_loaded_machine_are_not_hung() {
    let burners = burners();
    let run = || Run::new().flag("--heartbeat-interval", "500ms").flag("--heartbeat-timeout", "2s");
    let dogs: Vec<Dog> = (0..20).map(|_| run().talks(&["hello", "serve"]).spawn()).collect();
    dogs.iter().for_each(|dog| drop(dog.armed()));
    stays("nobody hangs", Duration::from_secs(8), || dogs.iter().all(|d| d.events_of("hang").is_empty()));
    burners.into_iter().for_each(drop);
    for dog in dogs {
        let before = dog.heard("ping");
        wait_for("it is asked and answers", || (dog.heard("ping") > before).then_some(()));
        dog.stop().count("hang", 0).count("spawn", 1);
    }
}

/// Its look-alike: a deadlock is found on a loaded machine too
#[test]
fn a_deadlock_on_a_loaded_machine_is_found() {
    let burners = burners();
    let dog = Run::beating().talks(&["hello", "serve:700", "sleep:1000000"]).spawn();
    let exit = dog.event("exit", 1);
    assert_eq!(exit["cause"], "hang", "{exit}");
    burners.into_iter().for_each(drop);
    dog.stop();
}
