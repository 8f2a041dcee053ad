//! The ways that traffic takes: the paths of a lab, the network to a server, the network to an iperf3 server.

use anyhow::Result;

use super::iperf3::Iperf3;
use super::latency::Latencies;
use super::message::{Limits, PORT};
use super::{Agent, NetError, Running, Server, StreamFigures, Timing, Token};
use crate::bench::lab::{Lab, Needs, Path};
use crate::bench::report::{Family, Machine, Protocol};

/// The name of what lies between two machines.
pub const NETWORK: &str = "network";
/// A lab ends with its command; nothing has to be bounded.
const UNBOUNDED: Limits = Limits { seconds: u32::MAX, bytes: u64::MAX };

/// A way from here to a server.
pub enum Way {
    /// Between two namespaces, both ends in this process.
    Lab {
        /// The server.
        server: Running,
        /// Its client.
        agent: Agent,
        /// What lies between.
        lab: Box<Lab>,
    },
    /// To `vfw bench server`.
    Network(Agent),
    /// To an iperf3 server.
    Iperf3(Iperf3),
}

/// Starts a server in a lab; with its client. The server must go before the lab.
pub fn serve(lab: &Lab) -> Result<(Running, Agent)> {
    let token = Token::random()?;
    let address = (lab.server_address(), PORT).into();
    let agent = Agent::new(vec![address], token.clone());
    let server = lab.server().run(|| Ok(Server::bind(address, token, UNBOUNDED)?.start()?))?;
    Ok((server, agent))
}

impl Way {
    /// Builds a path and starts a server behind it.
    pub fn in_lab(path: Path, family: Family) -> Result<Self> {
        let lab = Box::new(Lab::with(path, Needs { family, ..Needs::default() })?);
        let (server, agent) = serve(&lab)?;
        Ok(Self::Lab { server, agent, lab })
    }

    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lab { lab, .. } => lab.path.name(),
            Self::Network(_) | Self::Iperf3(_) => NETWORK,
        }
    }

    /// Notes the offloads of a lab's hosts, which decide what throughput means. They are those of every path.
    pub fn note_offloads(&self, machine: &mut Machine) -> Result<()> {
        if let Self::Lab { lab, .. } = self {
            lab.note_offloads(machine)?;
        }
        Ok(())
    }

    /// A stream from here to the server.
    pub fn stream(&self, protocol: Protocol, size: u32, timing: Timing) -> Result<StreamFigures> {
        match self {
            Self::Iperf3(iperf3) => Ok(iperf3.stream(protocol, size, timing)?),
            _ => self.with_agent(|agent| agent.stream(protocol, size, timing)),
        }
    }

    /// Transactions.
    pub fn exchange(&self, protocol: Protocol, size: u32, timing: Timing) -> Result<Latencies> {
        self.with_agent(|agent| agent.exchange(protocol, size, timing))
    }

    /// Connections.
    pub fn connections(&self, timing: Timing) -> Result<Latencies> {
        self.with_agent(|agent| agent.connections(timing))
    }

    /// Calls `work` where the client is.
    fn with_agent<T: Send>(&self, work: impl FnOnce(&Agent) -> Result<T, NetError> + Send) -> Result<T> {
        match self {
            Self::Lab { agent, lab, .. } => lab.client().run(|| Ok(work(agent)?)),
            Self::Network(agent) => Ok(work(agent)?),
            Self::Iperf3(_) => anyhow::bail!("iperf3 measures streams only"),
        }
    }
}
