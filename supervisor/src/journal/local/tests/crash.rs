//! Power cuts, ends of the process and failing syncs at every place: what was acknowledged is
//! there, nothing is torn, numbers have no gaps.

use std::io::ErrorKind;

use fastrand::Rng;

use super::*;

/// What should be on the disk.
#[derive(Default)]
struct Model {
    /// All entries ever given to the log that may still be there, by number less one.
    entries: Vec<(Epoch, Bytes)>,
    /// Entries up to here must be there.
    acknowledged: usize,
    /// Entries before this may be gone.
    trimmed: u64,
    cuts: u64,
    lives: u64,
    full: u64,
}

impl Model {
    fn check(&mut self, log: &Log<SimDisk>, recovered: &Recovered) {
        self.lives += 1;
        self.cuts += u64::from(recovered.cut.is_some());
        let count = usize::try_from(log.next().0 - 1).unwrap();
        assert!(count >= self.acknowledged, "{count} of {}", self.acknowledged);
        assert!(count <= self.entries.len(), "{count} of {}", self.entries.len());
        assert!(log.first().0 <= self.trimmed.max(1));
        assert_eq!(log.durable(), log.next());
        assert_eq!(recovered.entries, log.next().0 - log.first().0);
        let survivors = &self.entries[..count];
        if let Some((latest, _)) = survivors.last() {
            assert!(recovered.next_epoch > *latest);
        }
        let entries = log.read(log.first(), usize::MAX).unwrap();
        let skip = usize::try_from(log.first().0 - 1).unwrap();
        assert_eq!(entries.len(), count - skip);
        for ((entry, (epoch, payload)), number) in
            entries.iter().zip(&survivors[skip..]).zip(log.first().0..)
        {
            assert_eq!(entry.number, EntryNumber(number));
            assert_eq!(entry.epoch, *epoch);
            assert_eq!(entry.payload, *payload, "entry {number}");
        }
        self.entries.truncate(count);
        self.acknowledged = count;
    }

    /// Works until the disk fails.
    fn work(&mut self, log: &mut Log<SimDisk>, epoch: Epoch, rng: &mut Rng) {
        while self.step(log, epoch, rng).is_some() {
            self.acknowledged = usize::try_from(log.durable().0 - 1).unwrap();
        }
        self.acknowledged = usize::try_from(log.durable().0 - 1).unwrap();
    }

    fn step(&mut self, log: &mut Log<SimDisk>, epoch: Epoch, rng: &mut Rng) -> Option<()> {
        match rng.u8(..20) {
            0..8 => {
                let mut group = VecDeque::new();
                for _ in 0..rng.usize(..5) {
                    let payload = self.draw(rng);
                    self.entries.push((epoch, payload.clone()));
                    group.push_back(Unwritten { epoch, payload });
                }
                match log.write_group(&mut group) {
                    Err(WriteError::Full) => {
                        self.entries.truncate(self.entries.len() - group.len());
                        self.full += 1;
                        Some(())
                    }
                    done => done.ok(),
                }
            }
            8..14 => log.sync().ok(),
            14..17 => log.mark().ok(),
            17..19 => log.maintain(if rng.bool() { Load::Idle } else { Load::Busy }).ok(),
            _ => {
                let below = rng.u64(self.trimmed..=self.trimmed.max(log.next().0));
                self.trimmed = self.trimmed.max(below);
                log.trim(EntryNumber(below)).map(|_| ()).ok()
            }
        }
    }

    fn draw(&self, rng: &mut Rng) -> Bytes {
        let size = match rng.u8(..20) {
            0 => 0,
            1..12 => rng.usize(..100),
            12..19 => rng.usize(..3000),
            _ => rng.usize(..40_000),
        };
        let seed = u64::try_from(self.entries.len()).unwrap();
        let mut payload = vec![0; size];
        Rng::with_seed(rng.u64(..) ^ seed).fill(&mut payload);
        payload.into()
    }

    fn live(&mut self, disk: &SimDisk, rng: &mut Rng) {
        match open(disk) {
            Ok((mut log, recovered)) => {
                self.check(&log, &recovered);
                self.work(&mut log, recovered.next_epoch, rng);
            }
            Err(OpenError::Io { source, .. }) if source.kind() != ErrorKind::StorageFull => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn any_seed_keeps_its_promises() {
    let (mut cuts, mut lives, mut full) = (0, 0, 0);
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let disk = SimDisk::new();
        let mut model = Model::default();
        for _ in 0..8 {
            if rng.u8(..4) == 0 {
                disk.fail_sync(rng.u64(1..20));
            }
            if rng.u8(..8) == 0 {
                disk.fail_write(rng.u64(1..40));
            }
            let size = disk.used_bytes();
            let limited = size > 0 && rng.u8(..4) == 0;
            disk.set_capacity(limited.then(|| size + rng.u64(..20_000)));
            disk.power_off_after(rng.u64(..120));
            model.live(&disk, &mut rng);
            if rng.u8(..4) == 0 {
                disk.restart();
            } else {
                disk.crash(&mut rng);
            }
        }
        disk.set_capacity(None);
        let (log, recovered) = open(&disk).unwrap();
        model.check(&log, &recovered);
        cuts += model.cuts;
        lives += model.lives;
        full += model.full;
    }
    assert!(lives > 2000, "{lives} lives");
    assert!(full > 200, "{full} times full");
    assert!(cuts > 200, "{cuts} torn ends");
}

#[test]
fn a_crash_after_every_call_keeps_the_promises() {
    let mut rng = Rng::with_seed(11);
    for calls in 0..300 {
        for draw in 0..3 {
            let disk = SimDisk::new();
            let mut model = Model::default();
            let mut work = Rng::with_seed(5);
            disk.power_off_after(calls);
            model.live(&disk, &mut work);
            disk.crash(&mut rng);
            // The power fails again while the log is being mended.
            disk.power_off_after(draw * 2);
            model.live(&disk, &mut work);
            disk.crash(&mut rng);
            let (log, recovered) = open(&disk).unwrap();
            model.check(&log, &recovered);
        }
    }
}

#[test]
fn the_same_seed_leaves_the_same_disk() {
    let run = |seed| {
        let mut rng = Rng::with_seed(seed);
        let disk = SimDisk::new();
        disk.power_off_after(150);
        Model::default().live(&disk, &mut rng);
        disk.crash(&mut rng);
        (1..9).map(|number| disk.content(&format!("{number:08}.seg"))).collect::<Vec<_>>()
    };
    assert_eq!(run(8), run(8));
    assert_ne!(run(8), run(9));
}
