//! Templates for two other managers of services. They are printed, and placed by whoever uses them.

use super::facts::Facts;
use super::quote::shell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A script of OpenRC. Its start-stop-daemon line is evaluated by a shell a second time, hence quotes in quotes.
pub(super) fn openrc(facts: &Facts) -> Vec<u8> {
    let twice = |words: &[&OsStr]| shell(OsStr::from_bytes(&line(words.iter().copied())));
    let seconds = facts.stop.as_secs().saturating_add(1);
    let mut text = format!(
        "#!/sbin/openrc-run\n# Written by watchdog install --format openrc: /etc/init.d/{0}, mode 0755, then rc-update add {0}.\n\n",
        facts.name
    )
    .into_bytes();
    let mut put = |name: &str, value: &[u8]| {
        text.extend(name.as_bytes());
        text.push(b'=');
        text.extend(value);
        text.push(b'\n');
    };
    put("description", &shell(OsStr::new(&facts.description)));
    put("command", &twice(&[facts.program.as_os_str()]));
    put("command_args", &twice(&facts.arguments.iter().map(|w| w.as_os_str()).collect::<Vec<_>>()));
    put("command_background", b"yes");
    put("pidfile", format!("/run/watchdog-{}.pid", facts.name).as_bytes());
    put("directory", &shell(facts.directory.as_os_str()));
    if let Some(user) = facts.user.as_deref().filter(|user| *user != "root") {
        put("command_user", &shell(OsStr::new(user)));
    }
    text.extend(b"# One restarter: the watchdog itself. As long as its own ladder may take, then KILL.\n");
    text.extend(format!("retry=TERM/{seconds}/KILL/5\n").as_bytes());
    exports(facts, &mut text);
    if facts.reloads {
        text.extend(b"extra_started_commands=reload\n");
    }
    text.extend(b"\ndepend() {\n\tneed net\n\tafter firewall\n}\n");
    if facts.reloads {
        let name = &facts.name;
        text.extend(
            format!(
                "\nreload() {{\n\tebegin \"Reloading {name}\"\n\teval \"$command\" reload -i {name}\n\teend $?\n}}\n"
            )
            .as_bytes(),
        );
    }
    text
}

/// A script that makes the directory of a service of runit: `sh SCRIPT [DIRECTORY]`.
pub(super) fn runit(facts: &Facts) -> Vec<u8> {
    let mut run = b"#!/bin/sh\nexec 2>&1\n".to_vec();
    exports(facts, &mut run);
    run.extend(b"cd ");
    run.extend(shell(facts.directory.as_os_str()));
    run.extend(b" || exit 1\nexec ");
    if let Some(user) = facts.user.as_deref().filter(|user| *user != "root") {
        run.extend(b"chpst -u ");
        run.extend(shell(OsStr::new(user)));
        run.push(b' ');
    }
    run.extend(line(std::iter::once(facts.program.as_os_str()).chain(facts.arguments.iter().map(|w| w.as_os_str()))));
    run.push(b'\n');
    let finish = b"#!/bin/sh\n# One restarter: runit starts a watchdog again that died by a signal or could not go on (125), and no other.\n\
                   case $1 in -1 | 125) exit 0 ;; esac\nexec sv down .\n";
    let mut text = format!(
        "#!/bin/sh\n# Written by watchdog install --format runit: sh SCRIPT makes /etc/sv/{0}, sh SCRIPT DIRECTORY another one; then\n\
         # ln -s /etc/sv/{0} to where your services are.\nset -e\ndir=${{1:-/etc/sv/{0}}}\nmkdir -p \"$dir\"\n",
        facts.name
    )
    .into_bytes();
    for (name, script) in [("run", run.as_slice()), ("finish", finish.as_slice())] {
        let end = delimiter(script);
        text.extend(format!("cat > \"$dir/{name}\" <<'{end}'\n").as_bytes());
        text.extend(script);
        text.extend(format!("{end}\nchmod 755 \"$dir/{name}\"\n").as_bytes());
    }
    text
}

/// Words with a blank between.
fn line<'a>(words: impl Iterator<Item = &'a OsStr>) -> Vec<u8> {
    words.map(shell).collect::<Vec<_>>().join(&b' ')
}

fn exports(facts: &Facts, text: &mut Vec<u8>) {
    for variable in &facts.environment {
        let bytes = variable.as_bytes();
        let at = bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
        text.extend(b"export ");
        text.extend(&bytes[..at]);
        text.push(b'=');
        text.extend(shell(OsStr::from_bytes(bytes.get(at + 1..).unwrap_or_default())));
        text.push(b'\n');
    }
}

/// A line that the script has not.
fn delimiter(script: &[u8]) -> String {
    let has = |word: &str| script.split(|b| *b == b'\n').any(|line| line == word.as_bytes());
    let numbered = (2..).map(|n| format!("END{n}"));
    std::iter::once("END".to_string()).chain(numbered).find(|word| !has(word)).unwrap_or_default()
}
