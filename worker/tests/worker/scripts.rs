//! The examples in other languages, over one connection that is kept alive.

use http::Request;
use http_body_util::Full;
use rollcall_common::http::Peer;

use crate::harness::{Process, header, soon};

async fn works(interpreter: &str, script: &str) {
    let script = format!("{}/examples/{script}", env!("CARGO_MANIFEST_DIR"));
    let worker = Process::start(interpreter, &[&script, "0"]).await;
    let peer = Peer::new(worker.url.parse().unwrap(), None);
    let call = |body: &'static str| {
        let request = Request::post("/").header("rollcall-sequence", "7");
        soon(peer.send(request.body(Full::from(body)).unwrap(), 1000))
    };
    for _ in 0..3 {
        let reply = call("hello").await.unwrap();
        assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"HELLO"[..]));
        assert_eq!(header(&reply, "content-type"), Some("text/plain"));
    }
    let reply = call("").await.unwrap();
    assert_eq!(reply.status.as_u16(), 422);
    assert_eq!(header(&reply, "rollcall-reason"), Some("empty: 7"));
}

#[tokio::test]
async fn the_worker_in_node_works() {
    works("node", "worker.mjs").await;
}

#[tokio::test]
async fn the_worker_in_python_works() {
    works("python3", "worker.py").await;
}
