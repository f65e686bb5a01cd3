//! What messages hold, so that whoever gets a result can tell whether it is the right one: the
//! message's number and the time at which it was meant to be sent, both in hexadecimal, and a
//! fill. A worker writes them in capitals; a result that is not in capitals was not worked on.

/// Bytes of the number and the time.
pub(super) const HEAD: usize = 32;

/// Monotonic nanoseconds; all processes of a machine share this clock.
pub(super) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A message of `bytes` bytes, at least [`HEAD`]. `stamp`: when it is meant to be sent, 0 where
/// nobody asks.
pub(super) fn message(number: u64, stamp: u64, bytes: usize) -> Vec<u8> {
    let mut body = vec![b'x'; bytes.max(HEAD)];
    put(&mut body[..16], number);
    put(&mut body[16..HEAD], stamp);
    body
}

/// A message of JSON: an order with as many lines as fit into `bytes`, and a note that fills what
/// is left.
pub(super) fn order(number: u64, bytes: usize) -> Vec<u8> {
    let mut body = format!(
        "{{\"ORDER\":{number},\"CUSTOMER\":\"C-{:06}\",\"PLACED\":\"2026-01-02T03:04:05.678Z\",\
         \"ADDRESS\":{{\"STREET\":\"LANGE GASSE {}\",\"CITY\":\"WIEN\",\"ZIP\":1080}},\"LINES\":[",
        number % 900_000,
        number % 97,
    );
    let room = bytes.saturating_sub(100);
    let mut lines = 0;
    while body.len() < room {
        let comma = if lines == 0 { "" } else { "," };
        let (sku, price) = (number * 7 + lines, number % 9_000 + lines);
        body += &format!(
            "{comma}{{\"SKU\":\"A-{sku:08}\",\"COUNT\":{},\"PRICE\":{price}.50}}",
            lines % 5
        );
        lines += 1;
    }
    body += "],\"NOTE\":\"";
    let fill = bytes.saturating_sub(body.len() + 2);
    body.extend(std::iter::repeat_n('X', fill));
    body += "\"}";
    body.into_bytes()
}

/// What a worker makes of a message.
pub(super) fn work_on(message: &[u8]) -> Vec<u8> {
    message.to_ascii_uppercase()
}

fn put(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn get(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'9' => Some(value << 4 | u64::from(digit - b'0')),
        b'A'..=b'F' => Some(value << 4 | u64::from(digit - b'A' + 10)),
        _ => None,
    })
}

/// Knows results.
#[derive(Clone, Debug)]
pub(super) struct Checker {
    fill: Vec<u8>,
}

impl Checker {
    /// For results of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { fill: vec![b'X'; bytes.max(HEAD) - HEAD] }
    }

    /// Bytes of a whole result.
    pub(super) fn bytes(&self) -> usize {
        HEAD + self.fill.len()
    }

    /// The number and the time in a result; none when it is not whole, or not a worker's.
    pub(super) fn read(&self, result: &[u8]) -> Option<(u64, u64)> {
        let (head, fill) = result.split_at_checked(HEAD)?;
        if fill != self.fill {
            return None;
        }
        Some((get(&head[..16])?, get(&head[16..])?))
    }
}

/// What one message adds to the sum that the client and the destination compare: which message
/// has which place. The order of adding does not matter.
pub(super) fn mix(stream: u64, sequence: u64, number: u64) -> u64 {
    let mut word = stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ sequence;
    for part in [number, 0] {
        word = (word ^ (word >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= part;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_on_message_is_known_again() {
        let checker = Checker::new(100);
        let result = work_on(&message(0xabc, 77, 100));
        assert_eq!(result.len(), checker.bytes());
        assert_eq!(checker.read(&result), Some((0xabc, 77)));
    }

    #[test]
    fn a_message_that_nobody_worked_on_is_no_result() {
        let checker = Checker::new(100);
        assert_eq!(checker.read(&message(1, 0, 100)), None);
        let mut result = work_on(&message(1, 0, 100));
        result[99] = b'Y';
        assert_eq!(checker.read(&result), None);
        assert_eq!(checker.read(&result[..99]), None);
        assert_eq!(checker.read(&result[..9]), None);
    }

    #[test]
    fn two_messages_that_change_places_change_the_sum() {
        let right = mix(0, 1, 10).wrapping_add(mix(0, 2, 11));
        assert_ne!(right, mix(0, 1, 11).wrapping_add(mix(0, 2, 10)));
        assert_ne!(right, mix(0, 1, 10).wrapping_add(mix(1, 2, 11)));
    }
}
