//! What a probe tries, as people write it: `http://H:P/path`, `tcp://H:P`, `unix:PATH`, `exec:CMD`, `port:N`.
//!
//! Hosts are IP literals or localhost: a name would have to be looked up, and that blocks the loop.

use super::fault::Fault;
use super::nearest::nearest;
use super::needs::port;
use super::values;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use watchdog_engine::spec::{Check, HttpCheck};

/// What stands in front of the colon.
const SCHEMES: [&str; 5] = ["http", "tcp", "unix", "exec", "port"];
/// Longest path of a socket in `sockaddr_un`.
const LONGEST_SOCKET: usize = 107;

/// One check.
pub(crate) fn check(text: &str) -> Result<Check, Fault> {
    let form = || {
        Fault::usage(format!(
            "{text:?} is no check: http://HOST:PORT/path, tcp://HOST:PORT, unix:PATH, exec:COMMAND, port:N"
        ))
    };
    let (scheme, rest) = text.split_once(':').ok_or_else(form)?;
    match scheme {
        "http" => http(rest.strip_prefix("//").ok_or_else(form)?),
        "https" => {
            Err(Fault::usage(format!("{text:?}: https is not spoken here: use exec, such as exec:curl -fsS {text}")))
        }
        "tcp" => Ok(Check::Tcp(addresses(rest.strip_prefix("//").ok_or_else(form)?, None)?)),
        "unix" => unix(rest),
        "exec" => values::command(rest).map(Check::Exec),
        "port" => port(rest).map(|p| Check::Port { port: p.number, udp: p.udp }),
        other => Err(form().or_nearest(nearest(other, SCHEMES).map(|s| format!("{s}:{rest}")))),
    }
}

fn unix(path: &str) -> Result<Check, Fault> {
    if path.is_empty() {
        return Err(Fault::usage("unix: needs a path, such as unix:/run/app.sock"));
    }
    if path.len() > LONGEST_SOCKET {
        return Err(Fault::usage(format!("unix:{path} is too long for a socket: {LONGEST_SOCKET} bytes at most")));
    }
    Ok(Check::Unix(PathBuf::from(path)))
}

/// `HOST:PORT/path`; what is behind a `#` is never sent.
fn http(rest: &str) -> Result<Check, Fault> {
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
    if let Some(odd) = path.chars().find(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return Err(Fault::usage(format!("the path holds {odd:?}: write it with % as in %20")));
    }
    Ok(Check::Http(HttpCheck {
        addresses: addresses(host, Some(80))?,
        host: host.to_string(),
        path,
        method: "GET".to_string(),
        headers: Vec::new(),
        status: vec![(200, 399)],
        body: None,
    }))
}

/// `127.0.0.1:80`, `[::1]:80`, `localhost:80`, which is both loopbacks.
fn addresses(text: &str, usual: Option<u16>) -> Result<Vec<SocketAddr>, Fault> {
    let (host, digits) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, behind)) => (host, Some(behind.strip_prefix(':').unwrap_or(behind))),
        None => match text.rsplit_once(':') {
            Some((host, digits)) => (host, Some(digits)),
            None => (text, None),
        },
    };
    let hosts: Vec<IpAddr> = match host.parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() && !text.starts_with('[') => {
            let fault = Fault::usage(format!("{text:?}: an IPv6 address stands in brackets"));
            return Err(fault.or_nearest(Some("[::1]:8080")));
        }
        Ok(address) => vec![address],
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => return Err(named(host)),
    };
    let port = match (digits, usual) {
        (Some(digits), _) => values::count(digits, 1, 65_535).map_err(|f| f.at("port"))? as u16,
        (None, Some(usual)) => usual,
        (None, None) => return Err(Fault::usage(format!("{text:?} has no port, such as {host}:8080"))),
    };
    Ok(hosts.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

fn named(host: &str) -> Fault {
    if host.is_empty() {
        return Fault::usage("no host, such as 127.0.0.1 or localhost");
    }
    Fault::usage(format!(
        "{host:?} is neither an IP address nor localhost: a name would have to be looked up, use exec (exec:curl -fsS ..)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        check(text).expect_err(text).message
    }

    fn http_of(text: &str) -> HttpCheck {
        match check(text) {
            Ok(Check::Http(http)) => http,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_kind_of_check() {
        let tcp = |text: &str| Check::Tcp(vec![text.parse().expect("an address")]);
        assert_eq!(check("tcp://127.0.0.1:5432"), Ok(tcp("127.0.0.1:5432")));
        assert_eq!(check("tcp://[::1]:5432"), Ok(tcp("[::1]:5432")));
        assert_eq!(check("unix:/run/x.sock"), Ok(Check::Unix("/run/x.sock".into())));
        assert_eq!(
            check("exec:pg_isready -h 'a b'"),
            Ok(Check::Exec(["pg_isready", "-h", "a b"].map(Into::into).into()))
        );
        assert_eq!(check("port:53/udp"), Ok(Check::Port { port: 53, udp: true }));
        let both = ["127.0.0.1:8080", "[::1]:8080"].map(|a| a.parse::<SocketAddr>().expect("an address"));
        assert_eq!(check("tcp://localhost:8080"), Ok(Check::Tcp(both.to_vec())));
    }

    #[test]
    fn the_parts_of_an_address() {
        let http = http_of("http://localhost:8080/health?deep=1#no");
        assert_eq!((http.host.as_str(), http.path.as_str()), ("localhost:8080", "/health?deep=1"));
        assert_eq!((http.method.as_str(), http.status.as_slice()), ("GET", &[(200, 399)][..]));
        assert_eq!(http_of("http://127.0.0.1:8080").path, "/");
        assert_eq!(http_of("http://127.0.0.1:8080?x").path, "/?x");
        assert_eq!(http_of("http://127.0.0.1/").addresses[0].port(), 80);
        assert_eq!(http_of("http://[::1]/").addresses[0].port(), 80);
    }

    #[test]
    fn what_is_wrong_with_a_check_is_named() {
        assert!(wrong("http://example.com/health").contains("use exec"));
        assert!(wrong("tcp://user@127.0.0.1:80").contains("neither an IP address"));
        assert!(wrong("https://127.0.0.1/").contains("use exec, such as exec:curl"));
        for text in ["tcp://127.0.0.1:0", "tcp://127.0.0.1:70000", "port:0", "port:70000", "http://127.0.0.1:x/"] {
            assert!(wrong(text).contains("from 1 to 65535"), "{text}: {}", wrong(text));
        }
        assert!(wrong("tcp://127.0.0.1").contains("no port") && wrong("tcp://:80").contains("no host"));
        assert!(wrong("tcp://::1:80").contains("in brackets"));
        assert!(wrong("htp://127.0.0.1/").ends_with("did you mean \"http://127.0.0.1/\"?"));
        assert!(
            wrong("unix:").contains("needs a path") && wrong(&format!("unix:/{}", "x".repeat(107))).contains("107")
        );
        assert!(wrong("exec:").contains("empty") && wrong("exec:'x").contains("not closed"));
        assert!(wrong("http://127.0.0.1/a b").contains("%20") && wrong("http://127.0.0.1/a\r\nX: y").contains("%20"));
        for text in ["", "http", "http:127.0.0.1", "127.0.0.1:80", "[[::1", "http://[::1", "tcp://[::1]80x"] {
            wrong(text);
        }
    }
}
