//! `depends_on` in the words of compose, and words of other supervisors.

use super::{planned, refused, says, spec};
use watchdog_engine::spec::{Condition, Need};

fn needs(settings: &str) -> Vec<Need> {
    let text = format!(
        "[service.db]\ncommand = \"db\"\n[service.job]\ntype = \"oneshot\"\ncommand = \"job\"\n\
         [service.off]\ncommand = \"off\"\nenabled = false\n[service.api]\ncommand = \"api\"\n{settings}"
    );
    spec(&planned(&text), "api").place.requires.clone()
}

fn need(service: &str, condition: Condition, once: bool) -> Need {
    Need { service: service.into(), condition, once }
}

/// users 10. Failed before: `depends_on` was an unknown key.
#[test]
fn depends_on_is_order_and_condition_and_once_is_enough() {
    let started = need("db", Condition::Started, true);
    assert_eq!(needs("depends_on = [\"db\"]\n"), vec![started.clone()]);
    assert_eq!(needs("depends_on = \"db\"\n"), vec![started.clone()]);
    assert_eq!(needs("depends_on = { db = {} }\n"), [started]);
    let conditions = "[service.api.depends_on]\ndb = { condition = \"service_healthy\" }\n\
                      job = { condition = \"service_completed_successfully\" }\n";
    assert_eq!(needs(conditions), [need("db", Condition::Ready, true), need("job", Condition::Completed, true)]);
    let stays = "depends_on = { db = { condition = \"service_healthy\", restart = true } }\n";
    assert_eq!(needs(stays), [need("db", Condition::Ready, false)]);
    let both = "requires = [\"job\"]\ndepends_on = [\"db\"]\n";
    assert_eq!(needs(both), [need("job", Condition::Completed, false), need("db", Condition::Started, true)]);
}

#[test]
fn what_is_not_required_may_be_missing() {
    let text = |name: &str| {
        format!(
            "[service.db]\ncommand = \"db\"\n[service.api]\ncommand = \"api\"\ndepends_on = {{ {name} = {{ required = false }} }}\n"
        )
    };
    let soft = planned(&text("db"));
    assert_eq!(
        (spec(&soft, "api").place.requires.len(), spec(&soft, "api").place.wants.clone()),
        (0, vec!["db".into()])
    );
    assert_eq!(soft.order, [["db"], ["api"]]);
    assert!(spec(&planned(&text("cache")), "api").place.wants.is_empty());
}

#[test]
fn what_is_wrong_with_depends_on_is_named() {
    let text = |value: &str| {
        format!("[service.db]\ncommand = \"db\"\n[service.api]\ncommand = \"api\"\ndepends_on = {value}\n")
    };
    says(&text("[\"dbb\"]"), &["w.toml:5:15: service.api.depends_on[0]: no service \"dbb\"", "did you mean \"db\"?"]);
    says(&text("{ dbb = {} }"), &["service.api.depends_on.dbb: no service \"dbb\""]);
    says(
        &text("{ db = { condition = \"healthy\" } }"),
        &["depends_on.db.condition:", "none of service_started, service_healthy"],
    );
    says(&text("{ db = { conditon = \"x\" } }"), &["depends_on.db.conditon: unknown key: did you mean \"condition\"?"]);
    says(&text("{ db = true }"), &["depends_on.db: is a table, such as"]);
    says(&text("{ db = { restart = 1 } }"), &["depends_on.db.restart:", "true"]);
    says(&format!("{}requires = [\"db\"]\n", text("[\"db\"]")), &["depends_on[0]: db stands here a second time"]);
    let cycle =
        "[service.a]\ncommand = \"a\"\ndepends_on = [\"b\"]\n[service.b]\ncommand = \"b\"\ndepends_on = [\"a\"]\n";
    says(cycle, &["a cycle", "a -> b -> a"]);
    says(
        "[service.a]\ncommand = \"a\"\ndepends_on = [\"b\"]\n[service.b]\ncommand = \"b\"\nenabled = false\n",
        &["b is not enabled"],
    );
}

/// Failed before: they were unknown keys, and `autorestart` was taken for `autostart`.
#[test]
fn words_of_other_supervisors_are_answered_with_ours() {
    let words = [
        ("numprocs = 2", "replicas"),
        ("autorestart = true", "restart"),
        ("startsecs = 10", "ready"),
        ("directory = \"/\"", "cwd"),
        ("environment = \"A=1\"", "env"),
        ("healthcheck = { test = \"x\" }", "probe"),
        ("priority = 1", "after"),
        ("instances = 2", "replicas"),
        ("ExecStart = \"x\"", "command"),
        ("restart_policy = \"always\"", "restart"),
    ];
    for (line, ours) in words {
        let key = line.split(' ').next().expect("a key");
        let place = format!("w.toml:3:1: service.a.{key}: unknown key, a word of ");
        let end = format!(": did you mean \"{ours}\"?");
        says(&format!("[service.a]\ncommand = \"a\"\n{line}\n"), &[&place, &end]);
    }
    says("[service.a]\nscript = \"x\"\n", &["a word of pm2 for command"]);
    says("[service.a]\ncommand = \"a\"\nstartsecs = 10\n", &["ready = \"alive:10s\""]);
    let probe = "[service.a]\ncommand = \"a\"\nprobe = { check = \"port:1\", retries = 3 }\n";
    says(probe, &["service.a.probe.retries: unknown key, a word of compose for failures"]);
    assert!(refused("[program]\nx = 1\n")[0].contains("for [service.NAME]"), "{:?}", refused("[program]\nx = 1\n"));
}
