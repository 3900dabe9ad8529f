//! Frames of the native channel, both directions: any bytes in any pieces. What is understood has one spelling only, and
//! what is kept is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use worker_sdk::wire::{self, BODY_MAX, Decoder, HEADER, Message, ToWatchdog, ToWorker};

fuzz_target!(|data: &[u8]| {
    // The first byte chooses the direction and the size of the pieces: one byte, a few, or all at once.
    let Some((choice, stream)) = data.split_first() else { return };
    let piece = match choice >> 1 {
        0 => stream.len().max(1),
        size => usize::from(size),
    };
    if choice & 1 == 0 { read::<ToWatchdog>(stream, piece) } else { read::<ToWorker>(stream, piece) }
});

fn read<M: Message>(stream: &[u8], piece: usize) {
    let mut decoder = Decoder::<M>::new();
    let mut pushed = 0;
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        pushed += bytes.len();
        loop {
            match decoder.next_frame() {
                Ok(Some(message)) => spelled_so(&message, &stream[..pushed - decoder.pending()]),
                Ok(None) => break,
                Err(error) => {
                    assert!(decoder.next_frame().is_err_and(|again| again == error), "an error is for ever");
                    assert_eq!(decoder.pending(), 0);
                    return;
                }
            }
        }
        assert!(decoder.pending() < HEADER + BODY_MAX, "less than a whole frame waits");
    }
}

/// The message is the last frame of what has been read so far, byte for byte.
fn spelled_so<M: Message>(message: &M, read: &[u8]) {
    let mut frame = Vec::new();
    wire::append(message, &mut frame).expect("what is understood can be said");
    assert!(read.ends_with(&frame), "another spelling of {frame:?}");
}
