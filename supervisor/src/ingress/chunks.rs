//! Where a body of chunks ends (RFC 9112 §7.1), followed byte by byte and read as hyper reads it.

/// Where in such a body the next byte stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    /// Before the first digit of a size.
    #[default]
    Start,
    /// In a size.
    Size,
    /// Behind a size: in blanks, or in an extension.
    Behind,
    /// Before the line feed that ends a size.
    SizeEnd,
    /// In a chunk, so many bytes before its end.
    Data,
    /// Before the carriage return and before the line feed that end a chunk.
    DataReturn,
    DataEnd,
    /// At the beginning of a line behind the last chunk.
    Trailers,
    /// In a trailer.
    Trailer,
    /// Before the line feed that ends a trailer.
    TrailerEnd,
    /// Before the last line feed.
    End,
    /// It is no such body; hyper says so, and ends the connection.
    Wrong,
}

/// A body of chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks {
    at: At,
    left: u64,
}

impl Chunks {
    /// Follows `bytes`; gives back how many of them are of this body, and whether it goes on.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut index = 0;
        while let Some(byte) = bytes.get(index) {
            if self.at == At::Data {
                let rest = bytes.len() - index;
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest);
                self.left -= u64::try_from(step).unwrap_or(u64::MAX);
                index += step;
                if self.left == 0 {
                    self.at = At::DataReturn;
                }
                continue;
            }
            index += 1;
            if self.at == At::End && *byte == b'\n' {
                return (index, false);
            }
            self.at = self.step(*byte);
            if self.at == At::Wrong {
                return (bytes.len(), true);
            }
        }
        (index, true)
    }

    fn step(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::Start | At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let before = if self.at == At::Start { 0 } else { self.left };
                let digit = char::from(byte).to_digit(16).map(u64::from).unwrap_or_default();
                match before.checked_mul(16).and_then(|size| size.checked_add(digit)) {
                    Some(size) => {
                        self.left = size;
                        At::Size
                    }
                    None => At::Wrong,
                }
            }
            (At::Size | At::Behind, b'\r') => At::SizeEnd,
            (At::Size, b' ' | b'\t' | b';') => At::Behind,
            (At::SizeEnd, b'\n') if self.left == 0 => At::Trailers,
            (At::SizeEnd, b'\n') => At::Data,
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::Start,
            (At::Trailers, b'\r') => At::End,
            (At::Trailer, b'\r') => At::TrailerEnd,
            (At::TrailerEnd, b'\n') => At::Trailers,
            (At::Behind, byte) if byte != b'\n' => At::Behind,
            (At::Trailers | At::Trailer, _) => At::Trailer,
            _ => At::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far a body goes; `None`: it has no end, or is none.
    fn end(bytes: &[u8], cut: usize) -> Option<usize> {
        let mut chunks = Chunks::default();
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        let (one, goes_on) = chunks.follow(first);
        if !goes_on {
            return Some(one);
        }
        let (other, goes_on) = chunks.follow(second);
        (!goes_on).then_some(one + other)
    }

    #[test]
    fn a_body_ends_behind_its_last_chunk_wherever_reads_end() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nfirst\r\n0\r\n\r\n",
            b"5;a=b\r\nfirst\r\n00A \t;x\r\n0123456789\r\n0\r\n\r\n",
            b"1\r\n\r\r\n0\r\nX: y\r\nZ: 1\r\n\r\n",
        ] {
            let bytes = [body, b"POST /"].concat();
            for cut in 0..=bytes.len() {
                assert_eq!(end(&bytes, cut), Some(body.len()), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_has_no_end() {
        for body in [
            &b"\r\n0\r\n\r\n"[..],
            b"0\n\n",
            b"x\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"0;a\nb\r\n\r\n",
            b"10000000000000000\r\n0\r\n\r\n",
            b"5\r\nfirst\r\n0\r\n",
        ] {
            assert_eq!(end(body, body.len()), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
