//! The text of a file, and where in it an offset is.

use super::bounded;
use super::fault::{BROKEN, Fault, Place};
use super::users::reason;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder beside the file whose files are read after it.
const DROP_INS: &str = "watchdog.d";
/// Most drop-ins: more are no configuration but a mistaken folder.
const MOST_DROP_INS: usize = 1000;

/// One file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path as people named it.
    pub(crate) shown: String,
    /// All of it.
    pub(crate) text: String,
    /// Where its lines begin.
    lines: Vec<usize>,
    /// Its mode and its group; none of a text that is no file.
    owned: Option<(u32, u32)>,
}

/// A place in one of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// Which file.
    pub(crate) source: usize,
    /// Its offset.
    pub(crate) at: usize,
}

impl Source {
    /// A text that was read.
    pub(crate) fn new(shown: impl Into<String>, text: String) -> Source {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source { shown: shown.into(), text, lines, owned: None }
    }

    /// A file, bounded and whole, or the one line that says why not.
    pub(crate) fn read(path: &Path) -> Result<Source, Fault> {
        let shown = path.display().to_string();
        let bytes = bounded::read(path).map_err(|why| whole(&shown, 0, &why))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            whole(&shown, line, "not UTF-8")
        })?;
        let owned = std::fs::metadata(path).ok().map(|facts| (facts.mode(), facts.gid()));
        Ok(Source { owned, ..Source::new(shown, text) })
    }

    /// Line and column, from 1, columns in characters.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|begin| *begin <= at).max(1);
        let begin = self.lines[line - 1];
        let column = self.text.get(begin..at).map_or(0, |before| before.chars().count()) + 1;
        (line, column)
    }
}

/// A fault of a file as a whole; line 0 is none.
pub(crate) fn whole(file: &str, line: usize, message: &str) -> Fault {
    let front = if line == 0 { file.to_string() } else { format!("{file}:{line}") };
    let (file, message, key) = (file.to_string(), message.to_string(), String::new());
    let place = Place { file, order: (0, 0), line, column: 0, key, message: message.clone() };
    Fault { place: Some(Box::new(place)), ..Fault::broken(message) }.at(&front)
}

/// The same fault at a place in a file, as a broken file.
pub(crate) fn placed(sources: &[Source], spot: Spot, key: &str, fault: Fault) -> Fault {
    let Some(source) = sources.get(spot.source) else { return fault };
    let (at, key) = match &fault.inside {
        Some(inside) => (inside.0, format!("{key}{}", inside.1)),
        None => (spot.at, key.to_string()),
    };
    let (line, column) = source.position(at);
    let message = fault.bare().to_string();
    let file = source.shown.clone();
    let place = Place { file, order: (spot.source, at), line, column, key: key.clone(), message };
    let front = format!("{}:{line}:{column}", source.shown);
    let fault = if key.is_empty() { fault } else { fault.at(&key) };
    Fault { status: BROKEN, place: Some(Box::new(place)), inside: None, ..fault.at(&front) }
}

/// The file and its drop-ins in the order of their names: what stands later wins.
pub(crate) fn with_drop_ins(path: &Path) -> Result<Vec<Source>, Vec<Fault>> {
    let main = Source::read(path).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let mut sources = vec![main];
    for path in drop_ins(path).map_err(|fault| vec![fault])? {
        match Source::read(&path) {
            Ok(source) => sources.push(source),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(sources) } else { Err(faults) }
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let folder = path.with_file_name(DROP_INS);
    let wrong = |why: &str| Fault::broken(format!("{}: {why}", folder.display()));
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(wrong(&reason(&e))),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| wrong(&reason(&e)))?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
    if found.len() > MOST_DROP_INS {
        return Err(wrong(&format!("{} files: at most {MOST_DROP_INS}", found.len())));
    }
    found.sort();
    Ok(found)
}

/// Whoever may write such a file decides what root runs (case CFG-12).
pub(crate) fn writable_by_others(source: &Source, uid: u32) -> Option<String> {
    let (mode, who) = source.owned.filter(|_| uid == 0)?;
    let others = mode & 0o002 != 0 || (mode & 0o020 != 0 && who != 0);
    others.then(|| {
        format!("{}: others may write to it (mode {:o}), and root runs what it says", source.shown, mode & 0o777)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_a_line_and_a_column_of_characters() {
        let source = Source::new("w.toml", "ab\ncäd\n".to_string());
        assert_eq!([0, 1, 3, 6, 8].map(|at| source.position(at)), [(1, 1), (1, 2), (2, 1), (2, 3), (3, 1)]);
        assert_eq!(Source::new("x", String::new()).position(0), (1, 1));
        assert_eq!(source.position(500), (3, 1), "behind the end is the end");
    }

    #[test]
    fn a_fault_inside_of_a_value_has_its_own_place_and_key() {
        let sources = [Source::new("w.toml", "a = [\n  1,\n]\n".to_string())];
        let fault = Fault::usage("\"1\" is no name").or_nearest(Some("l")).inside(8, "[0]");
        let fault = placed(&sources, Spot { source: 0, at: 0 }, "service.x.a", fault);
        assert_eq!(fault.message, "w.toml:2:3: service.x.a[0]: \"1\" is no name: did you mean \"l\"?");
        let place = fault.place.expect("a place");
        assert_eq!((place.line, place.column, place.key.as_str()), (2, 3, "service.x.a[0]"));
        assert_eq!((place.message.as_str(), fault.status), ("\"1\" is no name", 125));
    }
}
