//! The decoders of bytes from outside, for the targets in `fuzz/`: any bytes, no panic, bounded output.

use crate::control::Ask;
use crate::dialect::{node::Node, notify};
use crate::http::{Hosts, Read, page, read};
use crate::probe::judged;
use crate::spec::HttpCheck;

/// One datagram of sd_notify(3).
///
/// # Panics
/// If what comes out is not bounded: that is a finding.
pub fn notify(bytes: &[u8]) {
    let said = notify::decode(bytes);
    assert!(said.news.len() <= 64 && said.unknown <= 65);
}

/// A channel of Node; where a read ends must make no difference.
///
/// # Panics
/// If it does: that is a finding.
pub fn node(bytes: &[u8]) {
    let hear = |pieces: &[&[u8]]| {
        let (mut node, mut out) = (Node::default(), Vec::new());
        let result = pieces.iter().try_for_each(|piece| node.push(piece, &mut out));
        (result, out, node.unknown())
    };
    let (one, two) = bytes.split_at(bytes.len() / 2);
    assert_eq!(hear(&[bytes]), hear(&[one, two]));
}

/// One line of a control client.
///
/// # Panics
/// If a refusal is longer than people can read: that is a finding.
pub fn control(bytes: &[u8]) {
    match Ask::parse(bytes) {
        Ok(ask) => {
            let _ = ask.millis("timeout_ms");
            assert!(ask.services.len() <= 1000);
        }
        Err(refused) => assert!(refused.message.len() < 1000),
    }
}

/// What a server answers to a probe over HTTP: the first byte says what was asked for, the next eight where reads end, the
/// rest is the answer. Where they end must make no difference.
///
/// # Panics
/// If it does, or if what is said of it is not bounded: that is a finding.
pub fn answer(bytes: &[u8]) {
    let Some((said, rest)) = bytes.split_first() else { return };
    let (cuts, wire) = rest.split_at(rest.len().min(8));
    let check = HttpCheck {
        addresses: Vec::new(),
        host: "localhost".into(),
        path: "/".into(),
        method: if said & 1 == 0 { "GET" } else { "HEAD" }.into(),
        headers: Vec::new(),
        status: vec![(200, 399)],
        body: [None, Some("x"), Some("ok, ok"), Some("")][usize::from(said >> 1 & 3)].map(str::to_owned),
    };
    let whole = judged(&check, wire.chunks(wire.len().max(1)));
    assert!(whole.message.chars().count() <= 200 && !whole.message.contains(char::is_control));
    assert_eq!(whole, judged(&check, wire.chunks(1)));
    let mut left = wire;
    let cut = cuts.iter().cycle().map_while(|cut| {
        let (piece, rest) = left.split_at(left.len().min(1 + usize::from(*cut)));
        left = rest;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(whole, judged(&check, cut));
}

/// What comes over a connection to the pages over HTTP: the first byte says to whom it may be addressed, the rest are
/// requests. Where reads end must make no difference, and every request is some page.
///
/// # Panics
/// If it does, or if what is kept is not bounded: that is a finding.
pub fn request(bytes: &[u8]) {
    let Some((said, wire)) = bytes.split_first() else { return };
    let hosts = if said & 1 == 0 { Hosts::Loopback } else { Hosts::Any };
    let mut left = wire;
    // No more than a connection answers in some turns.
    for _ in 0..64 {
        let whole = read(left, hosts);
        let first = (0..=left.len()).step_by(usize::from(said >> 1).max(1)).map(|n| read(&left[..n], hosts));
        let first = first.take(4096).find(|found| *found != Read::More);
        match (first, &whole) {
            (None, _) => {}
            // Earlier, and perhaps for another reason.
            (Some(Read::Wrong(_)), found) => assert!(matches!(found, Read::Wrong(_)), "{found:?}"),
            (Some(found), _) => assert_eq!(found, whole),
        }
        let Read::Whole(request, length) = whole else { return };
        let clean = |c: char| !c.is_ascii_control() && c != ' ';
        assert!(request.path.len() <= 8192 && request.path.starts_with('/') && request.path.chars().all(clean));
        let _ = page(&request.path);
        left = &left[length..];
    }
}
