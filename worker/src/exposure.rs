//! Whether strangers could have a worker run what it runs: nobody asks them who they are.

use std::{io, net::SocketAddr};

use rollcall_common::http::Target;
use tokio::net::lookup_host;

use crate::config::Serve;

/// Why a worker does not begin to listen.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{what} at {address} would serve whoever reaches that address; listen on 127.0.0.1, ask \
     callers for a certificate (--tls-client-ca), give it a token (--token-file), or say \
     --insecure if the network keeps strangers out"
)]
pub(crate) struct Exposed {
    what: &'static str,
    address: SocketAddr,
}

impl Serve {
    /// Refuses to run commands, or to pass on to what only this machine reaches, for everybody.
    ///
    /// # Errors
    /// When it would.
    pub(crate) fn refuse_strangers(&self, addresses: &[SocketAddr]) -> Result<(), Exposed> {
        let security = &self.security;
        let guarded = security.insecure
            || security.token.is_some()
            || security.token_file.is_some()
            || security.tls_client_ca.is_some();
        let is_inside = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        let outside = addresses.iter().find(|address| !is_inside(address));
        match (self.what_is_run(), outside) {
            (Some(what), Some(address)) if !guarded => Err(Exposed { what, address: *address }),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// The addresses that it is to listen at.
    ///
    /// # Errors
    /// When the host's name leads nowhere.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host(&self.listen).await?.collect())
    }

    fn what_is_run(&self) -> Option<&'static str> {
        let work = &self.work;
        if work.exec {
            Some("--exec")
        } else if work.exec_stream {
            Some("--exec-stream")
        } else {
            work.proxy.as_ref().filter(|target| is_here(target)).map(|_| "--proxy")
        }
    }
}

/// Whether a URL leads to this machine by what is written there.
fn is_here(target: &Target) -> bool {
    let host = target.host().to_ascii_lowercase();
    let named = host == "localhost" || host.ends_with(".localhost");
    named || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::config::{Command, CommandLine};

    fn refused(arguments: &str, listen: &str) -> bool {
        let line = format!("worker serve --listen {listen} {arguments}");
        let line = CommandLine::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Serve(serve) = line.command;
        serve.refuse_strangers(&[listen.parse().unwrap()]).is_err()
    }

    #[test]
    fn strangers_have_nothing_run() {
        for (arguments, open) in [
            ("--exec -- cat", true),
            ("--exec-stream -- cat", true),
            ("--proxy http://127.0.0.1:80", true),
            ("--proxy http://LOCALHOST:80", true),
            ("--proxy http://[::1]:80", true),
            ("--proxy http://10.0.0.7:80", false),
            ("--builtin echo", false),
            ("--insecure --exec -- cat", false),
            ("--token a --exec -- cat", false),
            ("--token-file a --exec -- cat", false),
            ("--tls-cert a --tls-key a --exec -- cat", true),
            ("--tls-cert a --tls-key a --tls-client-ca a --exec -- cat", false),
        ] {
            for listen in ["0.0.0.0:9000", "[::]:9000", "10.0.0.5:9000", "[::ffff:10.0.0.5]:9000"] {
                assert_eq!(refused(arguments, listen), open, "{arguments} {listen}");
            }
            for listen in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
                assert!(!refused(arguments, listen), "{arguments} {listen}");
            }
        }
    }
}
