//! Files as a whole.

mod depends;
mod own;
mod probes;

use super::*;
use crate::settings::source::Source;
use crate::settings::table::{self, find};
use crate::settings::{Accounts, status_of};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use watchdog_engine::spec::{
    Autostart, Condition, EnvWatch, Form, GiveUp, Kind, LogMode, Need, Port, Ready, Stdin, Strategy,
};

fn world(environment: &[(&str, &str)]) -> World {
    let pair = |(k, v): &(&str, &str)| (OsString::from(k), OsString::from(v));
    World { environment: environment.iter().map(pair).collect(), pid: 4, uid: 1000, accounts: Accounts::default() }
}

fn flag(key: &str, value: &str) -> Flag {
    (find(key).expect(key), value.into())
}

fn with(text: &str, flags: &[Flag], names: &[&str], environment: &[(&str, &str)]) -> Result<Plan, Vec<Fault>> {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    of(flags, vec![Source::new("w.toml", text.to_string())], &names, &world(environment))
}

fn planned(text: &str) -> Plan {
    with(text, &[], &[], &[]).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn refused(text: &str) -> Vec<String> {
    let faults = with(text, &[], &[], &[]).expect_err("must be refused");
    assert_eq!(status_of(&faults), 125, "{faults:?}");
    faults.into_iter().map(|f| f.message).collect()
}

/// One error, and it says this.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    let said = refused(text);
    assert_eq!(said.len(), 1, "{said:#?}");
    for part in parts {
        assert!(said[0].contains(part), "{part:?} is not in {:?}", said[0]);
    }
}

fn spec<'a>(plan: &'a Plan, name: &str) -> &'a Spec {
    plan.specs.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn words(command: &[OsString]) -> Vec<&str> {
    command.iter().map(|w| w.to_str().expect("UTF-8")).collect()
}

#[test]
fn a_service_that_says_nothing_has_the_defaults_of_up() {
    let plan = planned("[service.web]\ncommand = \"./web --port 80\"\n");
    let web = spec(&plan, "web");
    assert_eq!((web.base.as_str(), web.replica, web.kind), ("web", None, Kind::Service));
    assert_eq!(words(&web.command), ["./web", "--port", "80"]);
    assert_eq!((web.launch.stdin, web.log.mode), (Stdin::Null, LogMode::Capture));
    assert_eq!((&web.restart.give_up, web.place.autostart), (&GiveUp::Stay, Autostart::Yes));
    assert_eq!((web.start_timeout, web.ready.clone()), (None, Ready::Auto));
    assert_eq!((plan.log_level.as_str(), plan.instance.form), ("info", Form::Up));
    assert_eq!((plan.instance.strategy, plan.instance.state.clone()), (Strategy::OneForOne, None));
    for setting in &table::TABLE {
        let Some(text) = setting.up else { continue };
        let mut draft = Draft::for_up();
        setting.set(&mut draft, &Raw::one(crate::settings::raw::Layer::Flag, &*text)).expect(&setting.key);
        assert_eq!(format!("{draft:?}"), format!("{:?}", Draft::for_up()), "{}", setting.key);
    }
}

#[test]
fn the_layers_of_a_service_are_flag_variable_its_own_table_and_defaults() {
    let text = "[defaults]\nstop_timeout = \"1s\"\nkill_wait = \"1s\"\nnice = 1\numask = \"022\"\nenv = { A = \"d\", B = \"d\" }\n\
                [service.a]\ncommand = \"a\"\nstop_timeout = \"2s\"\nkill_wait = \"2s\"\nnice = 2\nenv = { A = \"s\" }\n\
                [service.b]\ncommand = \"b\"\n";
    let environment = [("WATCHDOG_STOP_TIMEOUT", "3s"), ("WATCHDOG_KILL_WAIT", "3s")];
    let plan = with(text, &[flag("stop_timeout", "4s")], &[], &environment).expect("valid");
    let a = spec(&plan, "a");
    let secs = Duration::from_secs;
    assert_eq!((a.stop.timeout, a.stop.kill_wait), (secs(4), secs(3)));
    assert_eq!((a.launch.nice, a.launch.umask), (Some(2), Some(0o22)));
    let b = spec(&plan, "b");
    assert_eq!((b.stop.timeout, b.stop.kill_wait, b.launch.nice), (secs(4), secs(3), Some(1)));
    let env =
        |s: &Spec| s.launch.env.iter().map(|(k, v)| format!("{}={}", k.display(), v.display())).collect::<Vec<_>>();
    assert_eq!((env(a), env(b)), (vec!["A=s".into(), "B=d".into()], vec!["A=d".to_string(), "B=d".into()]));
}

#[test]
fn commands_are_words_or_split_or_given_to_a_shell() {
    let plan = planned(
        "[service.a]\ncommand = [\"a\", \"b c\", \"\"]\n[service.b]\ncommand = \"a 'b c' $HOME `id` %s ; x\"\n\
         [service.c]\ncommand = \"a | b\"\nshell = true\n",
    );
    assert_eq!(words(&spec(&plan, "a").command), ["a", "b c", ""]);
    assert_eq!(words(&spec(&plan, "b").command), ["a", "b c", "$HOME", "`id`", "%s", ";", "x"]);
    assert_eq!(words(&spec(&plan, "c").command), ["/bin/sh", "-c", "a | b"]);
    says("[service.a]\ncommand = \"a 'b\"\n", &["w.toml:2:1: service.a.command:", "not closed"]);
    says("[service.a]\ncommand = [\"a\"]\nshell = true\n", &["w.toml:3:1: service.a.shell:", "one text"]);
    says("[service.a]\ncommand = 5\n", &["service.a.command: a number stands where a text is expected"]);
    says("[service.a]\ncommand = [\"a\", 5]\n", &["w.toml:2:17: service.a.command[1]: a number stands"]);
    says("[service.a]\nnice = 1\n", &["w.toml:1:10: service.a: has no command"]);
    says("[service.a]\ncommand = [\"\"]\n", &["the command is empty"]);
}

#[test]
fn what_has_no_process_has_no_command() {
    let text = "[service.t]\ntype = \"target\"\nrequires = [\"a\"]\n[service.p]\ntype = \"probe\"\nprobe = \"port:80\"\n\
                [service.a]\ncommand = \"a\"\n";
    let plan = planned(text);
    assert_eq!((spec(&plan, "t").kind, spec(&plan, "p").kind), (Kind::Target, Kind::Probe));
    says("[service.t]\ntype = \"target\"\ncommand = \"x\"\n", &["service.t.command:", "has no process"]);
    says("[service.t]\ntype = \"probe\"\n", &["service.t.type:", "has no probe"]);
    says("[service.t]\ntype = \"target\"\nprobe = \"port:80\"\n", &["service.t.probe:", "type = \"probe\" has probes"]);
    let text = "[service.t]\ntype = \"probe\"\nprobe = { check = \"port:80\", role = \"liveness\" }\n";
    says(text, &["service.t.probe:", "readiness"]);
    says("[service.t]\ntype = \"onshot\"\ncommand = \"x\"\n", &["service.t.type:", "did you mean \"oneshot\"?"]);
}

#[test]
fn a_oneshot_is_not_killed_by_a_default_and_not_started_again() {
    let plan = planned("[service.m]\ntype = \"oneshot\"\ncommand = \"m\"\n");
    assert_eq!(spec(&plan, "m").start_limit(), None);
    let plan = planned("[defaults]\nstart_timeout = \"5s\"\n[service.m]\ntype = \"oneshot\"\ncommand = \"m\"\n");
    assert_eq!(spec(&plan, "m").start_limit(), Some(Duration::from_secs(5)));
    for policy in ["always", "unless-stopped", "on-success"] {
        let text = format!("[service.m]\ntype = \"oneshot\"\ncommand = \"m\"\nrestart = {policy:?}\n");
        says(&text, &["w.toml:4:1: service.m.restart:", "never is"]);
    }
}

#[test]
fn needs_are_looked_up_and_replicas_are_all_meant() {
    let text = "[service.db]\ncommand = \"db\"\nreplicas = 2\n[service.m]\ntype = \"oneshot\"\ncommand = \"m\"\nrequires = \"db\"\n\
                [service.api]\ncommand = \"api\"\nreplicas = 2\nlog_file = \"/tmp/api.log\"\nwants = [\"cache\"]\nafter = [\"db\"]\n\
                requires = [\"m\", { service = \"db\", condition = \"started\", once = true }]\n[service.cache]\ncommand = \"c\"\n";
    let plan = planned(text);
    let names: Vec<&str> = plan.specs.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["db@0", "db@1", "m", "api@0", "api@1", "cache"]);
    let api = spec(&plan, "api@1");
    assert_eq!((api.base.as_str(), api.replica), ("api", Some(1)));
    assert_eq!(api.log.file, Some(PathBuf::from("/tmp/api@1.log")));
    let need = |service: &str, condition, once| Need { service: service.into(), condition, once };
    let started = Condition::Started;
    let needs = [need("m", Condition::Completed, false), need("db@0", started, true), need("db@1", started, true)];
    assert_eq!(api.place.requires, needs);
    assert_eq!(
        (api.place.wants.clone(), api.place.after.clone()),
        (vec!["cache".into()], vec!["db@0".into(), "db@1".into()])
    );
    assert_eq!(spec(&plan, "m").place.requires[0].condition, Condition::Ready);
    assert_eq!(plan.order, [vec!["db@0", "db@1", "cache"], vec!["m"], vec!["api@0", "api@1"]]);
}

#[test]
fn names_that_are_not_there_are_named_with_the_nearest() {
    let db = "[service.db]\ncommand = \"db\"\n[service.a]\ncommand = \"a\"\n";
    for key in ["requires", "wants", "after", "conflicts"] {
        let text = format!("{db}{key} = [\"bd\"]\n");
        says(
            &text,
            &[&format!("w.toml:5:{}: service.a.{key}[0]: no service \"bd\"", key.len() + 5), "did you mean \"db\"?"],
        );
        says(&format!("{db}{key} = [\"a\"]\n"), &["a names itself"]);
        says(&format!("{db}{key} = [5]\n"), &["a number stands where a text is expected"]);
    }
    says(&format!("{db}after = [\"db\", \"db\"]\n"), &["[1]: db stands here a second time"]);
    says(&format!("{db}requires = [\"db@0\"]\n"), &["did you mean \"db\"?"]);
    says(&format!("{db}requires = [{{ condition = \"ready\" }}]\n"), &["names no service"]);
    says(
        &format!("{db}requires = [{{ service = \"db\", condition = \"redy\" }}]\n"),
        &["requires[0].condition:", "\"ready\""],
    );
    says(&format!("{db}requires = [\"db\"]\nconflicts = [\"db\"]\n"), &["service.a.conflicts[0]: db is required too"]);
}

#[test]
fn what_is_never_completed_is_not_waited_for() {
    let text = |first: &str, condition: &str| {
        format!(
            "[service.db]\n{first}\n[service.a]\ncommand = \"a\"\nrequires = [{{ service = \"db\", condition = {condition:?} }}]\n"
        )
    };
    let again = "command = \"db\"\nrestart = \"always\"";
    says(&text(again, "completed"), &["service.a.requires[0].service: it is started again"]);
    says(&text("type = \"target\"", "completed"), &["a target is never completed"]);
    planned(&text(again, "ready"));
    planned(&text("command = \"db\"", "completed"));
}

#[test]
fn what_is_disabled_cannot_be_needed_and_is_left_out() {
    let text = |key: &str| {
        format!(
            "[service.old]\ncommand = \"x\"\nenabled = \"${{OLD:-false}}\"\n[service.a]\ncommand = \"a\"\n{key} = [\"old\"]\n"
        )
    };
    says(&text("requires"), &["service.a.requires[0]: old is not enabled"]);
    for key in ["wants", "after", "conflicts"] {
        let plan = planned(&text(key));
        assert_eq!(plan.specs.len(), 1);
        assert!(!plan.specs[0].place.waits(), "{key}");
    }
    let ring = "[service.a]\ncommand = \"a\"\n[service.x]\ncommand = \"x\"\nenabled = false\nrequires = [\"y\"]\n\
                [service.y]\ncommand = \"y\"\nenabled = false\nrequires = [\"x\"]\n";
    assert_eq!(planned(ring).order, [["a"]], "what is left out holds nobody up");
    let on = with(&text("requires"), &[], &[], &[("OLD", "true")]).expect("valid");
    assert_eq!(on.specs.len(), 2);
    let faults = with(&text("after"), &[], &["old"], &[]).expect_err("must be refused");
    assert!(status_of(&faults) == 2 && faults[0].message.contains("not enabled"), "{faults:?}");
}

#[test]
fn a_cycle_is_printed_as_a_path_once() {
    let service = |name: &str, rest: &str| format!("[service.{name}]\ncommand = \"x\"\n{rest}\n");
    let text = service("a", "requires = [\"b\"]") + &service("b", "wants = [\"c\"]") + &service("c", "after = [\"a\"]");
    says(&text, &["w.toml:9:10: service.c.after[0]: a cycle", ": a -> b -> c -> a"]);
    let two = text + &service("x", "after = [\"y\"]") + &service("y", "after = [\"x\"]");
    assert_eq!(refused(&two).len(), 2);
}

#[test]
fn a_cycle_is_found_through_an_edge_that_is_wrong_otherwise() {
    let text = "[service.a]\ncommand = \"x\"\nrequires = [{ service = \"b\", condition = \"redy\", onse = true }]\n\
                [service.b]\ncommand = \"x\"\nrequires = [\"a\"]\n";
    let said = refused(text);
    assert_eq!(said.len(), 3, "{said:#?}");
    for part in ["a.requires[0].condition: \"redy\"", "a.requires[0].onse: unknown key", "next: a -> b -> a"] {
        assert!(said.iter().any(|line| line.contains(part)), "{part}: {said:#?}");
    }
}

#[test]
fn a_chain_of_five_thousand_and_a_ring_of_them_need_no_recursion() {
    let mut chain = String::new();
    for n in 0..5000 {
        chain.push_str(&format!("[service.s{n}]\ncommand = \"x\"\n"));
        if n > 0 {
            chain.push_str(&format!("requires = [\"s{}\"]\n", n - 1));
        }
    }
    assert_eq!(planned(&chain).order.len(), 5000);
    let ring = chain.replacen("command = \"x\"\n", "command = \"x\"\nrequires = [\"s4999\"]\n", 1);
    says(&ring, &["a cycle", "more)"]);
}

#[test]
fn two_that_exclude_each_other_do_not_both_start_by_themselves() {
    let text = |auto: &str| {
        format!(
            "[service.a]\ncommand = \"a\"\nconflicts = [\"b\"]\n[service.b]\ncommand = \"b\"\nconflicts = [\"a\"]\nautostart = {auto}\n"
        )
    };
    says(&text("true"), &["service.a.conflicts[0]: a and b exclude each other", "autostart = false"]);
    let plan = planned(&text("false"));
    assert_eq!(
        (plan.order, spec(&planned(&text("\"ignore\"")), "b").place.autostart),
        (vec![vec!["a".to_string()]], Autostart::Ignore)
    );
    let brought = text("false") + "[service.c]\ncommand = \"c\"\nwants = [\"b\"]\n";
    says(&brought, &["a and b exclude each other"]);
}

#[test]
fn names_choose_who_starts_and_what_they_need() {
    let text = "[service.db]\ncommand = \"x\"\nautostart = false\n[service.api]\ncommand = \"x\"\nreplicas = 2\nrequires = [\"db\"]\n\
                [service.other]\ncommand = \"x\"\n[service.hand]\ncommand = \"x\"\nautostart = \"ignore\"\n";
    let starts = |names: &[&str]| {
        let plan = with(text, &[], names, &[]).expect("valid");
        let auto: Vec<_> = plan.specs.iter().map(|s| s.place.autostart).collect();
        (plan.order, auto)
    };
    use Autostart::{Ignore, No, Yes};
    assert_eq!(starts(&[]).1, [No, Yes, Yes, Yes, Ignore]);
    let (order, auto) = starts(&["api"]);
    assert_eq!(
        (order, auto),
        (vec![vec!["db".into()], vec!["api@0".into(), "api@1".into()]], vec![No, Yes, Yes, No, Ignore])
    );
    let waits = with(
        &format!("{text}requires = [\"api\"]\n[service.x]\ncommand = \"x\"\nrequires = [\"hand\"]\n"),
        &[],
        &[],
        &[],
    );
    let warnings = waits.expect("valid").warnings;
    assert!(warnings.len() == 1 && warnings[0].starts_with("service.x: requires hand, which"), "{warnings:?}");
    assert_eq!(starts(&["hand"]).1, [No, No, No, No, Yes]);
    // One replica alone, and what it needs; of several names the widest one holds.
    let (order, auto) = starts(&["api@1"]);
    assert_eq!((order, auto), (vec![vec!["db".into()], vec!["api@1".into()]], vec![No, No, Yes, No, Ignore]));
    assert_eq!(starts(&["api@1", "api"]).1, [No, Yes, Yes, No, Ignore]);
    assert_eq!(starts(&["api@1", "api@0"]).0[1], ["api@0", "api@1"]);
    let whole = with(&format!("{text}[service.x]\ncommand = \"x\"\nwants = [\"api\"]\n"), &[], &["x", "api@1"], &[]);
    assert_eq!(whole.expect("valid").order[1], ["api@0", "api@1"], "another needs all of them");
    assert_eq!(starts(&["db"]).1, [Yes, No, No, No, Ignore]);
    let faults = with(text, &[], &["apii"], &[]).expect_err("must be refused");
    assert!(status_of(&faults) == 2 && faults[0].message.ends_with("did you mean \"api\"?"), "{faults:?}");
}

#[test]
fn names_have_their_letters_and_differ_in_more_than_capitals() {
    says("[service.\"a b\"]\ncommand = \"x\"\n", &["service.a b: \"a b\" is no name", "did you mean \"a_b\"?"]);
    says("[service.\"a@0\"]\ncommand = \"x\"\n", &["replicas", "did you mean \"a\"?"]);
    says(
        "[service.web]\ncommand = \"x\"\n[service.Web]\ncommand = \"x\"\n",
        &["service.Web: differs from service.web"],
    );
    says("[service.a]\ncommand = \"x\"\nreplicas = 0\n", &["service.a.replicas:", "enabled = false"]);
    says("[service.a]\ncommand = \"x\"\nreplicas = 1001\n", &["from 1 to 1000"]);
    for empty in ["", "# nothing\n", "[watchdog]\nname = \"x\"\n", "[service]\n"] {
        says(empty, &["w.toml: no services"]);
    }
}

#[test]
fn ports_watched_files_and_the_rest_reach_their_fields() {
    let text = "[watchdog]\nname = \"shop\"\nstrategy = \"rest-for-one\"\nstate = \"/s\"\n[defaults]\nkill_others = true\n\
                [service.a]\ncommand = \"a\"\nports = [80, \"53/udp\"]\nprocess_filters = [\"node\"]\nhidden = true\n\
                env_file = [\"-/no/such/file\"]\nenv_watch = true\nwait_for_file = \"/w\"\nwait_for_file_timeout = 0\n\
                [service.b]\ncommand = \"b\"\nwait_for_file = \"/w\"\nenv_watch = \"1s\"\n";
    let plan = planned(text);
    assert_eq!((plan.instance.name.as_str(), plan.instance.name_given), ("shop", true));
    assert_eq!((plan.instance.strategy, plan.instance.state.clone()), (Strategy::RestForOne, Some("/s".into())));
    let (a, b) = (spec(&plan, "a"), spec(&plan, "b"));
    assert_eq!(a.ports.declared, [Port { number: 80, udp: false }, Port { number: 53, udp: true }]);
    assert!(a.ports.kill_others && a.hidden && a.ports.process_filters == ["node"]);
    assert_eq!(a.env_watch, Some(EnvWatch { files: vec!["/no/such/file".into()], pause: Duration::from_secs(5) }));
    assert_eq!((a.place.wait_for_file_timeout, b.env_watch.clone()), (Some(Duration::MAX), None));
    assert_eq!(b.place.wait_for_file_timeout, Some(Duration::from_secs(60)));
    says(
        "[service.a]\ncommand = \"a\"\nports = [0, \"x\"]\n".replace(", \"x\"", "").as_str(),
        &["service.a.ports[0]:", "1 to 65535"],
    );
    says(
        "[service.a]\ncommand = \"a\"\nenv_file = \"/no/such/file\"\n",
        &["service.a.env_file: env_file /no/such/file: no such file"],
    );
    let both = "[defaults]\nlog_file = \"/l\"\n[service.a]\ncommand = \"a\"\n[service.b]\ncommand = \"b\"\n";
    says(both, &["service.b: a writes to the same file"]);
}

#[test]
fn what_defaults_do_to_all_is_said_once() {
    let text = "[defaults]\nrestart_delay = \"2m\"\n[service.a]\ncommand = \"a\"\n[service.b]\ncommand = \"b\"\n\
                [service.c]\ncommand = \"c\"\nrestart_delay = \"3m\"\n";
    let said = refused(text);
    assert!(
        said.len() == 2
            && said[0].contains("w.toml:2:1: defaults.restart_delay: ")
            && said[1].contains("service.c.restart_delay"),
        "{said:?}"
    );
    says(
        "[defaults]\nstop_timeout = 5\n[service.a]\ncommand = \"a\"\n[service.b]\ncommand = \"b\"\n",
        &["defaults.stop_timeout"],
    );
    let users = "[defaults]\nuser = \"nobody-at-all\"\n[service.a]\ncommand = \"a\"\n[service.b]\ncommand = \"b\"\n";
    says(users, &["w.toml:2:1: defaults.user: user \"nobody-at-all\""]);
    let flags = [flag("restart_delay", "2m")];
    let two = "[service.a]\ncommand = \"a\"\n[service.b]\ncommand = \"b\"\n";
    let faults = with(two, &flags, &[], &[]).expect_err("wrong");
    assert!(faults.len() == 1 && status_of(&faults) == 2, "{faults:?}");
}

#[test]
fn no_error_shows_what_a_variable_holds() {
    let environment = [("SECRET", "hunter2"), ("PORT", "hunter2")];
    let text = "[defaults]\nuser = \"${SECRET}\"\n[service.a]\ncommand = \"x '${SECRET}\"\nrequires = [\"${SECRET}\"]\n\
                stop_timeout = \"${SECRET}\"\nenv_file = [\"/no/${SECRET}\"]\nenabled = \"${SECRET}\"\nports = [\"${PORT}\"]\n\
                env = [\"${SECRET}\"]\nwants = [\"b-${SECRET}\"]\n[[service.a.probe]]\ncheck = \"tcp://${SECRET}:80\"\n";
    let faults = with(text, &[], &[], &environment).expect_err("must be refused");
    let said: Vec<&str> = faults.iter().map(|f| f.message.as_str()).collect();
    assert!(said.len() >= 9, "{said:#?}");
    assert!(!format!("{faults:?}").contains("hunter2"), "{said:#?}");
    assert!(said.iter().any(|s| s.contains("service.a.stop_timeout: \"${SECRET}\" comes to something")), "{said:#?}");
}

#[test]
fn equal_environments_are_one() {
    let text = "[service.a]\ncommand = \"a\"\nreplicas = 3\n[service.b]\ncommand = \"b\"\n[service.c]\ncommand = \"c\"\nenv = { X = \"1\" }\n";
    let plan = with(text, &[], &[], &[("PATH", "/bin"), ("HOME", "/")]).expect("valid");
    let env = |name: &str| &spec(&plan, name).launch.env;
    assert!(
        Arc::ptr_eq(env("a@0"), env("a@2")) && Arc::ptr_eq(env("a@0"), env("b")) && !Arc::ptr_eq(env("a@0"), env("c"))
    );
}
