//! Files that will be written: the directory of each is there before anything is started, or can be made. Looks, and makes
//! nothing.

use super::{Member, Said};
use crate::settings::claims::{Claims, a_link};
use crate::settings::draft::{ControlWish, Draft, ReportWish};
use crate::settings::fault::Fault;
use crate::settings::reason;
use crate::settings::source::placed;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use watchdog_engine::spec::{Http, HttpControl};

/// The files of the watchdog itself. What nobody named is made where it is missing.
pub(super) fn of_the_watchdog(above: &Draft, said: &Said, faults: &mut Vec<Fault>) {
    let control = match &above.control {
        ControlWish::Path(path) => Some(path),
        ControlWish::Usual | ControlWish::Off => None,
    };
    let reports = match &above.report_dir {
        ReportWish::Path(path) => Some(path),
        ReportWish::Usual | ReportWish::Off => None,
    };
    let http = match &above.http {
        Http::Unix(path) => Some(path),
        Http::Tcp(_) | Http::Off => None,
    };
    let token = match &above.http_control {
        HttpControl::File(path) => Some(path),
        HttpControl::Beside | HttpControl::Off => None,
    };
    let named: [(&'static str, Option<&PathBuf>); 7] = [
        ("http", http),
        ("http_control", token),
        ("events_file", above.events_file.as_ref()),
        ("termination_message", above.termination_message.as_ref()),
        ("report_dir", reports),
        ("control", control),
        ("state", above.state.as_ref()),
    ];
    for (key, path) in named {
        let wrong = path.and_then(|path| homeless(path).or_else(|| no_directory(path).filter(|_| key == "report_dir")));
        faults.extend(wrong.map(|what| said.wrong_with_the_watchdog(key, Fault::broken(what))));
    }
    if let Some(what) = above.events_file.as_deref().and_then(a_link) {
        faults.push(said.wrong_with_the_watchdog("events_file", Fault::broken(what)));
    }
    for (key, what) in Claims::default().of_the_watchdog(above) {
        faults.push(said.wrong_with_the_watchdog(key, Fault::broken(what)));
    }
}

/// The files of output of a service. Their directories are made where they are missing, so all that can be wrong is that
/// something else is in the way.
pub(super) fn of_a_service(member: &Member<'_>, said: &Said) -> Vec<Fault> {
    let log = &member.draft.spec.log;
    let wrong = |(key, path): (&'static str, &Option<PathBuf>)| {
        let fault = Fault::broken(in_the_way(path.as_deref()?)?).about(key);
        Some(match said.above_the_files(key) {
            Some(layer) => fault.at(&layer),
            None if member.entry(key).is_some() => said.wrong_with(member, fault),
            None => said.wrong_with_all(fault),
        })
    };
    [("log_file", &log.file), ("log_file_stderr", &log.stderr_file)].into_iter().filter_map(wrong).collect()
}

/// Why the directory of this path cannot be made.
fn in_the_way(path: &Path) -> Option<String> {
    let above = path.ancestors().skip(1).map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    for dir in above {
        let (shown, dir_shown) = (path.display(), dir.display());
        match std::fs::metadata(dir) {
            Ok(facts) if facts.is_dir() => return None,
            Ok(_) => return Some(format!("{shown}: {dir_shown} is no directory: name another one")),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) => return Some(format!("{shown}: the directory {dir_shown}: {}", reason(&e))),
        }
    }
    None
}

/// Why nothing can be written to this path.
fn homeless(path: &Path) -> Option<String> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (shown, dir_shown) = (path.display(), dir.display());
    match std::fs::metadata(dir) {
        Ok(facts) if facts.is_dir() => None,
        Ok(_) => Some(format!("{shown}: {dir_shown} is no directory: name another one")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Some(format!("{shown}: there is no directory {dir_shown}: make it, or name another one"))
        }
        Err(e) => Some(format!("{shown}: the directory {dir_shown}: {}", reason(&e))),
    }
}

/// Something else stands where a directory will be looked for.
fn no_directory(path: &Path) -> Option<String> {
    let other = std::fs::metadata(path).is_ok_and(|facts| !facts.is_dir());
    other.then(|| format!("{} is no directory: name another one", path.display()))
}

impl Said {
    /// The flag or variable that says this, whatever the files say.
    fn above_the_files(&self, key: &str) -> Option<String> {
        let flag = self.flags.iter().find(|(setting, _)| setting.key == key).map(|(setting, _)| setting.flag());
        let variable = || self.variables.iter().find(|(setting, _)| setting.key == key);
        flag.or_else(|| variable().map(|(setting, _)| setting.variable()))
    }

    fn wrong_with_the_watchdog(&self, key: &str, fault: Fault) -> Fault {
        let entry = self.contents.watchdog.iter().rfind(|e| e.setting.key == key);
        match (self.above_the_files(key), entry) {
            (Some(layer), _) => fault.at(&layer),
            (None, Some(entry)) => placed(&self.sources, entry.spot, &format!("watchdog.{}", entry.written), fault),
            (None, None) => fault,
        }
    }
}
