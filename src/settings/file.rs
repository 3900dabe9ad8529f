//! The TOML file: which of its keys the prefix form reads, and where everything that is wrong with it stands.

use super::bounded;
use super::fault::Fault;
use super::later;
use super::nearest::nearest;
use super::raw::{Layer, Raw};
use super::table::{self, Scope, Setting};
use std::ffi::OsString;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One value of the file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Which setting.
    pub(crate) setting: &'static Setting,
    /// Its words.
    pub(crate) raw: Raw,
    /// For errors about it: `watchdog.toml:3:1: stop_timeout`.
    pub(crate) place: String,
    /// Its offset: errors are said in the order of the file.
    pub(crate) at: usize,
}

/// What was understood of a file, and what was not, with offsets.
pub(crate) type Contents = (Vec<Entry>, Vec<(usize, Fault)>);

/// Tables a file may have. `service` is read by `up` alone.
const TABLES: [&str; 3] = ["watchdog", "defaults", "service"];

/// The settings of `[watchdog]` and `[defaults]`. All that is wrong is reported together.
pub(crate) fn read(path: &Path) -> Contents {
    match text_of(path) {
        Ok(text) => parse(&path.display().to_string(), &text),
        Err(fault) => (Vec::new(), vec![(0, fault)]),
    }
}

fn text_of(path: &Path) -> Result<String, Fault> {
    let wrong = |why: &str| Fault::broken(format!("{}: {why}", path.display()));
    let bytes = bounded::read(path).map_err(|why| wrong(&why))?;
    String::from_utf8(bytes).map_err(|_| wrong("not UTF-8"))
}

/// The same for a text that was read.
fn parse(file: &str, text: &str) -> Contents {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { file, text, entries: Vec::new(), faults: Vec::new() };
    for error in &errors {
        let at = error.span().map_or(0, |s| s.start);
        let what = error.message().lines().next().unwrap_or("not TOML");
        let fault = Fault::broken(format!("{}: {what}", reader.place(at)));
        reader.faults.push((at, fault));
    }
    // What a recovering parser makes of a broken line would only repeat the error in other words.
    if errors.is_empty() {
        reader.root(root.get_ref());
    }
    (reader.entries, reader.faults)
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    entries: Vec<Entry>,
    faults: Vec<(usize, Fault)>,
}

impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            let name = key.get_ref().as_ref();
            match (name, value.get_ref().as_table()) {
                ("service", _) => {}
                ("watchdog", Some(table)) => self.section(table, Scope::Instance),
                ("defaults", Some(table)) => self.section(table, Scope::Service),
                ("watchdog" | "defaults", None) => self.wrong(key.span().start, name, "is a table: [..]".to_string()),
                (_, _) => {
                    let at = key.span().start;
                    let place = self.place(at);
                    let fault = match home(name) {
                        Some(home) => Fault::broken(format!("{place}: {name}: stands in {home}")),
                        None => Fault::broken(format!("{place}: {name}: unknown table or key"))
                            .or_nearest(nearest(name, TABLES)),
                    };
                    self.faults.push((at, fault));
                }
            }
        }
    }

    fn section(&mut self, table: &DeTable<'_>, scope: Scope) {
        for (key, value) in table {
            let at = key.span().start;
            let written = key.get_ref().as_ref();
            let name = later::ALIASES.iter().find(|(alias, _)| *alias == written).map_or(written, |(_, key)| key);
            match table::find(name) {
                Some(setting) if setting.scope == scope => self.value(setting, written, at, value),
                Some(_) => {
                    let home = home(name).unwrap_or("the command line");
                    self.wrong(at, written, format!("stands in {home}"));
                }
                None if later::KEYS.iter().any(|(k, _)| *k == name) => self.wrong(at, written, later::refusal(name)),
                None => {
                    let place = self.place(at);
                    let fault = Fault::broken(format!("{place}: {written}: unknown key"));
                    self.faults.push((at, fault.or_nearest(nearest(name, table::keys()))));
                }
            }
        }
    }

    fn value(&mut self, setting: &'static Setting, written: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        match raw(value.get_ref()) {
            Ok(raw) => {
                if self.entries.iter().any(|e| std::ptr::eq(e.setting, setting)) {
                    return self.wrong(at, written, format!("sets {} a second time", setting.key));
                }
                let place = format!("{}: {written}", self.place(at));
                self.entries.push(Entry { setting, raw, place, at });
            }
            Err(what) => self.wrong(value.span().start, written, what),
        }
    }

    fn wrong(&mut self, at: usize, key: &str, what: String) {
        let place = self.place(at);
        self.faults.push((at, Fault::broken(format!("{place}: {key}: {what}"))));
    }

    /// `FILE:LINE:COLUMN`, columns in characters.
    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.file)
    }
}

/// The table a setting stands in.
fn home(key: &str) -> Option<&'static str> {
    let setting = table::find(key)?;
    Some(match setting.scope {
        Scope::Service => "[defaults] or [service.NAME]",
        Scope::OneService => "[service.NAME]",
        Scope::Instance => "[watchdog]",
        Scope::CommandLine => "the command line",
    })
}

/// A value of TOML in the words of a flag.
fn raw(value: &DeValue<'_>) -> Result<Raw, String> {
    if let Some(array) = value.as_array() {
        let words = array.iter().map(|item| word(item.get_ref())).collect::<Result<_, _>>()?;
        return Ok(Raw { layer: Layer::File, words, items: true });
    }
    if let Some(table) = value.as_table() {
        let mut words = Vec::new();
        for (key, item) in table {
            let mut pair = OsString::from(key.get_ref().as_ref());
            pair.push("=");
            pair.push(word(item.get_ref())?);
            words.push(pair);
        }
        return Ok(Raw { layer: Layer::File, words, items: true });
    }
    Ok(Raw::one(Layer::File, word(value)?))
}

/// One plain value. A NUL is refused here: no path, argument or variable can hold one.
fn word(value: &DeValue<'_>) -> Result<OsString, String> {
    if let Some(text) = value.as_str() {
        return if text.contains('\0') { Err("holds a NUL character".to_string()) } else { Ok(text.into()) };
    }
    if let Some(number) = value.as_integer() {
        // Octal stays as it was written: a mask is written so.
        return Ok(number.to_string().into());
    }
    if let Some(number) = value.as_float() {
        return Ok(number.as_str().to_string().into());
    }
    match value.as_bool() {
        Some(switch) => Ok(switch.to_string().into()),
        None => Err(format!("a {} stands where one value is expected", value.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse("w.toml", text).1.into_iter().map(|(_, f)| f.message).collect()
    }

    fn entries(text: &str) -> Vec<Entry> {
        let (entries, faults) = parse("w.toml", text);
        assert_eq!(faults, []);
        entries
    }

    #[test]
    fn defaults_and_watchdog_are_read_and_services_are_not() {
        let text = "[watchdog]\nlog_level = \"info\"\n[defaults]\nstop_timeout = \"5s\"\nenv = { A = \"1\", B = 2 }\n\
                    success_on = [0, \"TERM\"]\n[service.x]\nno_such_key = 1\n";
        let entries = entries(text);
        let words: Vec<(&str, Vec<OsString>)> = entries.iter().map(|e| (e.setting.key, e.raw.words.clone())).collect();
        let expected: [(&str, Vec<OsString>); 4] = [
            ("log_level", vec!["info".into()]),
            ("stop_timeout", vec!["5s".into()]),
            ("env", vec!["A=1".into(), "B=2".into()]),
            ("success_on", vec!["0".into(), "TERM".into()]),
        ];
        for pair in expected {
            assert!(words.contains(&pair), "{words:?}");
        }
        assert!(entries.iter().any(|e| e.place == "w.toml:4:1: stop_timeout"));
    }

    #[test]
    fn everything_wrong_is_said_together_with_its_place() {
        let text = "[defaults]\nstop_timeuot = \"5s\"\n  name = \"x\"\nhttp = 1\ncontrol = \"off\"\n[defualts]\n";
        let all = faults(text);
        assert_eq!(all.len(), 5, "{all:?}");
        assert!(all.contains(&"w.toml:2:1: stop_timeuot: unknown key: did you mean \"stop_timeout\"?".to_string()));
        assert!(all.contains(&"w.toml:3:3: name: stands in [service.NAME]".to_string()), "{all:?}");
        assert!(all.contains(&"w.toml:5:1: control: stands in [watchdog]".to_string()), "{all:?}");
        assert!(all.iter().any(|f| f.starts_with("w.toml:6:2: defualts: unknown") && f.contains("\"defaults\"")));
        assert!(all.iter().any(|f| f.starts_with("w.toml:4:1: http: not in this version")));
    }

    #[test]
    fn broken_toml_says_where() {
        assert!(
            faults("[defaults]\nx = = 1\n")[0].starts_with("w.toml:2:5: "),
            "{:?}",
            faults("[defaults]\nx = = 1\n")
        );
        assert!(faults("[defaults]\ncwd = \"a\\u0000b\"\n")[0].contains("NUL"));
    }

    #[test]
    fn words_of_other_supervisors_are_taken() {
        let entries = entries(
            "[defaults]\nmaxRestarts = 3\ngracefulShutdownTimeout = \"3s\"\nmemoryThreshold = 1\ncpuThreshold = 1\n",
        );
        let mut keys: Vec<&str> = entries.iter().map(|e| e.setting.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["cpu_limit", "memory_limit", "restart_limit", "shutdown_timeout"]);
        assert!(faults("[defaults]\ngracePeriod = \"1s\"\n")[0].contains("gracePeriod: not in this version"));
        let twice = faults("[defaults]\nmaxRestarts = 3\nrestart_limit = 4\n");
        assert_eq!(twice, ["w.toml:3:1: restart_limit: sets restart_limit a second time"]);
    }
}
