//! `install` and `uninstall`: the text of the unit as systemd reads it, where it goes, what is refused, the two templates.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::folder::{Folder, Said};
use common::{is_root, skip, watchdog};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const FILE: &str = "[service.web]\ncommand = [\"sleep\", \"1000\"]\nstop_timeout = \"7s\"\n";

/// A folder in which a unit of the user's own would be written, with a systemctl that writes down what it is told.
fn folder() -> Folder {
    let folder = Folder::with(FILE);
    let bin = folder.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {0}/told\n[ ! -e {0}/broken ] || [ \"$1$2\" != \"$(cat {0}/broken)\" ] || exit 1\n",
        folder.path("").display()
    );
    std::fs::write(bin.join("systemctl"), script).unwrap();
    std::fs::set_permissions(bin.join("systemctl"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let (config, home) = (folder.path("config"), folder.path("home"));
    folder.env("PATH", &path).env("XDG_CONFIG_HOME", config.to_str().unwrap()).env("HOME", home.to_str().unwrap())
}

fn told(folder: &Folder) -> Vec<String> {
    common::lines(&folder.path("told"))
}

#[track_caller]
fn unit(said: &Said) -> Vec<String> {
    assert_eq!(said.code, 0, "{said:?}");
    said.out.lines().map(str::to_string).collect()
}

#[track_caller]
fn has(unit: &[String], line: &str) {
    assert!(unit.iter().any(|l| l == line), "{line:?} is not in\n{}", unit.join("\n"));
}

#[test]
fn the_unit_has_all_that_was_promised_and_nothing_is_touched() {
    let folder = folder();
    let here = folder.path("").canonicalize().unwrap();
    let file =
        unit(&folder.verb(&["install", "--dry-run", "--name", "shop", "--run-as", "daemon", "--stop-timeout", "3s"]));
    let program = unit(&folder.verb(&["install", "--dry-run", "--user", "--env", "A=1 $x", "--", "sleep", "1000"]));
    for line in [
        "Type=notify",
        "WatchdogSec=30s",
        "WatchdogSignal=SIGKILL",
        "Restart=on-abnormal",
        "RestartForceExitStatus=125",
        "Delegate=yes",
        "KillMode=mixed",
        "NoNewPrivileges=yes",
        "RestrictSUIDSGID=yes",
        &format!("WorkingDirectory={}", here.display()),
    ] {
        has(&file, line);
        has(&program, line);
    }
    let path = format!("Environment=PATH={}:{}", folder.path("bin").display(), std::env::var("PATH").unwrap());
    has(&program, &path);
    for line in [
        "User=daemon",
        "RuntimeDirectory=watchdog-shop",
        "Environment=WATCHDOG_RUNTIME_DIR=/run/watchdog-shop",
        "SyslogIdentifier=shop",
        "After=network-online.target",
        "WantedBy=multi-user.target",
        "ProtectSystem=full",
        &format!("ExecReload={} reload -i shop", watchdog()),
        &format!(
            "ExecStart={} up --file {} --name=shop --stop-timeout=3s",
            watchdog(),
            here.join("watchdog.toml").display()
        ),
        "Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "CapabilityBoundingSet=",
    ] {
        has(&file, line);
    }
    for line in [
        "SyslogIdentifier=sleep",
        "After=basic.target",
        "WantedBy=default.target",
        "Environment=\"A=1 $x\"",
        &format!("ExecStart={} --name=sleep -- sleep 1000", watchdog()),
    ] {
        has(&program, line);
    }
    assert!(!program.iter().any(|l| l.starts_with("User=") || l.starts_with("ProtectSystem=")), "{program:?}");
    assert!(!folder.path("config").exists() && !folder.path("home").exists() && told(&folder).is_empty());
}

/// users 13. Failed before: the PATH of whoever called it stood in the unit of another user.
#[test]
fn the_path_of_the_caller_is_not_that_of_the_machine() {
    let folder = folder();
    let bin = folder.path("bin").display().to_string();
    std::fs::copy("/bin/true", folder.path("bin/wd-tool")).unwrap();
    for line in [&["install", "--dry-run"][..], &["install", "--dry-run", "--format", "runit"]] {
        let said = folder.verb(&[line, &["--", "sleep", "1"]].concat());
        assert!(said.code == 0 && !said.out.contains(&bin), "{said:?}");
    }
    let kept = unit(&folder.verb(&["install", "--dry-run", "--keep-path", "--", "wd-tool"]));
    assert!(kept.iter().any(|l| l.starts_with(&format!("Environment=PATH={bin}:"))), "{kept:?}");
    let own = unit(&folder.verb(&["install", "--dry-run", "--env", "PATH=/opt/own", "--", "sleep", "1"]));
    assert_eq!(own.iter().rfind(|l| l.starts_with("Environment=PATH=")).unwrap(), "Environment=PATH=/opt/own");
    let missing = folder.verb(&["install", "--dry-run", "--", "wd-tool"]);
    assert!(
        missing.err.contains("wd-tool: no such program here in PATH=/usr/local/sbin")
            && missing.err.contains("--keep-path"),
        "{missing:?}"
    );
    let file = folder.file("tool.toml", "[service.web]\ncommand = [\"wd-tool\"]\n").verb(&[
        "install",
        "--dry-run",
        "-f",
        "tool.toml",
    ]);
    assert!(file.code == 0 && file.err.contains("service.web: wd-tool: no such program here"), "{file:?}");
}

/// One restarter: systemd starts a watchdog again that died or could not go on, and none that has given up.
#[test]
fn only_an_abnormal_end_is_restarted_by_systemd() {
    let text = unit(&folder().verb(&["install", "--dry-run"]));
    let restarts: Vec<_> = text.iter().filter(|l| l.starts_with("Restart")).collect();
    assert_eq!(restarts, ["Restart=on-abnormal", "RestartForceExitStatus=125", "RestartSec=1s"]);
    has(&text, "StartLimitBurst=5");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("systemd-analyze is not installed");
    }
    let folder = folder();
    std::fs::create_dir_all(folder.path("runtime")).unwrap();
    std::fs::set_permissions(folder.path("runtime"), PermissionsExt::from_mode(0o700)).unwrap();
    let awkward =
        ["--", "sleep", "a b", "100%n", "$HOME", "${X}", ";", "it's", "a\"b", "back\\slash", "", "tab\there", "ä"];
    let of_program = |more: &[&'static str]| [&["install", "--dry-run"], more, &awkward].concat();
    for (n, line) in [
        vec!["install", "--dry-run"],
        vec!["install", "--dry-run", "--run-as", "daemon"],
        of_program(&[]),
        of_program(&["--user", "--env", "A=%n $x \"q\""]),
    ]
    .iter()
    .enumerate()
    {
        let path = folder.path(&format!("verified{n}.service"));
        std::fs::write(&path, unit(&folder.verb(line)).join("\n")).unwrap();
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).args(line.contains(&"--user").then_some("--user")).arg(&path);
        let out = verify.env("XDG_RUNTIME_DIR", folder.path("runtime")).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        // What it finds wrong with other units of the machine is none of ours.
        let ours: Vec<&str> = text.lines().filter(|l| l.contains("verified")).collect();
        assert!(out.status.success() && ours.is_empty(), "{line:?}: {text}");
    }
    // A tool that finds everything right would find this right too.
    let path = folder.path("broken.service");
    std::fs::write(&path, "[Service]\nExecStart=not/absolute\n").unwrap();
    let broken = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    assert!(!broken.status.success());
}

/// Read by systemd itself in its test mode, which prints the words it would start.
#[test]
fn every_word_of_the_program_arrives_as_it_was_written() {
    let Some(systemd) =
        ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"].into_iter().find(|p| std::fs::metadata(p).is_ok())
    else {
        return skip("systemd is not installed");
    };
    if !is_root() {
        return skip("needs root, to be nobody");
    }
    let words = ["sleep", "a b", "100%n", "$HOME", ";", "it's", "a\"b", "back\\slash", "", "ä"];
    let folder = folder();
    let line: Vec<&str> = ["install", "--dry-run", "--name", "words", "--"].into_iter().chain(words).collect();
    std::fs::create_dir_all(folder.path("units")).unwrap();
    std::fs::write(folder.path("units/words.service"), unit(&folder.verb(&line)).join("\n")).unwrap();
    let nobody =
        ["--reuid=65534", "--regid=65534", "--clear-groups", systemd, "--test", "--system", "--unit=words.service"];
    let out = Command::new("setpriv")
        .args(nobody)
        .env("HOME", "/")
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path("units").display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    let Some(read) =
        text.lines().find_map(|l| l.trim().strip_prefix("Command Line: ").filter(|l| l.contains("--name=words")))
    else {
        return println!("SKIPPED: this systemd does not print units in its test mode");
    };
    let split = Command::new("sh").args(["-c", &format!("printf '%s\\n' {read}")]).output().unwrap();
    let split = String::from_utf8(split.stdout).unwrap();
    let got: Vec<String> = split.lines().skip_while(|w| *w != "--").skip(1).map(|w| w.replace("$$", "$")).collect();
    assert_eq!(got, words);
}

#[test]
fn a_service_of_the_user_is_written_enabled_started_and_taken_away() {
    let folder = folder();
    let installed = folder.verb(&["install", "--user", "--name", "shop"]);
    assert_eq!(installed.code, 0, "{installed:?}");
    let path = folder.path("config/systemd/user/shop.service");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, folder.verb(&["install", "--user", "--name", "shop", "--dry-run"]).out);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let start = ["--user daemon-reload", "--user enable shop.service", "--user start --no-block shop.service"];
    assert_eq!(told(&folder), start);
    // Again: the same; and another text is said to need a restart of what runs.
    assert!(folder.verb(&["install", "--user", "--name", "shop"]).out.contains("enabled and started"));
    let changed = folder.verb(&["install", "--user", "--name", "shop", "--stop-timeout", "3s"]);
    assert!(changed.code == 0 && changed.out.contains("systemctl restart"), "{changed:?}");
    let looked = folder.verb(&["uninstall", "--user", "shop", "--dry-run"]);
    assert!(looked.code == 0 && looked.out.contains("would be") && path.exists(), "{looked:?}");
    std::fs::remove_file(folder.path("told")).unwrap();
    assert_eq!(folder.verb(&["uninstall", "--user", "shop.service"]).code, 0);
    assert!(!path.exists());
    assert_eq!(told(&folder), ["--user disable --now shop.service", "--user daemon-reload"]);
    let again = folder.verb(&["uninstall", "--user", "shop"]);
    assert!(again.code == 1 && again.err.contains("no such unit"), "{again:?}");
}

#[test]
fn not_started_where_nobody_wants_that() {
    let folder = folder();
    let said = folder.verb(&["install", "--user", "--no-start", "--json", "--", "sleep", "1"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(told(&folder), ["--user daemon-reload", "--user enable sleep.service"]);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["name"], &json["scope"], &json["installed"]), (&"sleep".into(), &"user".into(), &true.into()));
    assert_eq!(json["path"], folder.path("config/systemd/user/sleep.service").to_str().unwrap());
}

#[test]
fn a_systemctl_that_fails_leaves_everything_as_it_was() {
    for (told, call) in [("daemon-reload", "--userdaemon-reload"), ("enable", "--userenable")] {
        let folder = folder();
        let path = folder.path("config/systemd/user/shop.service");
        std::fs::write(folder.path("broken"), call).unwrap();
        let refused = folder.verb(&["install", "--user", "--name", "shop"]);
        assert!(refused.code == 1 && refused.err.contains(&format!("systemctl --user {told}")), "{refused:?}");
        assert!(!path.exists());
        std::fs::remove_file(folder.path("broken")).unwrap();
        folder.verb(&["install", "--user", "--name", "shop"]);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(folder.path("broken"), call).unwrap();
        assert_eq!(folder.verb(&["install", "--user", "--name", "shop", "--stop-timeout", "3s"]).code, 1);
        assert_eq!(std::fs::read(&path).unwrap(), before, "the old unit stays");
    }
}

#[test]
fn into_an_image_with_its_link_and_without_systemctl() {
    let folder = folder();
    let root = folder.path("image");
    let said = folder.verb(&["install", "--root", root.to_str().unwrap(), "--name", "shop"]);
    assert_eq!(said.code, 0, "{said:?}");
    let link = root.join("etc/systemd/system/multi-user.target.wants/shop.service");
    assert!(std::fs::read_to_string(&link).unwrap().contains("Type=notify"), "the link leads to the unit");
    assert!(std::fs::read_link(&link).unwrap().is_relative(), "and stays right wherever the image is mounted");
    assert_eq!(folder.verb(&["uninstall", "--root", root.to_str().unwrap(), "shop"]).code, 0);
    assert!(std::fs::symlink_metadata(&link).is_err() && told(&folder).is_empty());
}

#[test]
fn a_unit_of_somebody_else_is_neither_written_over_nor_removed() {
    let folder = folder();
    let path = folder.path("config/systemd/user/shop.service");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "[Service]\nExecStart=/bin/true\n").unwrap();
    for line in [&["install", "--user", "--name", "shop"][..], &["uninstall", "--user", "shop"]] {
        let refused = folder.verb(line);
        assert!(refused.code == 4 && refused.err.contains("not written by watchdog install"), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[Service]\nExecStart=/bin/true\n");
    assert!(told(&folder).is_empty());
    assert_eq!(folder.verb(&["install", "--user", "--name", "shop", "--force"]).code, 0);
    assert!(std::fs::read_to_string(&path).unwrap().contains("Type=notify"));
}

#[test]
fn without_the_right_to_it_nothing_is_done() {
    let folder = folder();
    let nobody: &[&str] = match is_root() {
        true => &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        false => &["env"],
    };
    for verb in
        [&["install", "--name", "wd-never", "--", "sleep", "1"][..], &["install", "--root", "/", "--", "sleep", "1"]]
    {
        let mut command = Command::new(nobody[0]);
        command.args(&nobody[1..]).arg(watchdog()).args(verb).env("PATH", std::env::var("PATH").unwrap());
        let out = command.current_dir(folder.path("")).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(4), "{text}");
        assert!(text.contains("--user for one of your own") || text.contains("permission denied"), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_is_written() {
    let broken = folder().file("broken.toml", "[service.web]\nrestrat = \"always\"\ncommand = [\"x\"]\n");
    for (line, code, part) in [
        (&["install", "-f", "broken.toml"][..], 1, "restrat"),
        (&["install", "-f", "missing.toml"], 1, "missing.toml"),
        (&["install", "--", "wd-no-such-program"], 1, "wd-no-such-program: no such program here"),
        (&["install", "--run-as", "wd-nobody-has-this", "--", "sleep", "1"], 1, "wd-nobody-has-this"),
        (&["install", "--user", "--run-as", "root", "--", "sleep", "1"], 2, "leave --run-as out"),
        (&["install", "--restrat", "always", "--", "sleep", "1"], 2, "did you mean \"--restart\""),
        (&["install", "--restart", "allways", "--", "sleep", "1"], 2, "did you mean \"always\""),
        (&["install", "-f", "watchdog.toml", "--", "sleep"], 2, "leave -f or -- out"),
        (&["install", "--"], 2, "no program"),
        (&["install", "sleep"], 2, "one word too many"),
        (&["install", "--name", ".hidden", "--", "sleep", "1"], 2, "begins with a dot"),
        (&["install", "--format", "launchd", "--", "sleep", "1"], 2, "launchd: watchdog runs on Linux alone"),
        (&["install", "--format", "windows", "--", "sleep", "1"], 2, "windows: watchdog runs on Linux alone"),
        (&["install", "--format", "systemdd", "--", "sleep", "1"], 2, "did you mean \"systemd\""),
        (&["uninstall"], 2, "needs the name"),
        (&["uninstall", "a/b"], 2, "a/b"),
    ] {
        let root = broken.path("image");
        let line = match line.contains(&"--user") || line[0] == "uninstall" {
            true => line.to_vec(),
            false => [&line[..1], &["--root", root.to_str().unwrap()], &line[1..]].concat(),
        };
        let said = broken.verb(&line);
        assert!(said.code == code && said.err.contains(part), "{line:?}: {said:?}");
        assert!(!root.exists() && !broken.path("config").exists() && told(&broken).is_empty(), "{line:?}");
    }
}

/// Variables of the shell in which it is installed are settings of that shell.
#[test]
fn settings_of_this_shell_are_not_those_of_the_service() {
    let folder = folder().env("WATCHDOG_RESTART", "not-a-policy");
    let text = unit(&folder.verb(&["install", "--dry-run", "--", "sleep", "1"]));
    assert!(!text.iter().any(|l| l.contains("not-a-policy")), "{text:?}");
}

#[test]
fn the_directory_of_runit_runs_what_it_was_made_for() {
    let folder = folder();
    let words = ["printf", "%s\\n", "it's", "a b", "$HOME", "\nEND\n"];
    let line: Vec<&str> = ["install", "--format", "runit", "--env", "A=b c", "--"].into_iter().chain(words).collect();
    let said = folder.verb(&line);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("printed, and not installed"), "{said:?}");
    std::fs::write(folder.path("make"), &said.out).unwrap();
    let dir = folder.path("sv");
    let sh = |args: &[&str]| Command::new("sh").args(args).current_dir(folder.path("")).output().unwrap();
    assert!(sh(&["make", dir.to_str().unwrap()]).status.success());
    let ran = Command::new(dir.join("run")).env("WATCHDOG_RUNTIME_DIR", folder.path("run")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "it's\na b\n$HOME\n\nEND\n\n", "{ran:?}");
    // One restarter: runsv is told to stay down unless the watchdog died or could not go on.
    std::fs::write(folder.path("bin/sv"), format!("#!/bin/sh\necho \"$@\" >> {}\n", folder.path("told").display()))
        .unwrap();
    std::fs::set_permissions(folder.path("bin/sv"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path("bin").display(), std::env::var("PATH").unwrap());
    for (code, down) in [("-1", 0), ("125", 0), ("0", 1), ("7", 2)] {
        assert!(Command::new(dir.join("finish")).args([code, "0"]).env("PATH", &path).status().unwrap().success());
        assert_eq!(told(&folder), vec!["down ."; down], "after {code}");
    }
}

#[test]
fn the_script_of_openrc_keeps_every_word() {
    let folder = folder();
    let words = ["sleep", "it's", "a b", "$HOME", "`x`"];
    let line: Vec<&str> =
        ["install", "--format", "openrc", "--run-as", "daemon", "--"].into_iter().chain(words).collect();
    let said = folder.verb(&line);
    assert_eq!(said.code, 0, "{said:?}");
    std::fs::write(folder.path("script"), &said.out).unwrap();
    // As openrc-run does: the variables are read, and the line of start-stop-daemon is evaluated.
    let show =
        ". ./script; eval \"set -- $command $command_args\"; printf '%s\\n' \"$@\"; echo \"$command_user $retry\"";
    let out = Command::new("sh").args(["-c", show]).current_dir(folder.path("")).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mut wanted = vec![watchdog(), "--name=sleep", "--"];
    wanted.extend(words);
    wanted.push("daemon TERM/27/KILL/5");
    assert_eq!(text.lines().collect::<Vec<_>>(), wanted, "{}", String::from_utf8_lossy(&out.stderr));
    let of_file = folder.verb(&["install", "--format", "openrc", "--dry-run"]);
    assert!(of_file.out.contains("reload()") && of_file.out.contains("reload -i"), "{of_file:?}");
}
