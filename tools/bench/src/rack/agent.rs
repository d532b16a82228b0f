//! A sled's agent on the real wire: TLS, signed envelopes, held polls. Its
//! firmware is played, and its wipe takes no time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use control::{BootAnswer, BootQuestion, Event, Reply};
use messages::{
    AGENT_PATH, AgentFrame, AgentKey, AgentMessage, ApplianceFrame, Envelope, Instruction, RunEnd,
    RunExit, SignatureBytes, TicketToken, decode, encode,
};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use fakehub::Hub;
use fakehub::state::Conclusion;

use super::Ordered;
use super::appliance::Place;
use crate::load::{MAX_ANSWER, raw_exchange};
use crate::world::{agent_inventory, wipe_report};

/// How long its runner runs.
const RUN: Duration = Duration::from_millis(200);

/// How long a runner takes to exit once its job is completed at GitHub.
const EXIT: Duration = Duration::from_secs(1);

/// The same for a job of GitHub's: longer than deliveries take by any way.
const JOB: Duration = Duration::from_secs(10);

/// One power-on of a sled.
struct Agent {
    stream: TlsStream<TcpStream>,
    key: Ed25519KeyPair,
    ticket: TicketToken,
    sequence: u64,
    buffer: Vec<u8>,
}

/// Lives through one power-on after the other.
pub(crate) async fn live(place: Place, orders: mpsc::UnboundedSender<Ordered>) -> Result<()> {
    let mut power = place.power.subscribe();
    loop {
        power.wait_for(|on| *on).await.context("power is gone")?;
        let boot = one_boot(&place, &orders);
        tokio::select! {
            done = boot => done?,
            off = power.wait_for(|on| !*on) => drop(off),
        }
        place.power.send_replace(false);
    }
}

async fn one_boot(place: &Place, orders: &mpsc::UnboundedSender<Ordered>) -> Result<()> {
    let ticket = firmware(place).await?;
    let mut agent = Agent::start(place, ticket).await?;
    agent.say(AgentMessage::Hello(agent_inventory())).await?;
    agent.say(AgentMessage::Wiped(wipe_report())).await?;
    let order = loop {
        match agent.say(AgentMessage::Poll).await? {
            Instruction::Order(order) => break order,
            Instruction::PowerOff { .. } => return Ok(()),
            _ => {}
        }
    };
    let at = Instant::now();
    let runner = order.runner_name;
    let runner_name = runner.clone();
    agent.say(AgentMessage::Accepted { runner_name }).await?;
    let name = runner.clone();
    let _ = orders.send(Ordered { runner, at });
    match &place.hub {
        Some(hub) => {
            run_job(hub, &name).await?;
            // The appliance does not keep silent connections.
            agent.stream = connect(place).await?;
        }
        None => tokio::time::sleep(RUN).await,
    }
    let end = RunEnd {
        exit: RunExit::Code(0),
        elapsed_ms: 200,
        log_bytes: 0,
    };
    agent.say(AgentMessage::Finished(end)).await?;
    Ok(())
}

/// What the runner does at GitHub: it opens its session, takes a job, ends it.
/// One that finds none waits until its power is cut.
async fn run_job(hub: &Hub, name: &str) -> Result<()> {
    let (id, secret, session) = {
        let now_ms = hub.now_ms();
        let mut state = hub.state();
        let runner = state.runners.values().find(|runner| runner.name == name);
        let runner = runner.with_context(|| format!("{name} is not registered"))?;
        let (id, secret) = (runner.id, runner.secret.clone());
        let session = state.open_session(id, &secret, None, now_ms)?;
        (id, secret, session)
    };
    let job = loop {
        {
            let now_ms = hub.now_ms();
            let mut state = hub.state();
            state.session(id, &secret, &session, now_ms)?;
            if let Some((job, change)) = state.take(id, now_ms) {
                hub.announce(&mut state, change);
                break job;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    tokio::time::sleep(JOB).await;
    {
        let now_ms = hub.now_ms();
        let mut state = hub.state();
        let change = state.complete(id, job, Conclusion::Success, now_ms)?;
        hub.announce(&mut state, change);
    }
    tokio::time::sleep(EXIT).await;
    Ok(())
}

/// Asks for something to boot, as firmware does until it is given it.
async fn firmware(place: &Place) -> Result<TicketToken> {
    loop {
        let question = BootQuestion::Dhcp {
            mac: place.mac,
            wants_boot: true,
        };
        let reply = place.engine.submit(Event::Boot(question)).await?;
        if let Reply::Boot(BootAnswer::Offer(offer)) = reply {
            return Ok(offer.ticket);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn connect(place: &Place) -> Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4().context("make a socket")?;
    let own = SocketAddr::from((place.address, 0));
    socket.bind(own).with_context(|| format!("bind to {own}"))?;
    let stream = socket.connect(place.agents).await;
    let stream = stream.context("connect to the agent listener")?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let name = ServerName::try_from("localhost").context("name the appliance")?;
    place.tls.connect(name, stream).await.context("begin TLS")
}

impl Agent {
    async fn start(place: &Place, ticket: TicketToken) -> Result<Self> {
        let stream = connect(place).await?;
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .ok()
            .and_then(|pair| Ed25519KeyPair::from_pkcs8(pair.as_ref()).ok());
        Ok(Self {
            stream,
            key: pair.context("make a key")?,
            ticket,
            sequence: 0,
            buffer: vec![0; MAX_ANSWER],
        })
    }

    async fn say(&mut self, message: AgentMessage) -> Result<Instruction> {
        self.sequence += 1;
        let body = encode(&AgentFrame::V1(message));
        let mut key = [0; 32];
        key.copy_from_slice(self.key.public_key().as_ref());
        let key = AgentKey(key);
        let signed = Envelope::signed_bytes(&self.ticket, &key, self.sequence, &body);
        let mut signature = [0; 64];
        signature.copy_from_slice(self.key.sign(&signed).as_ref());
        let envelope = encode(&Envelope {
            ticket: self.ticket,
            key,
            sequence: self.sequence,
            body,
            signature: SignatureBytes(signature),
        });
        let mut request = format!(
            "POST {AGENT_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            envelope.len()
        )
        .into_bytes();
        request.extend_from_slice(&envelope);
        let answer = raw_exchange(&mut self.stream, &request, &mut self.buffer).await?;
        match decode(answer) {
            Ok(ApplianceFrame::V1(instruction)) => Ok(instruction),
            Err(error) => bail!("an answer cannot be read: {error}"),
        }
    }
}
