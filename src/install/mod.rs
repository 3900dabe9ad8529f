//! `watchdog install` and `uninstall`: the watchdog as a service of the machine or of a user. It renders text and places
//! it; nothing in the engine knows.

mod facts;
mod place;
mod quote;
mod templates;
mod unit;

use crate::cli::{Format, Install, Uninstall};
use crate::settings::{self, Fault, World};
use crate::{logging, output};
use facts::Facts;
use place::{Before, Place};
use serde_json::json;

/// Refused: permission, or somebody else's unit.
const REFUSED: u8 = 4;
/// The first words of every unit of ours: no other one is written over or removed.
const MARK: &str = "# Written by watchdog install";

/// Why not, one line each, and the status to end with.
struct Refused {
    status: u8,
    why: Vec<String>,
}

fn refuse(status: u8, why: String) -> Refused {
    Refused { status, why: vec![why] }
}

impl Refused {
    /// A wrong line is 2; whatever else is wrong with what is to be installed is a no.
    fn of(faults: Vec<Fault>) -> Refused {
        let usage = settings::status_of(&faults) == settings::USAGE;
        Refused {
            status: if usage { settings::USAGE } else { 1 },
            why: faults.into_iter().map(|f| f.message).collect(),
        }
    }

    fn say(self) -> u8 {
        output::errors(self.why.iter().map(String::as_str));
        self.status
    }
}

/// Installs, or prints what would be installed.
pub(crate) fn run(line: &Install, world: &World) -> u8 {
    install(line, world).unwrap_or_else(Refused::say)
}

/// Takes it away again.
pub(crate) fn remove(line: &Uninstall, world: &World) -> u8 {
    uninstall(line, world).unwrap_or_else(Refused::say)
}

fn install(line: &Install, world: &World) -> Result<u8, Refused> {
    let facts = Facts::of(line, world)?;
    match line.format {
        Format::Systemd => as_unit(line, &facts, world),
        Format::Openrc => Ok(template(line, &facts, templates::openrc(&facts))),
        Format::Runit => Ok(template(line, &facts, templates::runit(&facts))),
    }
}

/// A template is printed, and nothing else is done with it.
fn template(line: &Install, facts: &Facts, text: Vec<u8>) -> u8 {
    if line.json {
        let text = String::from_utf8_lossy(&text);
        let page = json!({"name": facts.name, "format": line.format.word(), "text": text, "installed": false});
        return output::page(&format!("{page}\n"));
    }
    if !line.dry_run {
        logging::say("printed, and not installed: its first lines say where it goes");
    }
    u8::from(output::write(&text) == output::Written::Failed)
}

fn as_unit(line: &Install, facts: &Facts, world: &World) -> Result<u8, Refused> {
    let place = Place::of(line.user, line.root.as_deref(), world)?;
    let (text, path) = (unit::text(facts), place.unit(&facts.name));
    let told = |installed: bool| {
        let (scope, path) = (if line.user { "user" } else { "system" }, path.to_string_lossy());
        let page = json!({
            "name": facts.name, "format": "systemd", "scope": scope, "path": path, "text": text, "installed": installed,
        });
        format!("{page}\n")
    };
    if line.dry_run {
        return Ok(output::page(&if line.json { told(false) } else { text }));
    }
    place.may(world, "install")?;
    let before = place.before(&facts.name)?;
    if matches!(before, Before::Theirs) && !line.force {
        let what = format!("{}: not written by watchdog install: another --name, or --force", path.display());
        return Err(refuse(REFUSED, what));
    }
    place.write(&facts.name, text.as_bytes())?;
    place.enable(&facts.name, target(line.user), !line.no_start).inspect_err(|_| place.undo(&facts.name, &before))?;
    if line.json {
        return Ok(output::page(&told(true)));
    }
    let changed = matches!(&before, Before::Ours(old) if old != text.as_bytes());
    let then = match (line.root.is_some(), line.no_start, changed) {
        (true, ..) => "it starts with the system that is there",
        (_, true, _) => "enabled, and not started",
        (.., true) => "enabled; what runs goes on as it was until systemctl restart",
        _ => "enabled and started; systemctl status says how it is",
    };
    let socket =
        facts.user.as_deref().filter(|user| *user != "root").map_or(String::new(), |_| {
            format!("ask it with: watchdog status -i /run/watchdog-{0}/{0}.sock\n", facts.name)
        });
    Ok(output::page(&format!("{} written: {then}\n{socket}", path.display())))
}

fn uninstall(line: &Uninstall, world: &World) -> Result<u8, Refused> {
    let place = Place::of(line.user, line.root.as_deref(), world)?;
    let path = place.unit(&line.name);
    match place.before(&line.name)? {
        Before::Nothing => return Err(refuse(1, format!("{}: there is no such unit", path.display()))),
        Before::Theirs => {
            return Err(refuse(REFUSED, format!("{}: not written by watchdog install: it stays", path.display())));
        }
        Before::Ours(_) => {}
    }
    if !line.dry_run {
        place.may(world, "uninstall")?;
        place.remove(&line.name, target(line.user))?;
    }
    if line.json {
        let page = json!({"name": line.name, "path": path.to_string_lossy(), "removed": !line.dry_run});
        return Ok(output::page(&format!("{page}\n")));
    }
    let done = if line.dry_run { "would be stopped, disabled and removed" } else { "removed" };
    Ok(output::page(&format!("{} {done}\n", path.display())))
}

/// What starts it with the machine, or with the user's session.
fn target(user: bool) -> &'static str {
    if user { "default.target" } else { "multi-user.target" }
}
