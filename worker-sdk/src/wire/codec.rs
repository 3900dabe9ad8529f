//! Messages to bytes and back. It owns no descriptor: both sides and the tests feed it what they have.

use super::{BODY_MAX, FrameError, HEADER, Message, PROTOCOL};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use std::marker::PhantomData;

type Format = Configuration<LittleEndian, Fixint, Limit<BODY_MAX>>;

/// Fixed integers: the limit then counts bytes of the wire, and every message has one spelling only. The limit holds
/// before anything is allocated in decoding; in encoding bincode does not look at it, so [`Body`] does.
const FORMAT: Format = bincode::config::standard().with_fixed_int_encoding().with_limit::<BODY_MAX>();

/// Bytes of a consumed part at the front of the decoder's buffer that are worth moving the rest for.
const COMPACT: usize = 4096;

/// Writes the frame of `message` into `buffer` and says how many bytes it has. Allocates nothing.
///
/// # Errors
/// [`FrameError::NoRoom`] if the buffer is too small, [`FrameError::TooLong`] and [`FrameError::TooMany`] if the other
/// side would refuse the frame.
pub fn encode_into<M: Message>(message: &M, buffer: &mut [u8]) -> Result<usize, FrameError> {
    if !message.fits() {
        return Err(FrameError::TooMany);
    }
    let room = buffer.get_mut(HEADER..).ok_or(FrameError::NoRoom)?;
    let length = bincode::encode_into_slice(message, room, FORMAT).map_err(|_| FrameError::NoRoom)?;
    buffer[..HEADER].copy_from_slice(&header(length)?);
    Ok(HEADER + length)
}

/// Appends the frame of `message` to `out`; what was there stays, also after an error.
///
/// # Errors
/// [`FrameError::TooLong`] and [`FrameError::TooMany`] if the other side would refuse the frame.
pub fn append<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), FrameError> {
    if !message.fits() {
        return Err(FrameError::TooMany);
    }
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let mut body = Body { out, end: start + HEADER + BODY_MAX, refused: None };
    let done = bincode::encode_into_writer(message, &mut body, FORMAT);
    let refused = body.refused;
    if done.is_err() {
        out.truncate(start);
        return Err(FrameError::TooLong(refused.unwrap_or(BODY_MAX + 1)));
    }
    let length = header(out.len() - start - HEADER)?;
    out[start..start + HEADER].copy_from_slice(&length);
    Ok(())
}

fn header(length: usize) -> Result<[u8; HEADER], FrameError> {
    match u32::try_from(length) {
        Ok(prefix) if length <= BODY_MAX => Ok(prefix.to_le_bytes()),
        _ => Err(FrameError::TooLong(length)),
    }
}

/// The body of one frame at the end of a buffer, which grows up to the limit and not beyond.
struct Body<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
    refused: Option<usize>,
}

impl Writer for &mut Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if self.out.len() + bytes.len() > self.end {
            self.refused = Some(self.out.len() + bytes.len() + BODY_MAX - self.end);
            return Err(EncodeError::UnexpectedEnd);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes in, messages out. The first message must be a greeting of our protocol.
///
/// Push what was read, then take messages until there is none: so it never holds more than one frame and what one read
/// brought. After an error it gives the same error for ever.
#[derive(Debug)]
pub struct Decoder<M> {
    buffer: Vec<u8>,
    /// Where the next frame starts.
    start: usize,
    greeted: bool,
    skipped: u64,
    broken: Option<FrameError>,
    direction: PhantomData<M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Decoder<M> {
        Decoder { buffer: Vec::new(), start: 0, greeted: false, skipped: 0, broken: None, direction: PhantomData }
    }
}

impl<M: Message> Decoder<M> {
    /// A decoder at the start of a channel.
    #[must_use]
    pub fn new() -> Decoder<M> {
        Decoder::default()
    }

    /// Takes bytes that were read. After an error they are thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > COMPACT {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message; `None`: more bytes are needed.
    ///
    /// # Errors
    /// The channel is to be ended: what follows cannot be trusted.
    pub fn next_frame(&mut self) -> Result<Option<M>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.try_next().inspect_err(|&error| {
            self.broken = Some(error);
            self.buffer = Vec::new();
            self.start = 0;
        })
    }

    /// Frames skipped so far because their variant number is of a later version.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn try_next(&mut self) -> Result<Option<M>, FrameError> {
        loop {
            let Some((length, rest)) = self.buffer[self.start..].split_first_chunk::<HEADER>() else { return Ok(None) };
            let length = u32::from_le_bytes(*length) as usize;
            // Before anything is waited for, let alone reserved.
            if length > BODY_MAX {
                return Err(FrameError::TooLong(length));
            }
            let Some(body) = rest.get(..length) else { return Ok(None) };
            let message = decode::<M>(body)?;
            self.start += HEADER + length;
            match message {
                None if !self.greeted => return Err(FrameError::NoHello),
                None => self.skipped += 1,
                Some(message) => {
                    self.greet(&message)?;
                    return Ok(Some(message));
                }
            }
        }
    }

    fn greet(&mut self, message: &M) -> Result<(), FrameError> {
        match message.greeting() {
            None if !self.greeted => return Err(FrameError::NoHello),
            Some(theirs) if theirs != PROTOCOL => return Err(FrameError::Version(theirs)),
            None | Some(_) => self.greeted = true,
        }
        Ok(())
    }
}

/// One body. `None`: a variant of a later version.
#[inline(never)]
fn decode<M: Message>(body: &[u8]) -> Result<Option<M>, FrameError> {
    let Some((variant, _)) = body.split_first_chunk::<4>() else { return Err(FrameError::Malformed) };
    if u32::from_le_bytes(*variant) >= M::VARIANTS {
        return Ok(None);
    }
    match bincode::decode_from_slice::<M, Format>(body, FORMAT) {
        // bincode accepts bytes that are left over; a frame has none.
        Ok((message, consumed)) if consumed == body.len() => {
            if message.fits() {
                Ok(Some(message))
            } else {
                Err(FrameError::TooMany)
            }
        }
        Ok(_) => Err(FrameError::Malformed),
        Err(DecodeError::LimitExceeded) => Err(FrameError::TooMany),
        Err(_) => Err(FrameError::Malformed),
    }
}
