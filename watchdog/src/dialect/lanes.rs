//! The memory file in which a worker's loops beat, as docs/protocol.md ("Lanes") lays it out. The worker may write into it
//! at any moment and whatever it likes, so nothing in it is trusted.

use super::millis;
use crate::machine::LaneView;

/// First bytes: what it is and its version.
const MAGIC: &[u8; 8] = b"WDLANES1";
/// Bytes of the header, and of each slot.
const SLOT: usize = 64;
/// Slots.
const SLOTS: usize = 64;
/// Bytes of the whole file.
pub(crate) const BYTES: usize = SLOT * (1 + SLOTS);
/// Where the name begins in a slot; it ends with the slot.
const NAME: usize = 24;
/// Bytes of a name.
const NAME_BYTES: usize = SLOT - NAME;
/// States of a slot that is a lane.
const IDLE: u32 = 1;
const ARMED: u32 = 2;

/// The lanes that are not free, in the order of their slots. `None`: too short, or no such file.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<LaneView>> {
    let (header, slots) = bytes.get(..BYTES)?.split_at_checked(SLOT)?;
    let right = header.starts_with(MAGIC) && number(header, 8)? == SLOTS as u64 && number(header, 16)? == SLOT as u64;
    right.then(|| slots.chunks_exact(SLOT).zip(0..).filter_map(|(slot, n)| lane(slot, n)).collect())
}

/// One slot. A state of a later version is none that could be judged: as if it were free.
fn lane(slot: &[u8], n: u32) -> Option<LaneView> {
    let state = u32::from_le_bytes(*slot.first_chunk()?);
    if state != IDLE && state != ARMED {
        return None;
    }
    Some(LaneView {
        slot: n,
        name: name(slot.get(NAME..)?),
        armed: state == ARMED,
        beats: number(slot, 8)?,
        deadline: millis(number(slot, 16)?),
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Up to the first zero. What is no character is shown as U+FFFD, and so is what would act on a terminal.
fn name(bytes: &[u8]) -> String {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let mut name: String = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    name.truncate(name.floor_char_boundary(NAME_BYTES));
    name
}

#[cfg(test)]
mod tests {
    use super::super::LONGEST;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn file() -> Vec<u8> {
        let mut bytes = vec![0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&64u64.to_le_bytes());
        bytes[16..24].copy_from_slice(&64u64.to_le_bytes());
        bytes
    }

    fn put(file: &mut [u8], slot: usize, state: u32, beats: u64, deadline: u64, name: &[u8]) {
        let at = 64 * (1 + slot);
        file[at..at + 4].copy_from_slice(&state.to_le_bytes());
        file[at + 8..at + 16].copy_from_slice(&beats.to_le_bytes());
        file[at + 16..at + 24].copy_from_slice(&deadline.to_le_bytes());
        file[at + 24..at + 24 + name.len()].copy_from_slice(name);
    }

    #[test]
    fn lanes_come_in_the_order_of_their_slots_and_free_ones_do_not() {
        let mut file = file();
        assert_eq!(decode(&file), Some(vec![]));
        put(&mut file, 0, 2, 7, 5000, b"consumer");
        put(&mut file, 1, 0, 9, 5000, b"gone");
        put(&mut file, 2, 77, 9, 5000, b"of a later version");
        put(&mut file, 63, 1, 0, 0, b"");
        let lanes = decode(&file).expect("a file of lanes");
        assert_eq!(lanes.len(), 2);
        assert_eq!(
            lanes[0],
            LaneView { slot: 0, name: "consumer".into(), armed: true, beats: 7, deadline: Duration::from_secs(5) }
        );
        assert_eq!((lanes[1].slot, lanes[1].armed, lanes[1].deadline), (63, false, Duration::ZERO));
    }

    #[test]
    fn nothing_in_the_file_is_trusted() {
        let mut file = file();
        put(
            &mut file,
            3,
            2,
            u64::MAX,
            u64::MAX,
            b"a\x1b[2J\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        );
        let lane = decode(&file).expect("a file of lanes").remove(0);
        assert_eq!(lane.deadline, LONGEST);
        assert!(lane.name.starts_with("a\u{fffd}[2J") && lane.name.len() <= 40, "{:?}", lane.name);
        for (at, value) in [(0, b'X'), (8, 65), (16, 63)] {
            let mut wrong = file.clone();
            wrong[at] = value;
            assert_eq!(decode(&wrong), None);
        }
        assert_eq!(decode(&file[..BYTES - 1]), None);
        assert_eq!(decode(b""), None);
    }

    proptest! {
        #[test]
        fn any_content_gives_bounded_lanes(slots in proptest::collection::vec(any::<u8>(), BYTES - 24)) {
            let mut bytes = file();
            bytes[24..].copy_from_slice(&slots);
            let lanes = decode(&bytes).expect("the header is right");
            prop_assert!(lanes.len() <= SLOTS);
            for lane in lanes {
                prop_assert!(lane.name.len() <= NAME_BYTES && !lane.name.chars().any(char::is_control));
                prop_assert!(lane.deadline <= LONGEST);
            }
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            decode(&bytes);
        }
    }
}
