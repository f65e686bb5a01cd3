//! Which stream has a name. There are the streams' numbers alone, in the order of their names, in
//! leaves of some each so that a new one moves few; the names are with the streams. There may be a
//! million of them.

use rollcall_common::{chunked::Chunked, ids::StreamId};

use super::{state::index, stream::Stream};

/// Most streams of a leaf.
const LEAF: usize = 256;

/// The streams in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Leaf>);

/// Some streams in the order of their names; never none.
type Leaf = Vec<StreamId>;

impl Names {
    /// The stream of a name.
    pub(super) fn find(&self, streams: &Chunked<Stream>, name: &str) -> Option<StreamId> {
        let leaf = self.0.get(self.leaf_of(streams, name))?;
        let at = place_of(streams, leaf, name).ok()?;
        leaf.get(at).copied()
    }

    /// Adds one of the streams, whose name no other has.
    pub(super) fn add(&mut self, streams: &Chunked<Stream>, stream: StreamId) {
        let name = name_of(streams, stream);
        let at = self.leaf_of(streams, name);
        let Some(leaf) = self.0.get_mut(at) else {
            return self.0.push(vec![stream]);
        };
        let (Ok(place) | Err(place)) = place_of(streams, leaf, name);
        leaf.insert(place, stream);
        if leaf.len() == LEAF {
            let upper = leaf.split_off(LEAF / 2);
            self.0.insert(at + 1, upper);
        }
    }

    /// The leaf in which a name is, if it is there.
    fn leaf_of(&self, streams: &Chunked<Stream>, name: &str) -> usize {
        let begins = |leaf: &Leaf| leaf.first().is_some_and(|one| name_of(streams, *one) <= name);
        // What is before all is in the first one.
        self.0.get(1..).map_or(0, |later| later.partition_point(begins))
    }
}

/// Where a name is in a leaf, or would be.
fn place_of(streams: &Chunked<Stream>, leaf: &Leaf, name: &str) -> Result<usize, usize> {
    leaf.binary_search_by(|one| name_of(streams, *one).cmp(name))
}

fn name_of(streams: &Chunked<Stream>, stream: StreamId) -> &str {
    streams.get(index(stream)).map_or("", |stream| stream.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::{super::settings::Settings, *};

    #[test]
    fn every_name_has_its_stream() {
        let (settings, mut names, mut streams) =
            (Settings::default(), Names::default(), Chunked::default());
        assert_eq!(names.find(&streams, "a"), None);
        let mut rng = fastrand::Rng::with_seed(7);
        for number in 0..3000 {
            let name = format!("{:x}-{number}", rng.u32(..)).parse().unwrap();
            let treated = settings.stream(&name);
            streams.push(Stream::new(name, treated));
            names.add(&streams, StreamId(number));
        }
        for (number, stream) in (0..).zip(streams.iter()) {
            assert_eq!(names.find(&streams, stream.name.as_str()), Some(StreamId(number)));
        }
        for other in ["-", "7", "~"] {
            assert_eq!(names.find(&streams, other), None);
        }
        let sorted = names.0.concat().is_sorted_by_key(|one| name_of(&streams, *one));
        assert!(sorted && names.0.iter().all(|leaf| (1..LEAF).contains(&leaf.len())));
    }
}
