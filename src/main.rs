//! `watchdog`: the front door. Reads what people write, starts the engine or speaks to a running one, picks the exit code.

mod check;
mod cli;
mod client;
#[cfg(feature = "counted")]
mod counted;
mod drill;
mod help;
mod install;
mod logging;
mod output;
mod settings;
mod simulate;
mod text;
mod up;

use cli::Command;
use settings::{Fault, Flag, USAGE, World};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// musl's own allocator maps and unmaps single pages: a sixth of a short run's time (measured). This one asks the kernel
/// once, and is as small.
#[cfg(not(feature = "counted"))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
#[cfg(feature = "counted")]
#[global_allocator]
static ALLOCATOR: counted::Counting = counted::Counting;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(panicked));
    let arguments = std::env::args_os().skip(1).collect();
    let status = match cli::parse(arguments) {
        Ok(command) => run(command),
        Err(fault) => {
            logging::say(&fault.message);
            fault.status
        }
    };
    logging::flush();
    ExitCode::from(status)
}

/// A panic is a defect: one line for people, no backtrace, and the status of a watchdog that cannot go on. The engine sets
/// its own hook once there are workers to stop.
#[expect(clippy::disallowed_methods, reason = "nothing is left to return to")]
fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("no words");
    let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
    client::top::give_back();
    logging::let_go();
    logging::say(&format!("a defect of the watchdog: {text}{place}"));
    std::process::exit(i32::from(settings::BROKEN));
}

fn run(command: Command) -> u8 {
    if let Command::Supervise { flags, command } = command {
        let status = supervise(&flags, command);
        logging::flush();
        watchdog_engine::end(status);
    }
    run_other(command)
}

/// All but the prefix form. Out of its way: what is inlined here would be read in at each start.
#[cold]
#[inline(never)]
fn run_other(command: Command) -> u8 {
    match command {
        Command::Supervise { flags, command } => supervise(&flags, command),
        Command::Control(control) => client::run(&control, &World::real()),
        Command::Simulate { flags, exits, json } => simulate::run(&flags, &exits, json, &World::real()),
        Command::Up(up) => up::run(up, World::real()),
        Command::Check { of, json } => check::run(&of, json, &World::real()),
        Command::Init { file } => init(&file),
        Command::Schema => output::page(&help::schema()),
        Command::UntilReady { of, timeout, view, json } => up::until_ready(of, timeout, view, json, World::real()),
        Command::Install(line) => install::run(&line, &World::real()),
        Command::Uninstall(line) => install::remove(&line, &World::real()),
        Command::Drill(of) => drill::run(&of, &World::real()),
        Command::StartLate { delay, command } => drill::start_late(delay, &command),
        Command::Help(None) => output::page(&help::page()),
        Command::Help(Some(verb)) => output::page(&help::verb(verb)),
        Command::Version => output::page(concat!("watchdog ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Completions(shell) => output::page(&help::completions(shell)),
        Command::Man(None) => output::page(&help::manual()),
        Command::Man(Some(verb)) => output::page(&help::manual_of(verb)),
        Command::Settings { markdown } => output::page(&help::settings(markdown)),
    }
}

/// The prefix form: everything that is wrong is said at once, then nothing is started.
fn supervise(flags: &[Flag], command: Vec<OsString>) -> u8 {
    let resolved = settings::resolve(flags, command, &World::real());
    match resolved {
        Ok(resolved) => {
            logging::init(&resolved.log_level, resolved.log_format);
            for warning in &resolved.warnings {
                log::warn!("{warning}");
            }
            watchdog_engine::Watchdog::new(resolved.instance, vec![resolved.spec]).run()
        }
        Err(faults) => complain(&faults),
    }
}

/// Writes the sample where there is no file yet.
fn init(path: &Path) -> u8 {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    match made.and_then(|mut file| file.write_all(help::sample().as_bytes())) {
        Ok(()) => output::page(&format!("{} written: watchdog check, then watchdog up\n", path.display())),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            logging::say(&format!("{} is there already: it is not overwritten", path.display()));
            1
        }
        Err(e) => {
            logging::say(&format!("{}: {}", path.display(), settings::reason(&e)));
            1
        }
    }
}

/// Says what is wrong, one line each, and gives the status to end with.
fn complain(faults: &[Fault]) -> u8 {
    for fault in faults {
        logging::say(&fault.message);
    }
    if faults.is_empty() { USAGE } else { settings::status_of(faults) }
}
