//! A destination that takes records over a plain connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::harness::spawn;

/// What a sink does with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SinkAct {
    /// It answers with a line.
    Answer,
    /// It closes the connection without a word.
    Close,
    /// It says nothing.
    Silence,
}

/// How records are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Records {
    /// `u32` big-endian and so many bytes.
    Length,
    /// Lines.
    Lines,
}

type Mode = Arc<dyn Fn(usize, &[u8]) -> SinkAct + Send + Sync>;
type Taken = Arc<Mutex<Vec<(usize, Vec<u8>)>>>;

/// A sink.
pub struct Sink {
    address: SocketAddr,
    records: Taken,
}

impl Sink {
    /// A sink that does with each record, given its number from 0, what `mode` says.
    pub async fn start(
        framing: Records,
        mode: impl Fn(usize, &[u8]) -> SinkAct + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let records = Taken::default();
        let (taken, mode): (Taken, Mode) = (Arc::clone(&records), Arc::new(mode));
        spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (taken, mode) = (Arc::clone(&taken), Arc::clone(&mode));
                spawn(async move {
                    // A broken connection is its end.
                    let _ = serve(stream, framing, (connection, taken), mode).await;
                });
            }
        });
        Self { address, records }
    }

    /// Its place, `host:port`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came, in order, each with the number of its connection.
    #[must_use]
    pub fn records(&self) -> Vec<(usize, String)> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        records.iter().map(|(connection, bytes)| (*connection, text(bytes))).collect()
    }
}

async fn serve(
    stream: TcpStream,
    framing: Records,
    (connection, taken): (usize, Taken),
    mode: Mode,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut record = Vec::new();
        match framing {
            Records::Length => {
                record.resize(stream.read_u32().await? as usize, 0);
                stream.read_exact(&mut record).await?;
            }
            Records::Lines => {
                if stream.read_until(b'\n', &mut record).await? == 0 {
                    return Ok(());
                }
                record.pop();
            }
        }
        let act = {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            let act = mode(taken.len(), &record);
            taken.push((connection, record));
            act
        };
        match act {
            SinkAct::Answer => stream.write_all(b"ok\n").await?,
            SinkAct::Close => return Ok(()),
            SinkAct::Silence => {}
        }
    }
}
