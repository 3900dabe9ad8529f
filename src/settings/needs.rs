//! `requires`, `wants`, `after`, `conflicts`, and the words about when a service is started. Names are only looked up when
//! all services are known: see `plan`.

use super::draft::Draft;
use super::fault::Fault;
use super::nearest::nearest;
use super::node::{Field, Node, Value};
use super::raw::Raw;
use super::values;
use std::time::Duration;
use watchdog_engine::spec::{Autostart, Condition, Kind, Port};

/// The name of another service, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// As it was written: one word for all replicas.
    pub(crate) name: String,
    /// Offset in its file.
    pub(crate) at: usize,
    /// The rest of its key: `[1]`, `[1].service`.
    pub(crate) key: String,
}

/// One item of `requires`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NeedWish {
    /// Whom.
    pub(crate) service: Named,
    /// `condition`, where it was given.
    pub(crate) condition: Option<Condition>,
    /// `once`
    pub(crate) once: bool,
}

/// One item of `depends_on`, in the words of compose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DependsWish {
    /// Which service, under which condition, and whether it has to stay.
    pub(crate) need: NeedWish,
    /// False: nothing is wrong where it is missing or fails.
    pub(crate) required: bool,
}

/// The conditions of compose.
const COMPOSE_CONDITIONS: [(&str, Condition); 3] = [
    ("service_started", Condition::Started),
    ("service_healthy", Condition::Ready),
    ("service_completed_successfully", Condition::Completed),
];
/// What may be said of one of `depends_on`.
const DEPENDS_KEYS: [&str; 3] = ["condition", "restart", "required"];

/// The words of `type`.
pub(crate) const KINDS: [(&str, Kind); 4] =
    [("service", Kind::Service), ("oneshot", Kind::Oneshot), ("target", Kind::Target), ("probe", Kind::Probe)];
/// The words of `condition`.
pub(crate) const CONDITIONS: [(&str, Condition); 3] =
    [("started", Condition::Started), ("ready", Condition::Ready), ("completed", Condition::Completed)];
/// The keys of an item of `requires`.
pub(crate) const NEED_KEYS: [&str; 3] = ["service", "condition", "once"];
/// The words of `autostart`.
const AUTOSTARTS: [(&str, Autostart); 3] =
    [("true", Autostart::Yes), ("false", Autostart::No), ("ignore", Autostart::Ignore)];

/// Several things may be wrong with one value: all of them are kept, the first is given back by the caller.
pub(crate) fn each<T>(
    draft: &mut Draft,
    raw: &Raw,
    read: impl Fn(&Node, String) -> Result<T, Vec<Fault>>,
) -> Result<Vec<T>, Fault> {
    let tree = raw.tree()?;
    let listed = matches!(tree.value, Value::List(_));
    let mut all = Vec::new();
    for (index, item) in tree.items().iter().enumerate() {
        match read(item, if listed { format!("[{index}]") } else { String::new() }) {
            Ok(one) => all.push(one),
            Err(faults) => draft.more.extend(faults),
        }
    }
    Ok(all)
}

/// `wants`, `after`, `conflicts`
pub(crate) fn names(draft: &mut Draft, raw: &Raw) -> Result<Vec<Named>, Fault> {
    each(draft, raw, |item, key| named(item, key).map_err(|f| vec![f]))
}

fn named(item: &Node, key: String) -> Result<Named, Fault> {
    let wrong = |fault: Fault| fault.inside(item.at, key.clone());
    let name = item.text().map_err(wrong)?;
    Ok(Named { name: name.to_string(), at: item.at, key })
}

/// `requires`
pub(crate) fn needs(draft: &mut Draft, raw: &Raw) -> Result<Vec<NeedWish>, Fault> {
    let read = each(draft, raw, |item, key| match &item.value {
        Value::Table(_) => Ok(need(item, &key)),
        Value::Text { .. } | Value::Number(_) | Value::Switch(_) | Value::List(_) => {
            let service = named(item, key).map_err(|f| vec![f])?;
            Ok((Some(NeedWish { service, condition: None, once: false }), Vec::new()))
        }
    })?;
    let (wishes, wrong): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    draft.more.extend(wrong.into_iter().flatten());
    Ok(wishes.into_iter().flatten().collect())
}

/// `{ service = "db", condition = "ready", once = true }`, and what is wrong in it. Whoever names a service needs it,
/// whatever else is wrong: a cycle is to be found all the same.
fn need(item: &Node, key: &str) -> (Option<NeedWish>, Vec<Fault>) {
    let Value::Table(fields) = &item.value else { return (None, Vec::new()) };
    let (mut service, mut condition, mut once, mut faults) = (None, None, false, Vec::new());
    for field in fields {
        let path = format!("{key}.{}", field.key);
        let done = match field.key.as_str() {
            "service" => named(&field.node, path.clone()).map(|named| service = Some(named)),
            "condition" => field.node.word().and_then(|w| values::word(&w, &CONDITIONS)).map(|c| condition = Some(c)),
            "once" => field.node.word().and_then(|w| values::switch(&w)).map(|s| once = s),
            other => {
                let fault = Fault::usage("unknown key").or_nearest(nearest(other, NEED_KEYS));
                faults.push(fault.inside(field.at, path.clone()));
                Ok(())
            }
        };
        faults.extend(done.err().map(|f| if f.inside.is_some() { f } else { f.inside(field.node.at, path) }));
    }
    if service.is_none() && faults.is_empty() {
        faults.push(Fault::usage("names no service, such as { service = \"db\" }").inside(item.at, key));
    }
    (service.map(|service| NeedWish { service, condition, once }), faults)
}

/// `depends_on`: a list of names, or a table of them. Order and condition: nothing is stopped for it later, but by `restart`.
pub(crate) fn depends_on(draft: &mut Draft, raw: &Raw) -> Result<Vec<DependsWish>, Fault> {
    let Value::Table(fields) = &raw.tree()?.value else {
        let started = |service| DependsWish { need: started(service), required: true };
        return Ok(names(draft, raw)?.into_iter().map(started).collect());
    };
    let mut all = Vec::new();
    for field in fields {
        let key = format!(".{}", field.key);
        let mut wish = DependsWish {
            need: started(Named { name: field.key.clone(), at: field.at, key: key.clone() }),
            required: true,
        };
        let Value::Table(inside) = &field.node.value else {
            let what = "is a table, such as { condition = \"service_healthy\" }";
            draft.more.push(Fault::usage(what).inside(field.node.at, key));
            continue;
        };
        draft.more.extend(inside.iter().filter_map(|part| depends(&mut wish, part).err().map(|f| f.of(part, &key))));
        all.push(wish);
    }
    Ok(all)
}

fn started(service: Named) -> NeedWish {
    NeedWish { service, condition: Some(Condition::Started), once: true }
}

/// One word about one of them.
fn depends(wish: &mut DependsWish, part: &Field) -> Result<(), Slip> {
    let word = || part.node.word();
    match part.key.as_str() {
        "condition" => wish.need.condition = Some(values::word(&word()?, &COMPOSE_CONDITIONS)?),
        "restart" => wish.need.once = !values::switch(&word()?)?,
        "required" => wish.required = values::switch(&word()?)?,
        other => return Err(Slip::Key(Fault::usage("unknown key").or_nearest(nearest(other, DEPENDS_KEYS)))),
    }
    Ok(())
}

/// Whether the key is wrong or its value.
enum Slip {
    Key(Fault),
    Value(Fault),
}

impl Slip {
    /// At its place.
    fn of(self, part: &Field, key: &str) -> Fault {
        let (fault, at) = match self {
            Slip::Key(fault) => (fault, part.at),
            Slip::Value(fault) => (fault, part.node.at),
        };
        fault.inside(at, format!("{key}.{}", part.key))
    }
}

impl From<Fault> for Slip {
    fn from(fault: Fault) -> Slip {
        Slip::Value(fault)
    }
}

/// `autostart`
pub(crate) fn autostart(raw: &Raw) -> Result<Autostart, Fault> {
    values::word(raw.text()?, &AUTOSTARTS)
}

/// `replicas`
pub(crate) fn replicas(raw: &Raw) -> Result<u32, Fault> {
    if raw.text()? == "0" {
        return Err(Fault::usage("\"0\" replicas are none: enabled = false leaves a service out"));
    }
    Ok(raw.count(1, 1000)? as u32)
}

/// `port`: the first of its replicas, or none.
pub(crate) fn first_port(raw: &Raw) -> Result<Option<u16>, Fault> {
    match raw.text()? {
        "none" | "off" | "false" => Ok(None),
        _ => Ok(Some(raw.count(1, 65_535)? as u16)),
    }
}

/// `wait_for_file_timeout`: no deadline is the longest one.
pub(crate) fn patience(raw: &Raw) -> Result<Duration, Fault> {
    match raw.text()? {
        "none" | "off" | "false" => Ok(Duration::MAX),
        text => Ok(values::duration(text)?).map(|d| if d.is_zero() { Duration::MAX } else { d }),
    }
}

/// `env_watch`: the pause behind the last change, or not at all.
pub(crate) fn env_watch(raw: &Raw) -> Result<Option<Duration>, Fault> {
    match raw.text()? {
        "off" | "none" | "false" => Ok(None),
        "true" | "on" => Ok(Some(Duration::from_secs(5))),
        text => values::duration(text).map(Some),
    }
}

/// `ports`: numbers, of TCP where nothing else is said.
pub(crate) fn ports(draft: &mut Draft, raw: &Raw) -> Result<Vec<Port>, Fault> {
    each(draft, raw, |item, key| {
        let port = item.word().and_then(|word| port(&word));
        port.map_err(|fault| vec![fault.inside(item.at, key)])
    })
}

/// `8080`, `53/udp`
pub(crate) fn port(text: &str) -> Result<Port, Fault> {
    let (number, udp) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), false),
        Some((number, "udp")) => (number, true),
        Some((_, other)) => {
            let fault = Fault::usage(format!("{text:?} is no port, such as 8080 or \"53/udp\""));
            return Err(fault.or_nearest(nearest(other, ["tcp", "udp"])));
        }
    };
    let number = values::count(number, 1, 65_535).map_err(|f| f.at("port"))?;
    Ok(Port { number: number as u16, udp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::raw::Layer;

    #[test]
    fn ports_have_bounds_and_a_protocol() {
        assert_eq!(port("8080"), Ok(Port { number: 8080, udp: false }));
        assert_eq!(port("53/udp"), Ok(Port { number: 53, udp: true }));
        assert_eq!(port("53/tcp"), Ok(Port { number: 53, udp: false }));
        for wrong in ["0", "70000", "x", "", "-1", "1/sctp", "/udp"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_replica_is_said_otherwise() {
        let of = |text: &str| replicas(&Raw::one(Layer::File, text));
        assert_eq!((of("1"), of("1000")), (Ok(1), Ok(1000)));
        assert!(of("0").expect_err("none").message.contains("enabled = false"));
        assert!(of("1001").is_err() && of("-1").is_err() && of("many").is_err());
    }

    #[test]
    fn a_bare_env_watch_is_five_seconds() {
        let of = |text: &str| env_watch(&Raw::one(Layer::File, text));
        assert_eq!((of("true"), of("off")), (Ok(Some(Duration::from_secs(5))), Ok(None)));
        assert_eq!((of("0"), of("1s")), (Ok(Some(Duration::ZERO)), Ok(Some(Duration::from_secs(1)))));
        assert!(of("5").expect_err("no unit").message.ends_with("did you mean \"5s\"?"));
    }
}
