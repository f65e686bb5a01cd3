//! What holds for any bytes. Asked by random tests, and by `tests/fuzz`.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Answer, AnswerRef, Record,
    codec::{Cursor, Encoder, decode, decode_answer_ref},
};

/// The payload of an entry is read or refused; what is read is written as the same bytes, is the
/// same one by one, and is what a glance sees.
///
/// # Panics
/// When that is not so.
pub fn payload(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    let _ = decode_answer_ref(&payload, &Cursor::START);
    let Ok(records) = decode(&payload) else { return };
    let (mut cursor, mut encoder) = (Cursor::START, Encoder::default());
    for (record, index) in records.iter().zip(0..) {
        let result = result_in(record);
        assert_eq!(decode_answer_ref(&payload, &cursor), Ok(result.as_deref().map(AnswerRef::at)));
        assert_eq!(cursor.read(&payload, index).as_ref(), Ok(record));
        encoder.push(record);
    }
    // The version alone is an entry without records, which nobody writes.
    assert!(records.is_empty() || encoder.finish() == payload, "{records:?}");
}

/// What a record says of a result.
pub(super) fn result_in(record: &Record) -> Option<Arc<Answer>> {
    if let Record::Accepted { at, message, .. } | Record::Copied { at, message, .. } = record {
        return Some(Arc::new(Answer::passed(message, *at)));
    }
    if let Record::Answered { answer, .. } | Record::CopiedResult { answer, .. } = record {
        return Some(Arc::clone(answer));
    }
    None
}
