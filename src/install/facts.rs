//! What is to be installed: read and looked over as `up` and the prefix form would, before anything is written.

use super::{Refused, refuse};
use crate::cli::{Format, Install};
use crate::settings::{self, Flag, World};
use crate::{check, logging, output};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use watchdog_engine::spec::Spec;

/// The PATH of a service of the machine, as systemd has it too.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a stop may take beyond its settings, for each service.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Everything a template needs.
#[derive(Debug)]
pub(super) struct Facts {
    /// Of the unit, of the watchdog and of its control socket.
    pub(super) name: String,
    /// One line for people.
    pub(super) description: String,
    /// The watchdog itself.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Where it runs: what is relative now is the same then.
    pub(super) directory: PathBuf,
    /// Who it runs as; none for the units of a user, which run as that user.
    pub(super) user: Option<String>,
    /// Variables, PATH first: what is found now is found then.
    pub(super) environment: Vec<OsString>,
    /// It has a file that `reload` reads again.
    pub(super) reloads: bool,
    /// The longest time that the end of all services may take.
    pub(super) stop: Duration,
    /// For one user alone.
    pub(super) of_a_user: bool,
}

impl Facts {
    /// Reads the line and what it names. Everything that is wrong is said at once.
    pub(super) fn of(line: &Install, world: &World) -> Result<Facts, Refused> {
        // Variables of this shell are not those of the service; what is looked for is looked for as it will be then.
        let ours = |name: &OsStr| name.as_bytes().starts_with(b"WATCHDOG_") || name == "PATH";
        let path = path_of(line, world);
        let mut environment: Vec<_> = world.environment.iter().filter(|(name, _)| !ours(name)).cloned().collect();
        environment.extend(path.iter().map(|path| ("PATH".into(), path.clone())));
        let bare = World { environment, accounts: world.accounts.clone(), ..*world };
        let file = line.command.is_empty().then(|| check::file(&line.of, &bare));
        let (name, stop, description) = match &file {
            Some(file) => of_a_file(line, file, &bare)?,
            None => of_a_program(line, &bare)?,
        };
        if name.starts_with('.') {
            return Err(refuse(2, format!("--name: {name:?} begins with a dot: no unit is called so")));
        }
        let directory =
            std::env::current_dir().map_err(|e| refuse(1, format!("working directory: {}", settings::reason(&e))))?;
        let program =
            std::env::current_exe().map_err(|e| refuse(1, format!("own program: {}", settings::reason(&e))))?;
        for (what, path) in [("the program", &program), ("the working directory", &directory)] {
            let speakable = path.to_str().is_some_and(|p| !p.contains('$') && !p.contains(char::is_control));
            if !speakable {
                return Err(refuse(1, format!("{what} {path:?} cannot be written into a unit: move it")));
            }
        }
        let user = user_of(line, world)?;
        let mut variables = own_variables(&name, user.as_deref(), line);
        variables.splice(0..0, path.map(|path| joined("PATH", &path)));
        let (moved, flags): (Vec<&Flag>, Vec<&Flag>) = line.of.flags.iter().partition(|flag| is_moved(flag, line));
        variables.extend(moved.into_iter().map(|(_, value)| value.clone()));
        Ok(Facts {
            arguments: arguments(line, file.as_deref(), &name, &flags, &directory),
            name,
            description,
            program,
            directory,
            user,
            environment: variables,
            reloads: line.command.is_empty(),
            stop,
            of_a_user: line.user,
        })
    }
}

/// Name, longest stop, description.
type Looked = (String, Duration, String);

fn of_a_file(line: &Install, file: &Path, world: &World) -> Result<Looked, Refused> {
    let plan = settings::plan(&line.of.flags, file, &[], world).map_err(Refused::of)?;
    plan.warnings.iter().for_each(|warning| logging::say(warning));
    for spec in plan.specs.iter().filter(|spec| spec.kind.has_process() && !is_found(spec)) {
        let program = spec.command.first().map_or_else(Default::default, |program| program.to_string_lossy());
        logging::say(&format!("service.{}: {}", spec.base, not_found(&program, line)));
    }
    let stop = plan.specs.iter().map(|spec| longest(spec)).fold(STOP_SLACK, Duration::saturating_add);
    let name = plan.instance.name;
    let description = format!("{name}: the services of {}", file.display());
    Ok((name, stop, description))
}

fn of_a_program(line: &Install, world: &World) -> Result<Looked, Refused> {
    let resolved = settings::resolve(&line.of.flags, line.command.clone(), world).map_err(Refused::of)?;
    resolved.warnings.iter().for_each(|warning| logging::say(warning));
    let program = line.command[0].to_string_lossy();
    if !is_found(&resolved.spec) {
        let what = not_found(&program, line);
        // A template may be for another machine.
        if !(line.dry_run || line.format != Format::Systemd) {
            return Err(refuse(1, what));
        }
        output::errors([what.as_str()].into_iter());
    }
    let description = match resolved.spec.title.is_empty() {
        true => format!("{program}, kept alive by watchdog"),
        false => resolved.spec.title.clone(),
    };
    Ok((resolved.instance.name, longest(&resolved.spec), description))
}

/// The PATH of the unit: of a unit of one's own that of this shell. One of the machine is for all who look after it, and a folder
/// of whoever installed it has no business there.
fn path_of(line: &Install, world: &World) -> Option<OsString> {
    match line.user || line.keep_path {
        true => world.variable("PATH").cloned(),
        false => Some(USUAL_PATH.into()),
    }
}

fn not_found(program: &str, line: &Install) -> String {
    let how = "write its whole path, or take the PATH of this shell along (--keep-path)";
    match line.user || line.keep_path || program.contains('/') {
        true => format!("{program}: no such program here"),
        false => format!("{program}: no such program here in PATH={USUAL_PATH}: {how}"),
    }
}

/// Whether the program can be found as the worker will look for it.
fn is_found(spec: &Spec) -> bool {
    let Some(program) = spec.command.first() else { return false };
    let directory = spec.launch.cwd.clone().unwrap_or_default();
    if program.as_bytes().contains(&b'/') {
        return directory.join(program).exists();
    }
    let path = spec.launch.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let path = path.unwrap_or_else(|| "/usr/local/bin:/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|folder| directory.join(folder).join(program).exists())
}

fn longest(spec: &Spec) -> Duration {
    let stop = &spec.stop;
    stop.shutdown_timeout.saturating_mul(2).saturating_add(stop.kill_wait).saturating_add(STOP_SLACK)
}

/// Who the service runs as.
fn user_of(line: &Install, world: &World) -> Result<Option<String>, Refused> {
    match (&line.run_as, line.user) {
        (Some(_), true) => Err(refuse(2, "install: --user runs as its user: leave --run-as out".into())),
        (None, true) => Ok(None),
        (None, false) => Ok(Some("root".into())),
        (Some(user), false) => {
            world.accounts.resolve(Some(user), None).map_err(|fault| refuse(1, fault.at("--run-as").message))?;
            Ok(Some(user.clone()))
        }
    }
}

/// A service that is not root's has no right to `/run/watchdog`; its control socket has a directory of its own.
fn own_variables(name: &str, user: Option<&str>, line: &Install) -> Vec<OsString> {
    match user {
        Some(user) if user != "root" && line.format == Format::Systemd => {
            vec![format!("WATCHDOG_RUNTIME_DIR=/run/watchdog-{name}").into()]
        }
        _ => Vec::new(),
    }
}

fn joined(name: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(name);
    text.push("=");
    text.push(value);
    text
}

/// An `--env` that can stand in the environment of the service just as well: readable there, and not in the list of
/// processes. Not where it would be taken away again or has to win over a file.
fn is_moved((setting, value): &Flag, line: &Install) -> bool {
    let other = |key| line.of.flags.iter().any(|(setting, _)| setting.key == key);
    if setting.key != "env" || line.command.is_empty() || other("clear_env") || other("config") {
        return false;
    }
    let Some((name, _)) = value.to_str().and_then(|text| text.split_once('=')) else { return false };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// The line of the service: the same settings, with a name, and with the file by its whole path.
fn arguments(line: &Install, file: Option<&Path>, name: &str, flags: &[&Flag], directory: &Path) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    if let Some(file) = file {
        all.extend(["up".into(), "--file".into(), directory.join(file).into_os_string()]);
    }
    if !flags.iter().any(|(setting, _)| setting.key == "name") {
        all.push(joined("--name", OsStr::new(name)));
    }
    for (setting, value) in flags {
        match &*setting.key {
            "config" => all.push(joined(&setting.flag(), directory.join(value).as_os_str())),
            _ => all.push(joined(&setting.flag(), value)),
        }
    }
    if !line.command.is_empty() {
        all.push("--".into());
        all.extend(line.command.iter().cloned());
    }
    all
}
