//! The ports of the service. They are taken before the stores are opened: who is started a second time by mistake ends
//! there, before it takes the place of the one that works. They answer once all is put together.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpSocket};

use crate::config::Config;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A port that is taken and doesn't answer yet.
pub(crate) struct Port {
    socket: TcpSocket,
    refused: String,
}

impl Port {
    fn take(at: SocketAddr, what: &str, setting: &str) -> Result<Self> {
        let refused = format!("cannot open the {what} port {at}; choose another with {setting}");
        let bound = || {
            let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // connections of the process before may still be passing away
            socket.set_reuseaddr(true)?;
            socket.bind(at)?;
            std::io::Result::Ok(socket)
        };
        let socket = bound().with_context(|| refused.clone())?;
        Ok(Self { socket, refused })
    }

    /// Lets it answer.
    pub(crate) fn listen(self) -> Result<TcpListener> {
        let Self { socket, refused } = self;
        socket.listen(BACKLOG).context(refused)
    }
}

/// All that the settings name.
pub(crate) struct Ports {
    /// Where reads are answered, if they are.
    pub(crate) grpc: Option<Port>,
    pub(crate) admin: Port,
    /// Where other processes ask for followers, if they may.
    pub(crate) graph: Option<Port>,
}

impl Ports {
    pub(crate) fn take(config: &Config) -> Result<Self> {
        let grpc = config.roles.api.then(|| Port::take(config.grpc, "gRPC", "--grpc ADDR:PORT"));
        let graph = config.graph.listen.filter(|_| config.roles.graph);
        let graph = graph.map(|at| Port::take(at, "graph's", "listen in [graph]"));
        Ok(Self {
            grpc: grpc.transpose()?,
            admin: Port::take(config.admin, "admin", "--admin ADDR:PORT")?,
            graph: graph.transpose()?,
        })
    }
}
