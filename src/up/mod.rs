//! `watchdog up` and `run-until-ready`: the services of a file.

mod lines;
mod outcome;
mod progress;
mod room;
mod screen;

use crate::check;
use crate::cli::{FileLine, Output, Up, View};
use crate::settings::plan::Plan;
use crate::settings::{self, World};
use crate::{complain, logging, output};
use outcome::{Outcome, Watcher};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use watchdog_engine::spec::{LogMode, Spec};
use watchdog_engine::{Holder, Observer, Reread, Watchdog};

/// How long `run-until-ready` waits where nobody says so.
const PATIENCE: Duration = Duration::from_secs(300);

/// Everything that is wrong is said at once, then nothing is started.
pub(crate) fn run(up: Up, world: World) -> u8 {
    let file = check::file(&up.of, &world);
    let plan = match settings::plan(&up.of.flags, &file, &up.names, &world) {
        Ok(plan) => plan,
        Err(faults) => return complain(&faults),
    };
    if up.dry_run {
        return dry_run(&plan, up.json);
    }
    let Up { of, names, view, .. } = up;
    let shown = Shown::of(view, &plan);
    supervise(plan, of, names, world, shown)
}

/// Starts all, waits until all are ready, stops all.
pub(crate) fn until_ready(of: FileLine, timeout: Option<Duration>, view: View, json: bool, world: World) -> u8 {
    let seen = Rc::new(RefCell::new(Outcome::default()));
    let status = match settings::plan(&of.flags, &check::file(&of, &world), &[], &world) {
        Ok(mut plan) => {
            plan.instance.until_ready = Some(timeout.unwrap_or(PATIENCE));
            let shown = match json {
                true => Shown { output: Output::Json, observer: Box::new(Watcher::new(seen.clone())) },
                false => Shown::of(view, &plan),
            };
            supervise(plan, of, Vec::new(), world, shown)
        }
        Err(faults) => complain(&faults),
    };
    match json {
        true => output::page(&format!("{}\n", seen.borrow().json())).max(status),
        false => status,
    }
}

/// What would be started in which order, and who is in its way; nothing is touched.
fn dry_run(plan: &Plan, json: bool) -> u8 {
    if json {
        let held: Vec<Value> = plan.specs.iter().flat_map(|spec| held_json(spec)).collect();
        let page = json!({ "start_order": plan.order, "held_ports": held, "warnings": plan.warnings });
        return output::page(&format!("{page}\n"));
    }
    for warning in &plan.warnings {
        logging::say(warning);
    }
    let held: String = plan.specs.iter().map(|spec| held(spec)).collect();
    output::page(&format!("start order:\n{}{held}", check::order(plan)))
}

/// The same as [`held`], for programs.
fn held_json(spec: &Spec) -> Vec<Value> {
    let one = |holder: Holder| {
        let (would_end, because) = match holder.would_end {
            Ok(()) => (true, None),
            Err(why) => (false, Some(why)),
        };
        json!({
            "service": spec.name, "port": holder.port, "protocol": if holder.udp { "udp" } else { "tcp" },
            "pid": holder.pid, "name": holder.name, "would_end": would_end, "reason": because,
        })
    };
    watchdog_engine::port_holders(&spec.ports).into_iter().map(one).collect()
}

/// Who holds a port that this service will need, a line each.
fn held(spec: &Spec) -> String {
    let line = |holder: &Holder| {
        let then = match &holder.would_end {
            Ok(()) => ", which would be ended".to_string(),
            Err(why) if spec.ports.kill_others => format!(", which would not be ended: {why}"),
            Err(_) => String::new(),
        };
        format!("{}: {holder}{then}\n", spec.name)
    };
    watchdog_engine::port_holders(&spec.ports).iter().map(line).collect()
}

/// Where programs read what we write, nothing else is written there: what would pass us as it is becomes a line like others.
fn fit_for(output: Output, specs: &mut [Box<Spec>]) {
    for spec in specs.iter_mut().filter(|spec| output == Output::Json && spec.log.mode == LogMode::Tee) {
        spec.log.mode = LogMode::Capture;
    }
}

/// What is shown while services run, and what else is written to standard output.
struct Shown {
    output: Output,
    observer: Box<dyn Observer>,
}

impl Shown {
    fn of(view: View, plan: &Plan) -> Shown {
        let output = view.output.unwrap_or(Output::Prefix);
        Shown { output, observer: Box::new(screen::Screen::new(output, !view.no_progress, &plan.specs)) }
    }
}

fn supervise(mut plan: Plan, of: FileLine, names: Vec<String>, world: World, shown: Shown) -> u8 {
    logging::init(&plan.log_level, plan.log_format);
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    let Shown { output, observer } = shown;
    fit_for(output, &mut plan.specs);
    let fixed = plan.fixed();
    // What was read of the file goes before anything is started: it is as large as all that is kept.
    let (instance, specs) = plan.for_the_engine();
    // The file is found again whatever becomes of the working directory.
    let file = instance.file.clone().unwrap_or_else(|| check::file(&of, &world));
    let reload = move || {
        let read = settings::plan(&of.flags, &file, &names, &world);
        let plan = read.map_err(|faults| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>())?;
        let needs_watchdog_restart = fixed.differences(&plan);
        let mut specs = plan.specs;
        fit_for(output, &mut specs);
        Ok(Reread { specs: specs.into_iter().map(|spec| *spec).collect(), needs_watchdog_restart })
    };
    let status = Watchdog::new(instance, specs).reload_from(Box::new(reload)).observe(observer).run();
    // What kept it from starting was said while the view was to be shown.
    logging::let_go();
    status
}
