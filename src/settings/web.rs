//! `http`: where health and metrics are shown. Who says nothing but a port means this machine.

use super::fault::Fault;
use super::raw::Raw;
use super::values;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use watchdog_engine::spec::{Http, HttpControl};

/// sockaddr_un(7): 108 bytes with the NUL.
const PATH_LIMIT: usize = 107;

/// `off`, `9090`, `:9090`, `localhost:9090`, `0.0.0.0:9090`, `[::1]:9090`, `unix:PATH`.
pub(crate) fn http(raw: &Raw) -> Result<Http, Fault> {
    let text = raw.text()?;
    if matches!(text, "off" | "false") {
        return Ok(Http::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path);
    }
    address(text).map(Http::Tcp)
}

/// `off`, `on`, or the file of the token.
pub(crate) fn control(raw: &Raw) -> Result<HttpControl, Fault> {
    match raw.text()? {
        "off" | "false" => Ok(HttpControl::Off),
        "on" | "true" => Ok(HttpControl::Beside),
        _ => raw.path().map(HttpControl::File),
    }
}

fn socket(path: &str) -> Result<Http, Fault> {
    match path.len() {
        0 => Err(Fault::usage("unix: needs a path, such as unix:/run/watchdog/http.sock")),
        n if n > PATH_LIMIT => {
            Err(Fault::usage(format!("the path has {n} bytes, the kernel takes at most {PATH_LIMIT}")))
        }
        _ => Ok(Http::Unix(PathBuf::from(path))),
    }
}

fn address(text: &str) -> Result<SocketAddr, Fault> {
    let (host, digits) = match text.rsplit_once(':') {
        Some((host, digits)) => (host, digits),
        None if text.bytes().all(|b| b.is_ascii_digit()) => ("", text),
        None => return Err(Fault::usage(format!("{text:?} has no port")).or_nearest(Some("127.0.0.1:9090"))),
    };
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let ip: IpAddr = match (host, inside.unwrap_or(host).parse::<IpAddr>()) {
        ("", _) => Ipv4Addr::LOCALHOST.into(),
        (_, Ok(ip)) if ip.is_ipv6() != inside.is_some() => {
            let fault = Fault::usage(format!("{text:?}: an IPv6 address stands in brackets, and no other does"));
            return Err(fault.or_nearest(Some("[::1]:9090")));
        }
        (_, Ok(ip)) => ip,
        (_, Err(_)) if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.into(),
        (_, Err(_)) => {
            let message = format!("{host:?} is neither an IP address nor localhost: names are not looked up");
            return Err(Fault::usage(message).or_nearest(Some(format!("127.0.0.1:{digits}"))));
        }
    };
    let port = values::count(digits, 0, 65_535).map_err(|f| f.at("port"))? as u16;
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::super::raw::Layer;
    use super::*;

    fn of(text: &str) -> Result<Http, String> {
        http(&Raw::one(Layer::Flag, text)).map_err(|f| f.message)
    }

    #[test]
    fn who_says_only_a_port_means_this_machine() {
        let tcp = |text: &str| Ok(Http::Tcp(text.parse().expect("an address")));
        for text in ["9090", ":9090", "localhost:9090", "127.0.0.1:9090"] {
            assert_eq!(of(text), tcp("127.0.0.1:9090"), "{text}");
        }
        assert_eq!(of("0.0.0.0:9090"), tcp("0.0.0.0:9090"));
        assert_eq!(of("[::1]:0"), tcp("[::1]:0"));
        assert_eq!(of("unix:/run/a b.sock"), Ok(Http::Unix("/run/a b.sock".into())));
        assert_eq!((of("off"), of("false")), (Ok(Http::Off), Ok(Http::Off)));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_nearest_right_form() {
        let wrong = |text: &str| of(text).expect_err(text);
        assert!(wrong("example.com:80").contains("did you mean \"127.0.0.1:80\"?"));
        assert!(wrong("127.0.0.1").contains("no port") && wrong("::1:80").contains("in brackets"));
        assert!(wrong("[127.0.0.1]:80").contains("in brackets") && wrong("127.0.0.1:70000").contains("65535"));
        assert!(
            wrong("unix:").contains("needs a path") && wrong(&format!("unix:/{}", "x".repeat(107))).contains("107")
        );
        for text in ["", ":", "on", "http://127.0.0.1:1", "*:80"] {
            wrong(text);
        }
    }
}
