//! Ways along the rows: from a stream's newest one back to a sequence, and over the positions.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use rollcall_common::ids::{Position, Sequence, StreamId};

use super::{
    row::Row,
    rows::{Block, Recent, Rows},
};
use crate::record::SequenceRange;

/// Rows that a scan looks at together.
const SCAN_ROWS: usize = 4096;

/// The released results of a stream that were asked for.
#[derive(Debug)]
pub(super) enum Seek {
    /// Here they are, with their positions, in order.
    Found(VecDeque<(Position, Recent)>),
    /// Some of them are no longer kept; this is the first that is.
    Gone(Sequence),
}

/// The position of a released sequence, from the newest one and its position; `None`: it is no
/// longer kept.
pub(super) fn find(
    rows: &Rows,
    newest: (Sequence, Position),
    sequence: Sequence,
) -> io::Result<Option<Position>> {
    let get = |position, block: &mut Block| rows.get(position, block);
    let found = descend(get, rows.floor(), newest, sequence)?;
    Ok(found.filter(|(_, recent)| recent.row.sequence == sequence).map(|(position, _)| position))
}

/// The row of a released sequence; `None`: it is no longer kept.
pub(super) fn row(
    rows: &Rows,
    newest: (Sequence, Position),
    sequence: Sequence,
) -> io::Result<Option<Row>> {
    let get = |position, block: &mut Block| rows.get(position, block);
    let found = descend(get, rows.floor(), newest, sequence)?;
    Ok(found.map(|(_, recent)| recent.row).filter(|row| row.sequence == sequence))
}

/// The first sequence of a stream that is released and kept.
pub(super) fn first(rows: &Rows, newest: (Sequence, Position)) -> io::Result<Option<Sequence>> {
    let get = |position, block: &mut Block| rows.get(position, block);
    let found = descend(get, rows.floor(), newest, Sequence::FIRST)?;
    Ok(found.map(|(_, recent)| recent.row.sequence))
}

/// The results of a stream after `after`, at most `limit`.
pub(super) fn along(
    rows: &Rows,
    newest: (Sequence, Position),
    after: Sequence,
    limit: usize,
) -> io::Result<Seek> {
    let get = |position, block: &mut Block| rows.get(position, block);
    chain(get, rows.floor(), newest, (after, limit))
}

/// The same from memory alone; `None` when that is not enough.
pub(super) fn along_recent(
    rows: &Rows,
    newest: (Sequence, Position),
    after: Sequence,
    limit: usize,
) -> Option<VecDeque<(Position, Recent)>> {
    let get = |position, _: &mut Block| match rows.get_recent(position) {
        Some(recent) => Ok(Some(recent)),
        None => Err(io::ErrorKind::WouldBlock.into()),
    };
    match chain(get, rows.floor(), newest, (after, limit)) {
        Ok(Seek::Found(found)) => Some(found),
        Ok(Seek::Gone(_)) | Err(_) => None,
    }
}

fn chain(
    get: impl Fn(Position, &mut Block) -> io::Result<Option<Recent>>,
    floor: Position,
    newest: (Sequence, Position),
    (after, limit): (Sequence, usize),
) -> io::Result<Seek> {
    if after >= newest.0 || limit == 0 {
        return Ok(Seek::Found(VecDeque::new()));
    }
    let span = u64::try_from(limit).unwrap_or(u64::MAX);
    let target = Sequence(after.0.saturating_add(span).min(newest.0.0));
    let Some(mut at) = descend(&get, floor, newest, target)? else {
        return Ok(Seek::Gone(newest.0.next()));
    };
    if at.1.row.sequence > target {
        return Ok(Seek::Gone(at.1.row.sequence));
    }
    let mut found = VecDeque::new();
    let mut block = Block::default();
    loop {
        let (sequence, previous) = (at.1.row.sequence, at.1.row.previous);
        found.push_front(at);
        if sequence == after.next() {
            return Ok(Seek::Found(found));
        }
        let before = if previous > floor { get(previous, &mut block)? } else { None };
        let Some(before) = before else {
            return Ok(Seek::Gone(sequence));
        };
        at = (previous, before);
    }
}

/// The first row of a stream that is kept and whose sequence is not before `target`.
fn descend(
    get: impl Fn(Position, &mut Block) -> io::Result<Option<Recent>>,
    floor: Position,
    (_, newest): (Sequence, Position),
    target: Sequence,
) -> io::Result<Option<(Position, Recent)>> {
    let mut block = Block::default();
    let Some(recent) = (if newest > floor { get(newest, &mut block)? } else { None }) else {
        return Ok(None);
    };
    let mut at = (newest, recent);
    loop {
        let row = at.1.row;
        let next = if row.leap > floor && row.leap_sequence() >= target {
            row.leap
        } else if row.previous > floor && row.sequence > target {
            row.previous
        } else {
            return Ok(Some(at));
        };
        match get(next, &mut block)? {
            Some(recent) => at = (next, recent),
            None => return Ok(Some(at)),
        }
    }
}

/// What was released after `after`, by stream, for the streams that `wants` says; and the last
/// position looked at. At most `limit` are.
pub(super) fn scan(
    rows: &Rows,
    after: Position,
    limit: usize,
    wants: impl Fn(StreamId) -> bool,
) -> io::Result<(Position, Vec<SequenceRange>)> {
    let mut runs: BTreeMap<StreamId, Option<SequenceRange>> = BTreeMap::new();
    let mut to = after.max(rows.floor());
    let end = Position(to.0.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX)));
    while to < end {
        let left = usize::try_from(end.0 - to.0).unwrap_or(usize::MAX);
        let found = rows.range(to, left.min(SCAN_ROWS))?;
        // Rows are read from the floor on, wherever it is by then: these may be others than those
        // behind `to`, and their runs do not go on those that were found before.
        let floor = rows.floor();
        if floor > to {
            if runs.values().any(Option::is_some) {
                break;
            }
            to = floor;
            continue;
        }
        if found.is_empty() {
            break;
        }
        for Recent { row, .. } in found {
            to = to.next();
            let (stream, first, position) = (row.stream, row.sequence, to);
            let fresh =
                || wants(stream).then_some(SequenceRange { stream, first, position, last: first });
            if let Some(run) = runs.entry(stream).or_insert_with(fresh) {
                run.last = row.sequence;
            }
        }
    }
    Ok((to, runs.into_values().flatten().collect()))
}
