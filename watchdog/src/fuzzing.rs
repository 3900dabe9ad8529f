//! The decoders of bytes from outside, for the targets in `fuzz/`: any bytes, no panic, bounded output.

use crate::control::Ask;
use crate::dialect::{node::Node, notify};

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
