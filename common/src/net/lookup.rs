//! Names of hosts to addresses. The system's own way of looking one up takes a thread for as long
//! as the name server takes to answer, and can't be called off. So whoever asks for a name that is
//! being looked up waits for that answer, and there is a bound for all: a name server that says
//! nothing keeps some threads, however often its names are asked for, and nobody else's.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::limits::{HOST_ADDRESSES, LOOKUPS};

/// What came of it, once that is known.
type Answer = Option<Result<Arc<[IpAddr]>, Arc<io::Error>>>;

/// The names that are being looked up.
#[derive(Debug, Default)]
pub(super) struct Lookups(Mutex<BTreeMap<Box<str>, watch::Receiver<Answer>>>);

/// Those of the process: threads are the process's.
pub(super) static OF_PROCESS: Lookups = Lookups(Mutex::new(BTreeMap::new()));

impl Lookups {
    /// The addresses of a host, each with this port, as the system knows them.
    ///
    /// # Errors
    /// When its name leads nowhere, or too many names are being looked up.
    pub(super) async fn find(&'static self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let addresses = self.ask(host, system).await?;
        Ok(addresses.iter().map(|address| SocketAddr::new(*address, port)).collect())
    }

    async fn ask(
        &'static self,
        host: &str,
        resolve: impl FnOnce(&str) -> io::Result<Vec<IpAddr>> + Send + 'static,
    ) -> io::Result<Arc<[IpAddr]>> {
        let mut answer = self.join(host, resolve)?;
        let answered = answer.wait_for(Option::is_some).await;
        match answered.ok().and_then(|answer| answer.clone()) {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Err(io::Error::other("the lookup was given up")),
        }
    }

    /// Waits for what is under way, or begins.
    fn join(
        &'static self,
        host: &str,
        resolve: impl FnOnce(&str) -> io::Result<Vec<IpAddr>> + Send + 'static,
    ) -> io::Result<watch::Receiver<Answer>> {
        let mut out = self.lock();
        // One whose thread never began is over without an answer.
        out.retain(|_, answer| answer.has_changed().is_ok());
        if let Some(answer) = out.get(host) {
            return Ok(answer.clone());
        }
        if out.len() >= LOOKUPS {
            let text = format!("{LOOKUPS} names are being looked up already");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        let (sender, answer) = watch::channel(None);
        out.insert(host.into(), answer.clone());
        drop(out);
        let name: Box<str> = host.into();
        tokio::task::spawn_blocking(move || {
            let found = resolve(&name).map(Into::into).map_err(Arc::new);
            self.lock().remove(&name);
            // Err: nobody waits for it any more.
            let _ = sender.send(Some(found));
        });
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, watch::Receiver<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs()?.map(|address| address.ip()) {
        if all.len() < HOST_ADDRESSES && !all.contains(&address) {
            all.push(address);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_name_server_that_says_nothing_keeps_a_thread_for_each_name_at_most() {
        static ASKED: Lookups = Lookups(Mutex::new(BTreeMap::new()));
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let hang = |_: &str| {
            let gate = Arc::clone(&gate);
            move |_: &str| {
                COUNT.fetch_add(1, Ordering::Relaxed);
                // Err: the test is over.
                let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
                Ok(vec![IpAddr::from([10, 0, 0, 1])])
            }
        };
        let soon = Duration::from_millis(1);
        for number in 0..LOOKUPS {
            for _ in 0..3 {
                let host = format!("h{number}.example");
                assert!(timeout(soon, ASKED.ask(&host, hang(&host))).await.is_err());
            }
        }
        let error = ASKED.ask("one more", hang("")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let mut waiting = pin!(ASKED.ask("h0.example", hang("")));
        // Asked once before the answer is there, so that it joins the lookup under way.
        assert!(timeout(soon, waiting.as_mut()).await.is_err());
        drop(open);
        assert_eq!(*waiting.await.unwrap(), [IpAddr::from([10, 0, 0, 1])]);
        while ASKED.lock().len() == LOOKUPS {
            tokio::task::yield_now().await;
        }
        let found = ASKED.ask("one more", |_| Err(io::ErrorKind::NotFound.into())).await;
        assert_eq!(found.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(COUNT.load(Ordering::Relaxed) <= LOOKUPS);
    }

    #[tokio::test]
    async fn an_address_is_asked_of_nobody() {
        for host in ["127.0.0.1", "::1"] {
            let found = OF_PROCESS.find(host, 7).await.unwrap();
            assert_eq!(found, [SocketAddr::new(host.parse().unwrap(), 7)]);
        }
        assert!(!OF_PROCESS.find("localhost", 7).await.unwrap().is_empty());
    }
}
