//! Probes of a service, short and as tables.

use super::{planned, refused, says, spec};
use std::time::Duration;
use watchdog_engine::spec::Check;

#[test]
fn probes_are_short_or_tables_and_stretch_the_start() {
    let text = "[service.a]\ncommand = \"a\"\ngracePeriod = \"60s\"\nprobe = \"http://localhost:80\"\n\
                [service.b]\ncommand = \"b\"\n[[service.b.probe]]\ncheck = [\"pg_isready\", \"-q\"]\nname = \"db\"\n\
                role = [\"startup\", \"liveness\"]\nstart_period = \"1s\"\ninterval = \"2s\"\nstarting_interval = \"3s\"\n\
                timeout = \"4s\"\nfailures = 5\nsuccesses = 6\n[[service.b.probe]]\ncheck = \"http://[::1]:8080/x\"\nmethod = \"HEAD\"\n\
                headers = { A = \"b\" }\nstatus = [204, \"300-399\"]\nbody = \"ok\"\nrole = \"liveness\"\n\
                [[service.b.probe]]\ncheck = \"http://[::1]:8081/x\"\nrole = \"liveness\"\n";
    let plan = planned(text);
    let a = &spec(&plan, "a").probes[0];
    assert_eq!((a.name.as_str(), a.start_period), ("http", Duration::from_secs(60)));
    assert!(a.roles.readiness && a.roles.liveness && !a.roles.startup);
    assert_eq!(spec(&plan, "a").start_limit(), None, "what only gates never ends a start");
    let b = spec(&plan, "b");
    let names: Vec<&str> = b.probes.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["db", "http", "http-2"]);
    let db = &b.probes[0];
    let secs = Duration::from_secs;
    assert_eq!((db.start_period, db.interval, db.starting_interval, db.timeout), (secs(1), secs(2), secs(3), secs(4)));
    assert_eq!((db.failures, db.successes, db.roles.readiness), (5, 6, false));
    assert_eq!(b.start_limit(), Some(secs(1 + 5 * 6 + 5)));
    let Check::Http(http) = &b.probes[1].check else { panic!("not http") };
    assert_eq!(
        (http.method.as_str(), http.status.clone(), http.body.clone()),
        ("HEAD", vec![(204, 204), (300, 399)], Some("ok".into()))
    );
    let quick = text.replacen("command = \"b\"", "command = \"b\"\nstart_timeout = \"7s\"", 1);
    assert_eq!(spec(&planned(&quick), "b").start_limit(), Some(secs(7)), "one that was given stands");
}

/// R1. Failed before: `check` was silent, and showed 30s where 55 s were waited.
#[test]
fn a_deadline_that_is_given_stands_and_is_warned_of_where_it_comes_too_early() {
    let probe = "[[service.a.probe]]\ncheck = \"port:80\"\nrole =";
    let warned = |settings: &str, role: &str| {
        let plan = planned(&format!("[service.a]\ncommand = \"a\"\n{settings}{probe} \"{role}\"\n"));
        plan.warnings.clone()
    };
    let early = warned("start_timeout = \"7s\"\n", "startup");
    assert_eq!(early.len(), 1, "{early:?}");
    assert!(
        early[0].starts_with("w.toml:3:1: service.a.start_timeout: 7s is shorter than its startup probe may take, 55s"),
        "{early:?}"
    );
    let vain = warned("start_timeout = \"7s\"\n", "readiness");
    assert!(vain.len() == 1 && vain[0].contains("only readiness probes gate"), "{vain:?}");
    for (settings, role) in [
        ("", "startup"),
        ("", "readiness"),
        ("start_timeout = \"55s\"\n", "startup"),
        ("ready = \"reported\"\nstart_timeout = \"7s\"\n", "startup"),
    ] {
        assert_eq!(warned(settings, role), Vec::<String>::new(), "{settings} {role}");
    }
}

/// users 7. Failed before: a default that was stretched, or held for nothing, was shown as 30s.
#[test]
fn the_deadline_that_holds_is_shown() {
    let shown = |settings: &str| {
        let plan = planned(&format!("[service.a]\n{settings}"));
        let service = plan.services().next().expect("a service");
        let told = service.settings.into_iter().find(|t| t.key == "start_timeout").expect("in the list");
        (told.value.as_str().unwrap_or_default().to_string(), told.source, told.note.is_some())
    };
    let probe = |role: &str| format!("command = \"a\"\nprobe = {{ check = \"port:80\", role = \"{role}\" }}\n");
    assert_eq!(shown(&probe("startup")), ("55s".into(), "default", true));
    assert_eq!(shown(&probe("readiness")), ("none".into(), "default", true));
    assert_eq!(shown(&format!("{}start_timeout = \"7s\"\n", probe("startup"))), ("7s".into(), "file", false));
    assert_eq!(shown("command = \"a\"\ntype = \"oneshot\"\n"), ("none".into(), "default", true));
    assert_eq!(shown("command = \"a\"\nready = \"alive:40s\"\n"), ("45s".into(), "default", true));
    assert_eq!(shown("command = \"a\"\nready = \"reported\"\n"), ("30s".into(), "default", false));
}

/// Failed before: there was no such word.
#[test]
fn one_that_could_never_stay_long_enough_is_refused() {
    let text = |ready: &str| {
        format!("[defaults]\nstart_timeout = \"10s\"\n[service.a]\ncommand = \"a\"\nready = \"{ready}\"\n")
    };
    says(&text("alive:10s"), &["w.toml:5:1: service.a.ready: ready = alive:10s comes after start_timeout 10s"]);
    assert_eq!(spec(&planned(&text("alive:9s")), "a").start_limit(), Some(Duration::from_secs(10)));
}

#[test]
fn everything_wrong_with_probes_is_said() {
    let text = "[service.a]\ncommand = \"a\"\nready = \"probe\"\n[[service.a.probe]]\ncheck = \"tcp://db:5432\"\ntimeout = 0\n\
                [[service.a.probe]]\nname = \"x\"\nmethod = \"GET\"\n[[service.a.probe]]\ncheck = \"port:80\"\nmethod = \"GET\"\n\
                rol = \"x\"\nname = \"n\"\n[[service.a.probe]]\ncheck = \"http://127.0.0.1\"\nname = \"n\"\nmethod = \"get\"\n\
                failures = 0\nstatus = 20\nheaders = { \"a b\" = \"c\" }\nbody = \"\"\nrole = []\n";
    let said = refused(text);
    for part in [
        "probe[0].check: \"db\" is neither",
        "probe[0].timeout: \"0\" is too short",
        "probe[1]: has no check",
        "probe[2].method: belongs to a check over http",
        "probe[2].rol: unknown key: did you mean \"role\"?",
        "probe[3].method: \"get\" is no method: capital letters: did you mean \"GET\"?",
        "probe[3].failures:",
        "probe[3].status: \"20\" is no status",
        "probe[3].headers: \"a b\"",
        "probe[3].body: an empty text",
        "probe[3].role: a probe without a role",
    ] {
        assert_eq!(said.iter().filter(|s| s.contains(part)).count(), 1, "{part}: {said:#?}");
    }
    assert_eq!(said.len(), 11, "{said:#?}");
    let twice = "[service.a]\ncommand = \"a\"\nprobe = [{ check = \"port:1\", name = \"n\" }, { check = \"port:2\", name = \"n\" }]\n";
    says(twice, &["service.a.probe[1]: a second probe of the name \"n\""]);
    says("[service.a]\ncommand = \"a\"\nready = \"probe\"\n", &["service.a.ready: ready = probe needs"]);
    let live = "[service.a]\ncommand = \"a\"\nready = \"probe\"\nprobe = { check = \"port:1\", role = \"liveness\" }\n";
    says(live, &["service.a.ready: ready = probe needs"]);
}
