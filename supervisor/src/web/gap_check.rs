//! Whether what is handed out is whole. That nothing is missing follows from how results are
//! numbered; here it is checked, wherever they leave the house.

use std::collections::BTreeMap;

use rollcall_common::ids::{Position, Sequence, StreamName};

use crate::{record::Gap, views::ReleasedResult};

/// How many of one stream's results follow each other from `next` on, at rising positions above
/// `above`; and what is wrong behind them.
#[must_use]
pub fn contiguous_prefix(
    results: &[ReleasedResult],
    mut next: Sequence,
    mut above: Position,
) -> (usize, Option<Gap>) {
    for (index, result) in results.iter().enumerate() {
        if result.sequence != next {
            return (index, Some(gap(result, next.0, result.sequence.0)));
        }
        if result.position <= above {
            return (index, Some(gap(result, above.next().0, result.position.0)));
        }
        (next, above) = (next.next(), result.position);
    }
    (results.len(), None)
}

/// How many results of all streams follow each other after `after`, without a hole in their
/// positions or in a stream's sequences; and what is wrong behind them.
#[must_use]
pub fn contiguous_prefix_of_all(
    results: &[ReleasedResult],
    after: Position,
) -> (usize, Option<Gap>) {
    let mut last: BTreeMap<&StreamName, Sequence> = BTreeMap::new();
    let mut next = after.next();
    for (index, result) in results.iter().enumerate() {
        if result.position != next {
            return (index, Some(gap(result, next.0, result.position.0)));
        }
        let before = last.insert(&result.stream, result.sequence);
        if let Some(expected) = before.map(Sequence::next).filter(|seq| *seq != result.sequence) {
            return (index, Some(gap(result, expected.0, result.sequence.0)));
        }
        next = next.next();
    }
    (results.len(), None)
}

fn gap(result: &ReleasedResult, expected: u64, got: u64) -> Gap {
    Gap { stream: result.stream.clone(), expected, got }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rollcall_common::{ids::MessageId, message::Payload, time::Time};

    use super::*;
    use crate::record::{Answer, MessageRef, Outcome};

    fn result(stream: &str, position: u64, sequence: u64) -> ReleasedResult {
        let answer = Answer {
            head: MessageRef { id: MessageId(uuid::Uuid::nil()), accepted_at: Time::default() },
            outcome: Outcome::Completed,
            worker: "".into(),
            reason: "".into(),
            history: Vec::new(),
            attempts: 1,
            payload: Payload::default(),
        };
        ReleasedResult {
            position: Position(position),
            stream: stream.parse().unwrap(),
            sequence: Sequence(sequence),
            released_at: Time::default(),
            answer: Arc::new(answer),
        }
    }

    fn stream(places: &[(u64, u64)]) -> (usize, Option<(u64, u64)>) {
        let results: Vec<_> = places.iter().map(|(p, s)| result("a", *p, *s)).collect();
        let (whole, gap) = contiguous_prefix(&results, Sequence(5), Position(10));
        (whole, gap.map(|gap| (gap.expected, gap.got)))
    }

    #[test]
    fn a_planted_hole_in_a_stream_is_found() {
        assert_eq!(stream(&[(11, 5), (13, 6), (20, 7)]), (3, None));
        assert_eq!(stream(&[(11, 5), (13, 7)]), (1, Some((6, 7))));
        assert_eq!(stream(&[(11, 6)]), (0, Some((5, 6))));
        assert_eq!(stream(&[(11, 5), (11, 6)]), (1, Some((12, 11))));
        assert_eq!(stream(&[(10, 5)]), (0, Some((11, 10))));
    }

    #[test]
    fn a_planted_hole_over_all_streams_is_found() {
        let whole = [result("a", 4, 1), result("b", 5, 9), result("a", 6, 2)];
        assert_eq!(contiguous_prefix_of_all(&whole, Position(3)), (3, None));
        let hole = |results: &[ReleasedResult]| {
            let (whole, gap) = contiguous_prefix_of_all(results, Position(3));
            (whole, gap.map(|gap| (gap.stream.to_string(), gap.expected, gap.got)))
        };
        let got = hole(&[result("a", 4, 1), result("b", 6, 9)]);
        assert_eq!(got, (1, Some(("b".to_owned(), 5, 6))));
        let got = hole(&[result("a", 4, 1), result("a", 5, 3)]);
        assert_eq!(got, (1, Some(("a".to_owned(), 2, 3))));
        assert_eq!(hole(&[result("a", 5, 1)]).0, 0);
    }
}
