//! Files that are written to, each by one writer alone: two in one file would rotate it away from each other, or cut the lines
//! of the other one. One file has many spellings, so what counts is where a path leads.

use super::draft::Draft;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use watchdog_engine::files::Identity;
use watchdog_engine::spec::{LogMode, Spec};

/// What was claimed so far. Ordered, not hashed: the prefix form comes by here too.
#[derive(Default)]
pub(crate) struct Claims {
    taken: BTreeMap<Identity, Claim>,
    files: BTreeMap<(u64, u64), String>,
    /// Names that end as rotated files do, by the name before that: the number, and whose.
    numbered: BTreeMap<Identity, (u32, String)>,
}

struct Claim {
    owner: String,
    /// Rotated files that are kept beside it.
    keep: u32,
}

impl Claims {
    /// The files of the watchdog itself: what is wrong with them, by setting.
    pub(crate) fn of_the_watchdog(&mut self, above: &Draft) -> Vec<(&'static str, String)> {
        let files = [
            ("events_file", &above.events_file),
            ("state", &above.state),
            ("termination_message", &above.termination_message),
        ];
        let wrong = |(key, path): (&'static str, &Option<PathBuf>)| Some((key, self.take(path.as_deref()?, key, 0)?));
        files.into_iter().filter_map(wrong).collect()
    }

    /// The files of output of a service.
    pub(crate) fn of_a_service(&mut self, spec: &Spec) -> Vec<(&'static str, String)> {
        let log = &spec.log;
        let mut wrong = Vec::new();
        for (key, path) in [("log_file", &log.file), ("log_file_stderr", &log.stderr_file)] {
            let Some(path) = path.as_deref().filter(|_| log.mode != LogMode::Inherit) else { continue };
            // Of one service both are said by their settings.
            let owner = if spec.name.is_empty() { key } else { &spec.name };
            wrong.extend(self.take(path, owner, log.keep).map(|what| (key, what)));
        }
        wrong
    }

    /// Claims a file for a writer; `keep` rotated ones are kept of it. What is wrong with that, where another one has it.
    pub(crate) fn take(&mut self, path: &Path, owner: &str, keep: u32) -> Option<String> {
        let id = Identity::of(path);
        let (place, file) = (id.place(), id.file());
        let same = self.taken.get(&place).map(|claim| &claim.owner).or_else(|| self.files.get(&file?));
        if let Some(first) = same {
            return Some(format!("{first} writes to the same file: each service needs one of its own"));
        }
        let base = numbered(&id);
        let rotated = base.as_ref().and_then(|(base, n)| self.taken.get(base).filter(|claim| *n <= claim.keep));
        if let Some(Claim { owner, .. }) = rotated {
            return Some(format!("{owner} keeps a rotated file there: name another one"));
        }
        if let Some((_, other)) = self.numbered.get(&place).filter(|(n, _)| *n <= keep) {
            return Some(format!("its rotated files would take the place of what {other} writes: name another one"));
        }
        if let Some((base, n)) = base {
            self.numbered.insert(base, (n, owner.to_string()));
        }
        if let Some(file) = file {
            self.files.insert(file, owner.to_string());
        }
        self.taken.insert(place, Claim { owner: owner.to_string(), keep });
        None
    }
}

/// Why a file that is rotated cannot be this one: it is opened through no link. For `check`; a start finds it out itself.
pub(crate) fn a_link(path: &Path) -> Option<String> {
    path.is_symlink().then(|| format!("{}: is a symbolic link, which is not followed", path.display()))
}

/// `x.log.3.gz` is number 3 of `x.log`.
fn numbered(id: &Identity) -> Option<(Identity, u32)> {
    let name = id.name().to_str()?;
    let name = name.strip_suffix(".part").unwrap_or(name);
    let (base, number) = name.strip_suffix(".gz").unwrap_or(name).rsplit_once('.')?;
    Some((id.beside(base), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_writer_however_it_is_spelt() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("sub")).expect("a directory");
        std::os::unix::fs::symlink("sub", at("link")).expect("a link");
        std::fs::write(at("sub/there"), "").expect("a file");
        std::fs::hard_link(at("sub/there"), at("second")).expect("a hard link");
        let mut claims = Claims::default();
        let mut take = |name: &str, keep| claims.take(&at(name), name, keep);
        assert_eq!([take("sub/x", 3), take("sub/there", 0), take("y", 0), take("new/z", 1)], [const { None }; 4]);
        for (name, by) in
            [("link/x", "sub/x"), ("./y", "y"), ("sub/../y", "y"), ("second", "sub/there"), ("new/z", "new/z")]
        {
            let wrong = take(name, 0).expect("refused");
            assert!(wrong.starts_with(&format!("{by} writes to the same file")), "{name}: {wrong}");
        }
        assert!(take("link/x.2.gz", 0).is_some_and(|wrong| wrong.starts_with("sub/x keeps a rotated file")));
        assert_eq!([take("sub/x.4", 0), take("z.1", 0), take("sub/y", 9)], [const { None }; 3]);
        assert!(take("z", 1).is_some_and(|wrong| wrong.contains("what z.1 writes")));
        assert_eq!(take("q", 10), None);
    }
}
