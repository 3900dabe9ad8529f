//! A terminal as people have it, where tmux is installed.

use super::{Run, wait_for};

/// A terminal of its own that breaks lines anew when it is resized, as those of people do.
pub struct Tmux {
    pub run: Run,
    socket: String,
}

impl Tmux {
    /// Whether there can be one.
    pub fn is_there() -> bool {
        std::process::Command::new("tmux").arg("-V").output().is_ok()
    }

    /// With this run in it, which says `ended` when it is over.
    pub fn with(run: Run, width: &str, height: &str) -> Tmux {
        let line: Vec<String> = run.line().iter().map(|w| w.to_string_lossy().into_owned()).collect();
        Tmux::of(run, &line.iter().map(String::as_str).collect::<Vec<_>>(), width, height)
    }

    /// With another command in the surroundings of this run, which is not started itself.
    pub fn of(run: Run, line: &[&str], width: &str, height: &str) -> Tmux {
        let socket = run.at("tmux");
        let tmux = Tmux { run, socket };
        // The shell hears the keys too, and has to live on.
        let script = "trap : INT; \"$@\"; echo ended; exec sleep 1000";
        let words = ["new-session", "-d", "-x", width, "-y", height, "sh", "-c", script, "sh"];
        tmux.say(&words.into_iter().chain(line.iter().copied()).collect::<Vec<_>>());
        tmux
    }

    pub fn say(&self, words: &[&str]) -> String {
        let mut line: Vec<std::ffi::OsString> =
            ["tmux", "-f", "/dev/null", "-S", &self.socket].map(Into::into).to_vec();
        line.extend(words.iter().map(Into::into));
        let done = self.run.command(&line).env_remove("TMUX").stdin(std::process::Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait_for(what, || Some(self.say(&["capture-pane", "-p"])).filter(|t| wanted(t)))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.say(&["kill-server"]);
        super::procs::end_all(self.run.mark());
    }
}
