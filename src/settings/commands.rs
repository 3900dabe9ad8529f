//! Commands: what a service runs, and what is run when the watchdog gives up.

use super::draft::{CommandWish, Draft};
use super::fault::Fault;
use super::node::Value;
use super::raw::Raw;
use super::values;
use std::ffi::OsString;
use watchdog_engine::spec::GiveUp;

/// `give_up`
pub(crate) fn give_up(raw: &Raw) -> Result<GiveUp, Fault> {
    let text = raw.text()?;
    if let Some(command) = text.strip_prefix("exec:") {
        return values::command(command).map(GiveUp::Exec);
    }
    let words = [("exit", 0), ("stay", 1), ("stop-all", 2), ("exec:COMMAND", 3)];
    match values::word(text, &words)? {
        0 => Ok(GiveUp::Exit),
        1 => Ok(GiveUp::Stay),
        2 => Ok(GiveUp::StopAll),
        _ => values::command("").map(GiveUp::Exec),
    }
}

/// `command`: one text, or words.
pub(crate) fn command(raw: &Raw) -> Result<CommandWish, Fault> {
    let node = raw.tree()?;
    let Value::List(items) = &node.value else { return node.text().map(|t| CommandWish::Text(t.to_string())) };
    let mut words = Vec::new();
    for (at, item) in items.iter().enumerate() {
        words.push(item.text().map_err(|f| f.inside(item.at, format!("[{at}]")))?.into());
    }
    Ok(CommandWish::Words(words))
}

impl Draft {
    /// What a service of a file runs; none for one without a process.
    pub(crate) fn argv(&self) -> Result<Vec<OsString>, Fault> {
        match (&self.command, self.shell) {
            (None, _) => Ok(Vec::new()),
            (Some(CommandWish::Text(text)), true) => Ok(["/bin/sh", "-c", text].map(OsString::from).to_vec()),
            (Some(CommandWish::Text(text)), false) => values::command(text),
            (Some(CommandWish::Words(words)), false) => match words.first() {
                Some(program) if !program.is_empty() => Ok(words.clone()),
                _ => Err(Fault::usage("the command is empty")),
            },
            (Some(CommandWish::Words(_)), true) => {
                Err(Fault::usage("shell = true takes the command as one text, not as a list").about("shell"))
            }
        }
    }
}
