//! Standard output: a thread may wait for its reader, and the rest goes on.

use std::io::{self, Write as _};

use tokio::{sync::mpsc, task::JoinHandle};

/// Blocks that may wait to be written.
const BLOCKS: usize = 2;

/// Writes to standard output.
#[derive(Debug)]
pub(super) struct Writer {
    blocks: mpsc::Sender<Vec<u8>>,
    ended: JoinHandle<io::Result<()>>,
}

/// Nothing more can be written; [`Writer::finish`] says why.
#[derive(Debug)]
pub(super) struct Ended;

impl Writer {
    pub(super) fn start() -> Self {
        let (blocks, mut waiting) = mpsc::channel::<Vec<u8>>(BLOCKS);
        let ended = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            while let Some(block) = waiting.blocking_recv() {
                stdout.write_all(&block)?;
                stdout.flush()?;
            }
            Ok(())
        });
        Self { blocks, ended }
    }

    /// Hands a block over.
    pub(super) async fn write(&self, block: Vec<u8>) -> Result<(), Ended> {
        self.blocks.send(block).await.map_err(|_| Ended)
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> io::Result<()> {
        drop(self.blocks);
        self.ended.await?
    }
}
