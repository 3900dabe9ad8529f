//! A body in chunks (RFC 9112 section 7.1) without its frame, as far as it has come.

/// Where in the frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the line with the size.
    Size,
    /// In what stands behind the size in that line.
    Extension,
    /// In the chunk itself.
    Data,
    /// Before the line that ends it.
    End,
    /// Behind the last chunk.
    Over,
}

/// Takes the frame off.
#[derive(Debug)]
pub(crate) struct Chunks {
    place: Place,
    left: usize,
    digits: u32,
}

impl Chunks {
    /// Before the first size.
    pub(crate) fn new() -> Chunks {
        Chunks { place: Place::Size, left: 0, digits: 0 }
    }

    /// Appends what these bytes hold of the body. `Err`: not a body in chunks.
    pub(crate) fn push(&mut self, mut bytes: &[u8], body: &mut Vec<u8>) -> Result<(), &'static str> {
        while let Some((first, rest)) = bytes.split_first() {
            match self.place {
                Place::Over => return Ok(()),
                Place::Data => {
                    let n = bytes.len().min(self.left);
                    body.extend_from_slice(&bytes[..n]);
                    self.left -= n;
                    bytes = &bytes[n..];
                    if self.left == 0 {
                        self.place = Place::End;
                    }
                    continue;
                }
                Place::End if *first == b'\n' => (self.place, self.digits) = (Place::Size, 0),
                Place::End if *first == b'\r' => {}
                Place::End => return Err("a chunk does not end where it says"),
                Place::Size | Place::Extension if *first == b'\n' => {
                    if self.digits == 0 {
                        return Err("a chunk without a size");
                    }
                    self.place = if self.left == 0 { Place::Over } else { Place::Data };
                }
                Place::Extension => {}
                Place::Size => match char::from(*first).to_digit(16) {
                    // Eight digits are 4 GiB: more is no answer to a probe.
                    Some(_) if self.digits >= 8 => return Err("a chunk that is too large"),
                    Some(digit) => {
                        self.left = (self.left << 4) | digit as usize;
                        self.digits += 1;
                    }
                    None => self.place = Place::Extension,
                },
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Whether the last chunk has come.
    pub(crate) fn is_over(&self) -> bool {
        self.place == Place::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let wire = b"4\r\nwiki\r\n6;name=x\r\npedia \r\nB\r\nin \r\nchunks\r\n0\r\n\r\n";
        for cut in 1..wire.len() {
            let (mut chunks, mut body) = (Chunks::new(), Vec::new());
            for piece in wire.chunks(cut) {
                chunks.push(piece, &mut body).expect("a body in chunks");
            }
            assert_eq!(body, b"wikipedia in \r\nchunks", "cut {cut}");
            assert!(chunks.is_over());
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for wrong in ["\r\nx", "zz\r\n", "4\r\nwikix\r\n", "123456789\r\n"] {
            let (mut chunks, mut body) = (Chunks::new(), Vec::new());
            assert!(chunks.push(wrong.as_bytes(), &mut body).is_err(), "{wrong:?}");
        }
    }
}
