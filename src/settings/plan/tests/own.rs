//! What a replica knows of itself: its name, its index, its port.

use super::{flag, planned, refused, says, spec, with, words};
use crate::settings::plan::Plan;
use watchdog_engine::spec::{Check, Ready, Spec};

fn env<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.launch.env.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.to_str())
}

fn shown(plan: &Plan, key: &str) -> serde_json::Value {
    let service = plan.services().next().expect("a service");
    service.settings.into_iter().find(|told| told.key == key).expect(key).value
}

/// users 2. Failed before: the variables were not known (`is not set`), and `port` was an unknown key.
#[test]
fn every_value_of_a_service_knows_its_replica_and_its_port() {
    let text = "[defaults]\nlog_file = \"/tmp/${WATCHDOG_SERVICE}.log\"\ntitle = \"number ${WATCHDOG_REPLICA}\"\n\
                [service.api]\ncommand = [\"./api\", \"--port\", \"${PORT}\", \"$${PORT}\"]\nreplicas = 2\nport = 5000\n\
                cwd = \"/srv/${WATCHDOG_REPLICA}\"\nready = \"port:${PORT}\"\nports = [\"${PORT}\"]\nhook = \"exit:tell ${PORT}\"\n\
                env = { ME = \"${WATCHDOG_SERVICE}\", SIDE = \"${SIDE}/${WATCHDOG_REPLICA}\" }\n\
                [[service.api.probe]]\ncheck = \"http://127.0.0.1:${PORT}/health/${WATCHDOG_REPLICA}\"\n\
                headers = { Host = \"${WATCHDOG_SERVICE}\" }\nbody = \"number ${WATCHDOG_REPLICA}\"\n\
                [service.db]\ncommand = \"db ${WATCHDOG_SERVICE} ${WATCHDOG_REPLICA} ${PORT:-5432}\"\n";
    let plan = with(text, &[], &[], &[("SIDE", "left"), ("PORT", "80")]).expect("valid");
    for (index, name, port) in [(0, "api@0", "5000"), (1, "api@1", "5001")] {
        let api = spec(&plan, name);
        assert_eq!(words(&api.command), ["./api", "--port", port, "${PORT}"]);
        assert_eq!((env(api, "PORT"), env(api, "ME")), (Some(port), Some(name)));
        assert_eq!(env(api, "SIDE"), Some(format!("left/{index}").as_str()));
        assert_eq!(
            (api.title.clone(), api.launch.cwd.clone()),
            (format!("number {index}"), Some(format!("/srv/{index}").into()))
        );
        assert_eq!(
            api.log.file,
            Some(format!("/tmp/{name}.log").into()),
            "one that has its own is not numbered once more"
        );
        assert_eq!(api.ready, Ready::Port(port.parse().expect("a port")));
        assert_eq!(api.ports.declared[0].number.to_string(), port);
        assert_eq!(words(&api.hooks[0].command), ["tell", port]);
        let Check::Http(http) = &api.probes[0].check else { panic!("not http") };
        assert_eq!(
            (http.addresses[0].port().to_string().as_str(), http.path.as_str()),
            (port, format!("/health/{index}").as_str())
        );
        assert_eq!((http.headers[0].1.as_str(), http.body.clone()), (name, Some(format!("number {index}"))));
    }
    assert_eq!(
        words(&spec(&plan, "db").command),
        ["db", "db", "0", "80"],
        "without port as anywhere: our own environment"
    );
    assert_eq!(shown(&plan, "cwd"), "/srv/${WATCHDOG_REPLICA}", "of several each has its own");
    let one = planned("[service.a]\ncommand = \"a ${PORT} ${WATCHDOG_SERVICE}\"\nport = 7000\n");
    assert_eq!((shown(&one, "command"), shown(&one, "port")), ("a 7000 a".into(), 7000.into()));
    assert_eq!(env(spec(&planned("[service.a]\ncommand = \"a\"\n"), "a"), "PORT"), None);
}

#[test]
fn what_was_said_of_port_itself_stands_over_it() {
    let text = "[service.a]\ncommand = \"a\"\nport = 7000\nenv = { PORT = \"9\" }\n";
    let plan = planned(text);
    assert_eq!(env(spec(&plan, "a"), "PORT"), Some("9"));
    assert!(plan.warnings.len() == 1 && plan.warnings[0].contains("stands over port"), "{:?}", plan.warnings);
    let inherited = with("[service.a]\ncommand = \"a\"\nport = 7000\n", &[], &[], &[("PORT", "80")]).expect("valid");
    assert_eq!(env(spec(&inherited, "a"), "PORT"), Some("7000"));
    let by_flag =
        with("[service.a]\ncommand = \"a ${PORT}\"\nport = 7000\n", &[flag("port", "7500")], &[], &[]).expect("valid");
    assert_eq!(
        (env(spec(&by_flag, "a"), "PORT"), words(&spec(&by_flag, "a").command)),
        (Some("7500"), vec!["a", "7500"])
    );
    let none = planned("[defaults]\nport = 7000\n[service.a]\ncommand = \"a\"\nport = \"none\"\n");
    assert_eq!(env(spec(&none, "a"), "PORT"), None);
    let both =
        planned("[service.a]\ncommand = \"a\"\nport = 7000\nreplicas = 3\n[service.b]\ncommand = \"b\"\nport = 7002\n");
    assert_eq!(both.warnings, ["service.a and service.b: both are given PORT = 7002 (port)"]);
}

#[test]
fn what_is_wrong_with_a_port_or_with_one_replica_is_said() {
    let last = "[service.a]\ncommand = \"a\"\nreplicas = 3\nport = 65534\n";
    says(last, &["w.toml:4:1: service.a.port: its last replica would have PORT = 65536"]);
    says("[service.a]\ncommand = \"a\"\nport = 0\n", &["service.a.port:", "from 1 to 65535"]);
    says(
        "[service.a]\ncommand = \"a ${PORT}\"\n",
        &["w.toml:2:11: service.a.command: the variable PORT is not set: give the service a port"],
    );
    says("[service.a]\ncommand = \"a\"\nenv = { A = \"${PORT}\" }\n", &["service.a.env.A"]);
    says(
        "[service.a]\ncommand = \"a\"\nrequires = [\"b${WATCHDOG_REPLICA}\"]\n",
        &["the variable WATCHDOG_REPLICA is not set"],
    );
    let later = "[service.a]\ncommand = \"a\"\nreplicas = 3\nready = \"port:6553${WATCHDOG_REPLICA}9\"\n";
    assert!(refused(later)[0].contains("service.a.ready"), "{:?}", refused(later));
    let second = "[service.a]\ncommand = \"a\"\nreplicas = 7\nready = \"port:6553${WATCHDOG_REPLICA}\"\n";
    says(second, &["w.toml:4:1: service.a.ready:"]);
    let secret = "[service.a]\ncommand = \"a\"\nreplicas = 2\nready = \"port:${SECRET}${WATCHDOG_REPLICA}\"\n";
    let faults = with(secret, &[], &[], &[("SECRET", "hunter2")]).expect_err("wrong");
    assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
    let quoted = "[service.a]\ncommand = \"a\"\nreplicas = 2\nuser = \"${SECRET}${WATCHDOG_REPLICA}\"\n";
    let faults = with(quoted, &[], &[], &[("SECRET", "hunt\"er2")]).expect_err("no such user");
    assert!(!faults[0].message.contains("er2") && faults[0].message.contains("${SECRET}0"), "{faults:?}");
}
