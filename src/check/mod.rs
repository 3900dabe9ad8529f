//! `watchdog check`: what a file means, or all that is wrong with it. Touches nothing.

mod json;
mod text;

pub(crate) use text::order;

use crate::cli::FileLine;
use crate::settings::plan::USUAL_FILE;
use crate::settings::{self, Fault, World, status_of};
use crate::{logging, output};
use std::path::PathBuf;

/// The file is not right, or is not there.
const INVALID: u8 = 1;

/// Looks a file over and says what it means.
pub(crate) fn run(of: &FileLine, json: bool, world: &World) -> u8 {
    let plan = settings::plan(&of.flags, &file(of, world), &[], world);
    match (plan, json) {
        (Ok(plan), true) => output::page(&json::valid(&plan)),
        (Ok(plan), false) => {
            for warning in &plan.warnings {
                logging::say(warning);
            }
            output::page(&text::page(&plan))
        }
        (Err(faults), true) => output::page(&json::invalid(&faults)).max(status(&faults)),
        (Err(faults), false) => {
            output::errors(faults.iter().map(|fault| fault.message.as_str()));
            status(&faults)
        }
    }
}

/// A wrong flag or variable is no word about the file.
fn status(faults: &[Fault]) -> u8 {
    if status_of(faults) == settings::USAGE { settings::USAGE } else { INVALID }
}

/// The file that is meant: `-f`, else what `config` says, else the usual one.
pub(crate) fn file(of: &FileLine, world: &World) -> PathBuf {
    let flag = of.flags.iter().rfind(|(setting, _)| setting.key == "config").map(|(_, value)| value);
    let named = of.file.clone().or_else(|| flag.or(world.variable("WATCHDOG_CONFIG")).map(PathBuf::from));
    named.unwrap_or_else(|| PathBuf::from(USUAL_FILE))
}
