//! The engine: the only caller of `control`.
//!
//! It runs on a thread of its own and repeats: take the waiting events, step
//! them all, commit every changed row and effect in **one** transaction, and
//! only then answer and dispatch. Many senders thus share one disk write. It
//! decides nothing itself.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use control::{AgedReceipts, Audit, Effect, Effects, Event, Limits, Outcome, Reply, State};
use messages::{ApplianceId, BootId, EffectId, Generation, Millis, SledId};
use tokio::sync::{oneshot, watch};

use crate::store::{Store, StoreError};

/// Requests that may wait for the engine.
const QUEUE: usize = 4096;

/// Events stepped into one transaction.
const BATCH: usize = 1024;

/// Pause after a failed commit, and between two tries to get at the committed
/// state: a full disk must not become a busy loop. Senders are refused once in
/// each.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest time without a tick, in milliseconds.
const TICK_MS: u64 = 1_000;

/// Carries out effects. Implementations return at once and submit outcomes.
pub trait Dispatch: Send + 'static {
    /// Begins an effect that is committed.
    fn begin(&self, id: EffectId, effect: &Effect);
    /// Asks a sled's driver for a reading.
    fn read_power(&self, sled: SledId, generation: Generation);
    /// Asks a sled's driver what its controller is set to.
    fn read_facts(&self, sled: SledId, generation: Generation);
    /// Tells a waiting agent to ask again.
    fn wake(&self, boot: BootId);
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nothing was stored; asking again later may help.
    #[error("the database cannot store it now")]
    NotStored,
    /// The engine has stopped.
    #[error("the appliance is stopping")]
    Stopped,
}

type Query = Box<dyn FnOnce(&State, Millis) + Send>;

enum Request {
    Event(Box<Event>, oneshot::Sender<Result<Reply, EngineError>>),
    Query(Query),
    Stop,
}

/// A handle to the engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::SyncSender<Request>,
    changes: watch::Receiver<u64>,
    storing: Arc<AtomicBool>,
}

impl Engine {
    /// Submits an event; the reply comes after its commit.
    ///
    /// # Errors
    /// When nothing was stored.
    pub async fn submit(&self, event: Event) -> Result<Reply, EngineError> {
        let (answer, reply) = oneshot::channel();
        self.send(Request::Event(Box::new(event), answer)).await?;
        reply.await.map_err(|_| EngineError::Stopped)?
    }

    /// Asks the committed state.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&State, Millis) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (answer, reply) = oneshot::channel();
        let query: Query = Box::new(move |state, now| drop(answer.send(ask(state, now))));
        self.send(Request::Query(query)).await?;
        reply.await.map_err(|_| EngineError::Stopped)
    }

    /// Counts commits; whoever shows the state waits for it to change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Whether the disk took what it was last given.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.storing.load(Ordering::Relaxed)
    }

    async fn send(&self, request: Request) -> Result<(), EngineError> {
        match self.requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(mpsc::TrySendError::Disconnected(_)) => Err(EngineError::Stopped),
            // Full: wait on a thread that may block, not on this one.
            Err(mpsc::TrySendError::Full(request)) => {
                let requests = self.requests.clone();
                tokio::task::spawn_blocking(move || requests.send(request))
                    .await
                    .ok()
                    .and_then(Result::ok)
                    .ok_or(EngineError::Stopped)
            }
        }
    }

    /// Tells the engine to stop after what it has begun.
    pub fn stop(&self) {
        if let Err(mpsc::TrySendError::Full(stop)) = self.requests.try_send(Request::Stop) {
            let requests = self.requests.clone();
            thread::spawn(move || drop(requests.send(stop)));
        }
    }
}

/// Wall time that only ever moves with the monotonic clock, so that setting
/// the clock does not move deadlines.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Duration,
    started: Instant,
}

impl Clock {
    /// Starts from the system's time.
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall,
            started: Instant::now(),
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> Millis {
        let elapsed = self.wall + self.started.elapsed();
        Millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What an engine is built from.
pub struct EngineConfig {
    /// Which appliance this is.
    pub appliance: ApplianceId,
    /// Deadlines and bounds.
    pub limits: Limits,
    /// Its time.
    pub clock: Clock,
    /// Its disk.
    pub store: Store,
}

/// An engine before it runs: it can be asked and told things, but dispatches
/// nothing yet.
pub struct Waiting {
    config: EngineConfig,
    state: State,
    incoming: mpsc::Receiver<Request>,
    committed: watch::Sender<u64>,
    storing: Arc<AtomicBool>,
}

impl EngineConfig {
    /// Loads the state. The handle works once [`Waiting::run`] was called.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn load(self) -> Result<(Engine, Waiting), StoreError> {
        let state = self.load_state()?;
        let (requests, incoming) = mpsc::sync_channel(QUEUE);
        let (committed, changes) = watch::channel(0);
        let storing = Arc::new(AtomicBool::new(true));
        Ok((
            Engine {
                requests,
                changes,
                storing: Arc::clone(&storing),
            },
            Waiting {
                config: self,
                state,
                incoming,
                committed,
                storing,
            },
        ))
    }

    fn load_state(&self) -> Result<State, StoreError> {
        Ok(State::load(
            self.appliance,
            self.limits.clone(),
            self.store.load()?,
        )?)
    }
}

impl Waiting {
    /// Steps one event and commits it.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn settle(&mut self, event: Event) -> Result<Reply, StoreError> {
        let mut fx = Effects::new(entropy());
        control::step(&mut self.state, self.config.clock.now(), event, &mut fx);
        self.config.store.commit(&self.state.drain_changes())?;
        fx.audit.iter().for_each(log_audit);
        Ok(fx.reply)
    }

    /// The state so far.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Starts the engine's thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn run(self, dispatch: impl Dispatch) -> std::io::Result<thread::JoinHandle<()>> {
        let worker = Worker {
            config: self.config,
            state: self.state,
            incoming: self.incoming,
            committed: self.committed,
            storing: self.storing,
            dispatch: Box::new(dispatch),
            begun: BTreeSet::new(),
            last_tick: Millis(0),
            lost: false,
            probed: Millis(0),
            deferred: Vec::new(),
        };
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run())
    }
}

struct Worker {
    config: EngineConfig,
    state: State,
    incoming: mpsc::Receiver<Request>,
    committed: watch::Sender<u64>,
    /// See [`Engine::is_storing`].
    storing: Arc<AtomicBool>,
    dispatch: Box<dyn Dispatch>,
    /// Effects that were dispatched and have no outcome yet.
    begun: BTreeSet<EffectId>,
    last_tick: Millis,
    /// A commit failed, and `state` is not the committed one any more.
    lost: bool,
    /// When the disk was last tried after it had failed.
    probed: Millis,
    /// Queries that wait for the committed state, one per asker.
    deferred: Vec<Query>,
}

type Answer = (oneshot::Sender<Result<Reply, EngineError>>, Reply);

/// What a batch of events leaves to do once it is committed.
#[derive(Default)]
struct After {
    answers: Vec<Answer>,
    audit: Vec<Audit>,
    wake: Vec<BootId>,
    read_power: Vec<(SledId, Generation)>,
    read_facts: Vec<(SledId, Generation)>,
    aged_receipts: Option<AgedReceipts>,
    settled: Vec<EffectId>,
    queries: Vec<Query>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let first = match self.incoming.recv_timeout(self.wait()) {
                Ok(request) => Some(request),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut after = After::default();
            let mut stopping = false;
            let more: Vec<Request> = self.incoming.try_iter().take(BATCH).collect();
            let requests = first.into_iter().chain(more);
            self.probe();
            if self.lost && !self.recover() {
                if self.refuse(requests) {
                    return;
                }
                thread::sleep(PAUSE);
                continue;
            }
            for request in requests {
                match request {
                    Request::Event(event, answer) => {
                        let reply = self.step(*event, &mut after);
                        after.answers.push((answer, reply));
                    }
                    Request::Query(query) => after.queries.push(query),
                    Request::Stop => stopping = true,
                }
            }
            let now = self.config.clock.now();
            if now.since(self.last_tick) >= TICK_MS || self.is_due(now) {
                self.last_tick = now;
                drop(self.step(Event::Tick, &mut after));
            }
            self.finish(after);
            if stopping {
                return;
            }
        }
    }

    /// How long to wait for a request. A time that the last tick has seen
    /// already (an effect under way is due until its outcome) is no reason to
    /// wake again.
    fn wait(&self) -> Duration {
        let now = self.config.clock.now();
        let tick = self.last_tick.after(TICK_MS);
        let wake = self.state.next_wake_after(self.last_tick);
        let until = wake.map_or(tick, |wake| wake.min(tick));
        Duration::from_millis(until.since(now).max(1))
    }

    fn is_due(&self, now: Millis) -> bool {
        self.state
            .next_wake_after(self.last_tick)
            .is_some_and(|wake| wake <= now)
    }

    fn step(&mut self, event: Event, after: &mut After) -> Reply {
        if let Event::Outcome { id, .. } = &event {
            after.settled.push(*id);
        }
        let mut fx = Effects::new(entropy());
        control::step(&mut self.state, self.config.clock.now(), event, &mut fx);
        after.audit.append(&mut fx.audit);
        after.wake.append(&mut fx.wake);
        after.read_power.append(&mut fx.read_power);
        after.read_facts.append(&mut fx.read_facts);
        after.aged_receipts = after.aged_receipts.or(fx.aged_receipts);
        fx.reply
    }

    /// Commits, then answers, then acts.
    fn finish(&mut self, after: After) {
        let changes = self.state.drain_changes();
        if !changes.is_empty()
            && let Err(error) = self.config.store.commit(&changes)
        {
            self.roll_back(&error, after);
            return;
        }
        for (answer, reply) in after.answers {
            drop(answer.send(Ok(reply)));
        }
        for line in &after.audit {
            log_audit(line);
        }
        for id in &after.settled {
            self.begun.remove(id);
        }
        if !changes.is_empty() {
            self.storing.store(true, Ordering::Relaxed);
            self.committed.send_modify(|commits| *commits += 1);
        }
        let now = self.config.clock.now();
        for query in after.queries {
            query(&self.state, now);
        }
        for boot in after.wake {
            self.dispatch.wake(boot);
        }
        let due: Vec<(EffectId, Effect)> = self
            .state
            .due_effects(now)
            .filter(|(id, _)| !self.begun.contains(id))
            .map(|(id, effect)| (id, effect.clone()))
            .collect();
        for (id, effect) in due {
            self.begun.insert(id);
            self.dispatch.begin(id, &effect);
        }
        for (sled, generation) in after.read_power {
            self.dispatch.read_power(sled, generation);
        }
        for (sled, generation) in after.read_facts {
            self.dispatch.read_facts(sled, generation);
        }
        if let Some(asked) = after.aged_receipts {
            self.find_aged(&asked);
        }
    }

    /// Looks for receipts that may leave, and lets the core decide on them.
    fn find_aged(&mut self, asked: &AgedReceipts) {
        match self.config.store.aged_receipts(asked) {
            Ok(None) => {}
            Ok(Some((through, hash))) => {
                let mut after = After::default();
                drop(self.step(Event::ReceiptsAged { through, hash }, &mut after));
                self.finish(after);
            }
            Err(error) => tracing::error!(%error, "old receipts cannot be looked for"),
        }
    }

    /// Nothing was stored, so nothing happened: forgets the batch. Outcomes in
    /// it come again, see [`report`], so their effects stay begun: a minting
    /// must not be sent twice.
    fn roll_back(&mut self, error: &StoreError, after: After) {
        tracing::error!(%error, "nothing was stored; the batch is refused");
        for (answer, _) in after.answers {
            drop(answer.send(Err(EngineError::NotStored)));
        }
        self.deferred.extend(after.queries);
        self.storing.store(false, Ordering::Relaxed);
        self.lost = true;
        self.recover();
        thread::sleep(PAUSE);
    }

    /// Asks the disk now and then whether it takes something again, so that
    /// health is told also when nobody has anything to store.
    fn probe(&mut self) {
        let now = self.config.clock.now();
        if self.lost || self.storing.load(Ordering::Relaxed) || now.since(self.probed) < TICK_MS {
            return;
        }
        self.probed = now;
        match self.config.store.probe() {
            Ok(()) => self.storing.store(true, Ordering::Relaxed),
            // Whatever failed, the store must be opened again.
            Err(error) => {
                tracing::warn!(%error, "nothing can be stored yet");
                self.lost = true;
            }
        }
    }

    /// Loads the committed state again, and says whether that could be done.
    fn recover(&mut self) -> bool {
        let loaded = self.config.store.reopen();
        match loaded.and_then(|()| self.config.load_state()) {
            Ok(state) => {
                self.state = state.remembering(&self.state);
                self.lost = false;
            }
            Err(error) => {
                tracing::error!(%error, "the committed state cannot be read; trying again");
                return false;
            }
        }
        let now = self.config.clock.now();
        for query in std::mem::take(&mut self.deferred) {
            query(&self.state, now);
        }
        true
    }

    /// Takes nothing while nothing can be stored; whether a stop was asked for.
    fn refuse(&mut self, requests: impl Iterator<Item = Request>) -> bool {
        let mut stopping = false;
        for request in requests {
            match request {
                Request::Event(_, answer) => drop(answer.send(Err(EngineError::NotStored))),
                Request::Query(query) => self.deferred.push(query),
                Request::Stop => stopping = true,
            }
        }
        stopping
    }
}

fn entropy() -> [u8; 32] {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).expect("the system's random generator works");
    entropy
}

fn log_audit(line: &Audit) {
    let job = line.job.map(|job| job.number);
    let boot = line.boot.map(|boot| boot.0);
    tracing::info!(
        target: "audit",
        action = line.name,
        sled = line.sled.as_deref(),
        boot,
        job,
        "{}",
        line.detail
    );
}

/// Submits an outcome; when nothing could be stored, tries again until it can
/// or the engine stops, because the world has changed already.
pub async fn report(engine: &Engine, id: EffectId, outcome: Outcome) {
    loop {
        match engine
            .submit(Event::Outcome {
                id,
                outcome: outcome.clone(),
            })
            .await
        {
            Ok(_) | Err(EngineError::Stopped) => return,
            Err(EngineError::NotStored) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}
