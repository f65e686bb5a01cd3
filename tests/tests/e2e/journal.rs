//! The journal on a real disk: damage, a torn end, two supervisors, no room (faults B: F-13,
//! F-17, F-19; A: F-08).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tests::{
    harness::{Client, Setup, checker::check_deliveries, until},
    peers::{Destination, FakeWorker},
};

use crate::urls;

/// The journal's files, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "seg") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A folder whose journal holds 300 messages of 1 KiB.
async fn filled(config: &str) -> Setup {
    let setup = Setup::new(format!("[streams.\"*\"]\npool = \"none\"\n{config}"));
    let supervisor = setup.start().await;
    for number in 0..300 {
        supervisor.send("orders", format!("{number:.>1024}")).await;
    }
    supervisor.until_released("orders", 300).await;
    supervisor.kill().await;
    setup
}

fn last_written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty")
}

#[tokio::test]
async fn a_flipped_bit_in_the_middle_is_never_passed_over() {
    let setup = filled("").await;
    let file = segments(setup.data()).remove(0);
    let whole = fs::read(&file).unwrap();
    let end = last_written(&whole);
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..12 {
        let at = rng.usize(64..end / 2);
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << rng.u32(0..8);
        fs::write(&file, &damaged).unwrap();
        let ended = setup.fail().await;
        assert_eq!(ended.code, Some(1), "byte {at}: {}", ended.stderr);
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(ended.stderr.contains(name), "byte {at}: {}", ended.stderr);
        assert!(ended.stderr.contains("at offset "), "byte {at}: {}", ended.stderr);
        assert_eq!(fs::read(&file).unwrap(), damaged, "byte {at}: it was left as it is");
    }
    fs::write(&file, &whole).unwrap();
    let supervisor = setup.start().await;
    assert_eq!(supervisor.results("orders").await.len(), 300);
}

#[tokio::test]
async fn a_file_that_is_missing_in_the_middle_is_never_passed_over() {
    let setup = filled("[journal]\nsegment_bytes = \"64 KiB\"\n").await;
    let files = segments(setup.data());
    assert!(files.len() >= 3, "{files:?}");
    let aside = setup.folder().join("aside");
    for file in &files[..files.len() - 1] {
        fs::rename(file, &aside).unwrap();
        let ended = setup.fail().await;
        assert_eq!(ended.code, Some(1), "{file:?}: {}", ended.stderr);
        fs::rename(&aside, file).unwrap();
    }
    fs::rename(&files[0], &aside).unwrap();
    fs::rename(&files[1], &files[0]).unwrap();
    fs::rename(&aside, &files[1]).unwrap();
    assert_eq!(setup.fail().await.code, Some(1), "two were swapped");
}

#[tokio::test]
async fn a_torn_end_is_cut_and_the_rest_is_there() {
    let setup = filled("").await;
    let file = segments(setup.data()).pop().unwrap();
    for cut in [1, 3, 20] {
        let mut bytes = fs::read(&file).unwrap();
        let end = last_written(&bytes);
        bytes[end + 1 - cut..].fill(0);
        fs::write(&file, &bytes).unwrap();
        let supervisor = setup.start().await;
        until("it says so", || async { supervisor.process().log().contains("tail cut") }).await;
        let results = supervisor.results("orders").await;
        assert!(results.len() >= 299, "{} are left", results.len());
        supervisor.kill().await;
    }
    // Garbage after the end, as a disk may leave it.
    let mut bytes = fs::read(&file).unwrap();
    let end = last_written(&bytes) + 8;
    bytes.resize(bytes.len().max(end + 100), 0);
    bytes[end..end + 100].fill(0xa5);
    fs::write(&file, &bytes).unwrap();
    let supervisor = setup.start().await;
    let before = supervisor.json("/v1/streams/orders").await["next_sequence"].as_u64().unwrap();
    assert_eq!(supervisor.send("orders", "goes on").await, before);
}

#[tokio::test]
async fn a_second_supervisor_on_the_same_files_is_refused() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    let second = setup.fail().await;
    assert_eq!(second.code, Some(1));
    let said = second.stderr.to_lowercase();
    assert!(["use", "lock", "another"].iter().any(|word| said.contains(word)), "{said}");
    supervisor.send("orders", "the first is not disturbed").await;
}

#[tokio::test]
async fn files_of_something_else_are_refused() {
    let setup = Setup::new("");
    fs::write(setup.data(), "a file where a folder should be").unwrap();
    let ended = setup.fail().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

/// A small disk of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` when this user may not mount anything.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn send_until_refused(client: &Client, stream: &str) -> (u64, tests::harness::Answer) {
    let mut taken = 0;
    loop {
        let answer = client.message(stream, &[], vec![b'x'; 20_000]).await;
        if answer.status != 202 {
            return (taken, answer);
        }
        taken += 1;
        assert!(taken < 1000, "the disk is never full");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_intake_and_nothing_else_and_intake_resumes_by_itself() {
    let Some(disk) = SmallDisk::mount("8m") else {
        eprintln!("skipped: only root can mount a small disk");
        return;
    };
    let destination = Destination::start().await;
    let setup = Setup::new(format!(
        "[journal]\nsegment_bytes = \"256 KiB\"\nreserve_bytes = \"2 MiB\"\n\
         [subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\n",
        destination.url()
    ))
    .with_data(&disk.path().join("data"));
    let supervisor = setup.start().await;
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let (taken, refused) = send_until_refused(&supervisor, "orders").await;
    let _ = refused.problem(507);
    assert_ne!(refused.header("retry-after"), "");
    assert!(taken > 20, "{taken}");
    let _ = supervisor.lines("orders", [serde_json::json!(1)]).await.problem(507);
    assert_eq!(supervisor.json("/v1/status").await["journal_space"], "low");
    let doctor = setup.run(&["doctor", "--url", supervisor.url()]).await;
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("!! intake") && doctor.stdout.contains("(507)"), "{doctor:?}");
    // What was taken in is worked on and delivered, from the reserve.
    let worker = FakeWorker::start(|_| tests::peers::Act::ok("small")).await;
    setup.configure(format!(
        "{}[pools.default]\nworkers = {}\n",
        fs::read_to_string(setup.config()).unwrap(),
        urls([&worker])
    ));
    supervisor.process().signal(tests::harness::Signal::HUP);
    supervisor.until_released("orders", taken).await;
    until("all delivered", || async { destination.taken("orders").len() as u64 == taken }).await;
    check_deliveries(&destination.deliveries());
    fs::remove_file(&ballast).unwrap();
    until("intake resumes", || async {
        supervisor.message("orders", &[], "again").await.status == 202
    })
    .await;
    supervisor.until_released("orders", taken + 1).await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    assert_eq!(supervisor.results("orders").await.len() as u64, taken + 1);
}
