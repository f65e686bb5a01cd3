//! Whether something failed because the machine has run out of room: that is nobody's fault but
//! the machine's, so it speaks neither against a message nor against a worker.

use std::io;

/// `ENFILE`, `EMFILE`: no descriptor is left, in the whole system or in this process. The same
/// everywhere.
const NO_DESCRIPTOR: [i32; 2] = [23, 24];
/// `ENOBUFS`.
#[cfg(target_os = "linux")]
const NO_BUFFER: i32 = 105;
/// `ENOBUFS`.
#[cfg(not(target_os = "linux"))]
const NO_BUFFER: i32 = 55;

/// Whether the system had no descriptor, process, thread or memory left for what was asked of it.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(number) if NO_DESCRIPTOR.contains(&number) || number == NO_BUFFER => true,
        // `EAGAIN` and `ENOMEM`, which have other numbers elsewhere.
        Some(_) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_machine_lacks_is_exhausted() {
        let of = io::Error::from_raw_os_error;
        // ENOMEM, ENFILE, EMFILE.
        for number in [12, 23, 24, NO_BUFFER] {
            assert!(is_exhausted(&of(number)), "{number}");
        }
        // EPERM, ENOENT, E2BIG, EACCES, EPIPE.
        for number in [1, 2, 7, 13, 32] {
            assert!(!is_exhausted(&of(number)), "{number}");
        }
        assert!(!is_exhausted(&io::ErrorKind::WouldBlock.into()), "nobody has asked the system");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_process_left_is_exhausted() {
        assert!(is_exhausted(&io::Error::from_raw_os_error(11)));
    }
}
