//! The listeners: bound first, so that an address that is taken stops the start before anything is
//! done, and served last.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use rollcall_common::{
    http::Site,
    net::{Listener, Network},
    shutdown::Shutdown,
    task,
    tls::Acceptor,
};

use super::AppError;
use crate::{
    access::Access,
    config::{Config, Tcp},
    ingress::{
        AddressLimiter, Answers, Authorizer, Intake,
        listener::{self, Front},
        tcp::{self, Feed},
    },
};

/// Where it listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For messages and workers; for all, unless there is another one for people.
    pub main: SocketAddr,
    /// For people and readers, if that is another one.
    pub admin: Option<SocketAddr>,
    /// For messages over plain connections, in the order of the configuration.
    pub tcp: Vec<SocketAddr>,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// Listeners that do not answer yet.
pub(super) struct Bound {
    main: Listener,
    admin: Option<Listener>,
    tcp: Vec<(Listener, Tcp)>,
    tls: Option<Acceptor>,
    per_address: Option<u32>,
    site: Arc<Site>,
    pub(super) addresses: Addresses,
}

impl Bound {
    pub(super) async fn new(config: &Config, network: &Network) -> Result<Self, AppError> {
        let server = &config.server;
        let (main, main_at) = bind(network, server.listen).await?;
        let (mut admin, mut admin_at) = (None, None);
        if let Some(listen) = server.admin_listen {
            let (listener, at) = bind(network, listen).await?;
            (admin, admin_at) = (Some(listener), Some(at));
        }
        let (mut tcp, mut tcp_at) = (Vec::new(), Vec::new());
        for feed in &config.tcp {
            let (listener, at) = bind(network, feed.listen).await?;
            tcp.push((listener, feed.clone()));
            tcp_at.push(at);
        }
        let tls = server.tls.as_ref().map(|tls| Acceptor::new(Arc::clone(&tls.made)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let addresses = Addresses { main: main_at, admin: admin_at, tcp: tcp_at, scheme };
        let per_address = config.limits.connections_per_address;
        let site = Arc::new(server.site());
        Ok(Self { main, admin, tcp, tls, per_address, site, addresses })
    }

    /// What takes TLS connections, to be given new certificates.
    pub(super) fn tls(&self) -> Option<Acceptor> {
        self.tls.clone()
    }

    /// Answers from now on.
    pub(super) fn serve(
        self,
        router: &Router,
        access: &Arc<Access>,
        intake: &Arc<Intake>,
        shutdown: &Shutdown,
    ) {
        let front = |answers| Front {
            intake: Some(Arc::clone(intake)),
            router: router.clone(),
            gate: Authorizer { access: Arc::clone(access), answers, site: Arc::clone(&self.site) },
            tls: self.tls.clone(),
            per_address: AddressLimiter::new(self.per_address),
            heads: Front::heads(),
        };
        let main = if self.admin.is_some() { Answers::Data } else { Answers::All };
        task::spawn("listener", listener::serve(self.main, front(main), shutdown.clone()));
        if let Some(admin) = self.admin {
            let front = front(Answers::All);
            task::spawn("admin-listener", listener::serve(admin, front, shutdown.clone()));
        }
        for (listener, Tcp { stream, framing, content_type, .. }) in self.tcp {
            let intake = Arc::clone(intake);
            let per_address = AddressLimiter::new(self.per_address);
            let content_type = content_type.into();
            let feed = Feed { intake, stream, framing, content_type, per_address };
            task::spawn("tcp-listener", tcp::serve(listener, feed, shutdown.clone()));
        }
    }
}

async fn bind(network: &Network, address: SocketAddr) -> Result<(Listener, SocketAddr), AppError> {
    let failed = |error| AppError::Bind(address, error);
    let listener = network.listen(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
