//! A wall clock that jumps (F-72), by `faketime`.

use tests::harness::Setup;

use crate::{PASSING, check, send};

#[tokio::test]
#[ignore = "needs faketime"]
async fn a_clock_that_jumps_neither_disorders_nor_removes_anything() {
    let setup =
        Setup::new(format!("{PASSING}retention = \"1h\"\n[journal]\nsegment_bytes = \"64 KiB\"\n"));
    let mut sent = 0;
    for when in ["+0", "+1h", "-1h", "@1970-02-01 00:00:00", "@2100-01-01 00:00:00", "+0"] {
        // The program `faketime` would stay between us and the supervisor; its library does not.
        let time = format!("FAKETIME={when}");
        let monotonic = "FAKETIME_DONT_FAKE_MONOTONIC=1";
        let library = "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
        let supervisor = setup.start_under(&["env", library, &time, monotonic]).await;
        assert_eq!(send(&supervisor, sent, sent + 50).await, sent + 50, "at {when}");
        sent += 50;
        supervisor.until_released("orders", sent).await;
        assert_eq!(supervisor.results("orders").await.len() as u64, sent, "at {when}");
        supervisor.kill().await;
    }
    check(&setup, sent).await.kill().await;
}
