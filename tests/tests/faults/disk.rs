//! Power cuts and hung disks (F-10, F-15, F-24 to F-26, F-29), on an `ext4` in a file.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;
use tests::harness::{Client, Setup, now, soon, spawn, until};

use crate::{PASSING, check, send, system, tidy};

/// A disk in a file.
struct LoopDisk {
    folder: TempDir,
}

impl LoopDisk {
    fn new() -> Self {
        let disk = Self { folder: tempfile::tempdir().expect("a folder") };
        let (file, place) = (disk.file(), disk.place());
        system(&format!("truncate -s 64M {file} && mkfs.ext4 -q -F {file} && mkdir {place}"));
        disk.mount();
        disk
    }

    fn file(&self) -> String {
        self.folder.path().join("disk").display().to_string()
    }

    fn place(&self) -> String {
        self.folder.path().join("mounted").display().to_string()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("mounted/data")
    }

    fn mount(&self) {
        system(&format!("mount -o loop {} {}", self.file(), self.place()));
    }

    /// What was not synced is gone: the file system shuts down without writing anything more
    /// (`EXT4_IOC_SHUTDOWN` without a flush of its log).
    fn cut_power(&self) {
        let place = self.place();
        system(&format!(
            "python3 -c \"import fcntl,os,struct; fcntl.ioctl(os.open('{place}', os.O_RDONLY), \
             0x8004587d, struct.pack('I', 2))\""
        ));
    }

    fn mount_again(&self) {
        system(&format!("umount {}", self.place()));
        self.mount();
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let place = self.place();
        tidy(&format!("fsfreeze -u {place}; umount -l {place}"));
    }
}

/// F-10, F-26, F-29: the power fails at any moment, also right after a start.
#[tokio::test]
#[ignore = "needs root, loop devices and python3"]
async fn power_cuts_lose_nothing_that_was_acknowledged() {
    let disk = LoopDisk::new();
    let setup = Setup::new(format!("{PASSING}[journal]\nsegment_bytes = \"64 KiB\"\n"));
    let setup = setup.with_data(&disk.data());
    let mut dice = fastrand::Rng::with_seed(5);
    let mut acknowledged = 0;
    for cycle in 0..25 {
        let supervisor = check(&setup, acknowledged).await;
        let sender = spawn(produce(supervisor.client(), acknowledged));
        let wait = if cycle % 5 == 4 { dice.u64(0..20) } else { dice.u64(50..500) };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        disk.cut_power();
        supervisor.kill().await;
        sender.await.unwrap();
        acknowledged = NUMBER.load(std::sync::atomic::Ordering::SeqCst);
        disk.mount_again();
    }
    assert!(acknowledged > 200, "there was some load: {acknowledged}");
    check(&setup, acknowledged).await.kill().await;
}

/// Sends one message after the other until the supervisor is gone.
async fn produce(client: Client, from: u64) {
    for number in from.. {
        let key = format!("key-{number}");
        let headers = [("idempotency-key", &*key)];
        let path = "/v1/streams/orders/messages";
        let body = number.to_string();
        let called = client.try_call(http::Method::POST, path, &headers, body);
        let Ok(answer) = soon(called).await else { return };
        if answer.status != 202 {
            return;
        }
        assert_eq!(answer.json()["sequence"], number + 1);
        NUMBER.store(number + 1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// How many messages were acknowledged.
static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// F-15: the disk hangs for three seconds.
#[tokio::test]
#[ignore = "needs root and loop devices"]
async fn a_hung_disk_holds_up_what_needs_it_and_nothing_else() {
    let disk = LoopDisk::new();
    let setup = Setup::new(PASSING).with_data(&disk.data());
    let supervisor = setup.start().await;
    assert_eq!(send(&supervisor, 0, 20).await, 20);
    system(&format!("fsfreeze -f {}", disk.place()));
    let client = supervisor.client();
    let waiting = spawn(async move { client.message("orders", &[], "20").await.status });
    let begun = now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(supervisor.get("/livez").await.status, 200);
        assert_eq!(supervisor.get("/v1/status").await.status, 200);
        assert_eq!(supervisor.results("orders").await.len(), 20);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!waiting.is_finished(), "nothing is acknowledged that is not stored");
    system(&format!("fsfreeze -u {}", disk.place()));
    assert_eq!(waiting.await.unwrap(), 202);
    supervisor.until_released("orders", 21).await;
    supervisor.kill().await;
    check(&setup, 21).await.kill().await;
}

/// F-24: no descriptor is left when the journal needs another file.
#[tokio::test]
#[ignore = "needs prlimit"]
async fn a_journal_that_can_open_no_further_file_loses_nothing() {
    let setup = Setup::new(format!("{PASSING}[journal]\nsegment_bytes = \"64 KiB\"\n"));
    let supervisor = setup.start().await;
    assert_eq!(send(&supervisor, 0, 5).await, 5);
    let id = supervisor.process().id();
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    system(&format!("prlimit --pid {id} --nofile={open}:4096"));
    let taken = send(&supervisor, 5, 2_000).await;
    println!("{taken} of 2000 were taken without another descriptor");
    system(&format!("prlimit --pid {id} --nofile=4096:4096 || true"));
    supervisor.kill().await;
    let supervisor = check(&setup, taken).await;
    assert_eq!(send(&supervisor, taken, taken + 100).await, taken + 100);
}

/// F-25: the folder can't be written to.
#[tokio::test]
#[ignore = "needs root"]
async fn a_folder_that_can_not_be_written_to_is_named() {
    let disk = LoopDisk::new();
    let setup = Setup::new(PASSING).with_data(&disk.data());
    let supervisor = setup.start().await;
    assert_eq!(send(&supervisor, 0, 5).await, 5);
    supervisor.kill().await;
    system(&format!("mount -o remount,ro {}", disk.place()));
    let ended = setup.fail().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("mounted/data"), "{}", ended.stderr);
    system(&format!("mount -o remount,rw {}", disk.place()));
    until("it is there", || async { disk.data().exists() }).await;
    check(&setup, 5).await.kill().await;
}
