//! `watchdog up`: the services of a file.

use crate::check;
use crate::cli::Up;
use crate::settings::{self, World};
use crate::{complain, logging, output};

/// Everything that is wrong is said at once, then nothing is started.
pub(crate) fn run(up: &Up, world: &World) -> u8 {
    let file = check::file(&up.of, world);
    let plan = match settings::plan(&up.of.flags, &file, &up.names, world) {
        Ok(plan) => plan,
        Err(faults) => return complain(&faults),
    };
    if up.dry_run {
        for warning in &plan.warnings {
            logging::say(warning);
        }
        return output::page(&format!("start order:\n{}", check::order(&plan)));
    }
    logging::init(&plan.log_level, plan.log_format);
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    // What was said is not needed any more, and may be large.
    drop(plan.said);
    watchdog_engine::run(plan.instance, plan.specs)
}
