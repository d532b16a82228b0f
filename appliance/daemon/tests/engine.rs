//! The engine on a real database: what was answered is there after a restart,
//! and effects are dispatched only once they are stored.

use std::sync::{Arc, Mutex};

use control::{
    DeliveryResult, Effect, Event, Hook, Inventory, JobAction, JobReport, Labels, Limits,
    PoolPolicy, PoolSpec, Reply, Scope, SledSpec, Source, State,
};
use messages::{
    ApplianceId, Assurance, BootId, DeliveryKey, Digest, EffectId, Generation, HubId, ImageRef,
    SledId,
};
use musher::{
    engine::{Clock, Dispatch, Engine, EngineConfig},
    store::Store,
};

const APPLIANCE: ApplianceId = ApplianceId([1, 2, 3, 4]);

/// Notes what is begun, and whether it was in the database by then.
#[derive(Clone)]
struct Recorder {
    store: Store,
    begun: Arc<Mutex<Vec<(&'static str, bool)>>>,
    read: Arc<Mutex<Vec<SledId>>>,
    compared: Arc<Mutex<Vec<SledId>>>,
}

impl Dispatch for Recorder {
    fn begin(&self, id: EffectId, effect: &Effect) {
        let rows = self.store.load().unwrap();
        let state = State::load(APPLIANCE, Limits::default(), rows).unwrap();
        self.begun
            .lock()
            .unwrap()
            .push((effect.name(), state.is_pending(id)));
    }

    fn read_power(&self, sled: SledId, _: Generation) {
        self.read.lock().unwrap().push(sled);
    }

    fn read_facts(&self, sled: SledId, _: Generation) {
        self.compared.lock().unwrap().push(sled);
    }

    fn wake(&self, _: BootId) {}
}

fn inventory() -> Inventory {
    let digest = Digest([0; 32]);
    let image = control::BootImage {
        kernel: digest,
        initramfs: digest,
        rootfs: ImageRef {
            name: "image".into(),
            digest,
            bytes: 1,
        },
    };
    Inventory {
        hubs: vec!["main".into()],
        pools: vec![PoolSpec {
            name: "linux".into(),
            github: "main".into(),
            scope: Scope::Org("octo-org".into()),
            labels: vec!["linux".into()],
            image,
            max_runtime_s: 60,
            min_assurance: Assurance::Claimed,
            policy: PoolPolicy::default(),
            group: None,
            public: Vec::new(),
            acceptance: None,
        }],
        circuits: Vec::new(),
        sleds: vec![SledSpec {
            name: "sled-01".into(),
            mac: "52:54:00:77:00:01".parse().unwrap(),
            pools: vec!["linux".into()],
            circuit: None,
            watts: 0,
        }],
    }
}

fn queued(number: u64) -> Event {
    let report = JobReport {
        number,
        action: JobAction::Queued,
        repository: "octo-org/app".into(),
        name: "build".into(),
        workflow: "ci".into(),
        run_id: 1,
        run_attempt: 1,
        labels: Labels::new(["linux"]),
        group: None,
        public: false,
        ran_ms: None,
        runner: None,
        page: None,
        conclusion: None,
    };
    Event::Delivery {
        key: DeliveryKey(number.into()),
        hub: HubId(1),
        source: Source::Tunnel,
        hook: Hook::Job(Box::new(report)),
    }
}

/// Starts an engine on `store`, as `musher serve` does.
fn start(store: &Store) -> (Engine, Recorder, std::thread::JoinHandle<()>) {
    let config = EngineConfig {
        appliance: APPLIANCE,
        limits: Limits::default(),
        clock: Clock::start(),
        store: store.clone(),
    };
    let (engine, mut waiting) = config.load().unwrap();
    waiting.settle(Event::Started).unwrap();
    assert_eq!(
        waiting.settle(Event::Inventory(inventory())).unwrap(),
        Reply::Done(Ok(()))
    );
    let recorder = Recorder {
        store: store.clone(),
        begun: Arc::default(),
        read: Arc::default(),
        compared: Arc::default(),
    };
    let worker = waiting.run(recorder.clone()).unwrap();
    (engine, recorder, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("musher.redb")).unwrap();
    let (engine, recorder, worker) = start(&store);
    let mut senders = tokio::task::JoinSet::new();
    for number in 1..=50 {
        let engine = engine.clone();
        senders.spawn(async move { engine.submit(queued(number)).await });
    }
    while let Some(reply) = senders.join_next().await {
        assert_eq!(reply.unwrap(), Ok(Reply::Delivery(DeliveryResult::Queued)));
    }
    // Nothing was stopped in order: only the database speaks for the first run.
    let rows = store.load().unwrap();
    let reloaded = State::load(APPLIANCE, Limits::default(), rows).unwrap();
    assert_eq!(reloaded.jobs().count(), 50);
    assert!(
        recorder
            .begun
            .lock()
            .unwrap()
            .iter()
            .all(|(_, stored)| *stored)
    );
    engine.stop();
    worker.join().unwrap();

    let (engine, _, worker) = start(&store);
    for number in 1..=50 {
        let again = engine.submit(queued(number)).await;
        assert_eq!(again, Ok(Reply::Delivery(DeliveryResult::Duplicate)));
    }
    engine.stop();
    worker.join().unwrap();
    assert!(engine.submit(queued(51)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_are_stored_before_they_are_begun() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("musher.redb")).unwrap();
    let (engine, recorder, worker) = start(&store);
    let sled = engine
        .query(|state, _| state.sled_id("sled-01"))
        .await
        .unwrap()
        .unwrap();
    // The sled must have been read as off, and stay so for its dwell time.
    let off = Event::PowerRead {
        sled,
        generation: Generation(0),
        result: Ok(control::PowerReading::Off),
    };
    engine.submit(off).await.unwrap();
    engine.submit(queued(1)).await.unwrap();
    let begun = || recorder.begun.lock().unwrap().clone();
    for _ in 0..200 {
        if !begun().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(begun(), [("power-on", true)]);
    assert!(recorder.read.lock().unwrap().contains(&sled));
    engine.stop();
    worker.join().unwrap();
}

#[test]
fn a_database_is_opened_by_its_own_appliance_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("musher.redb")).unwrap();
    let (engine, _, worker) = start(&store);
    engine.stop();
    worker.join().unwrap();
    let other = ApplianceId([9; 4]);
    let error = State::load(other, Limits::default(), store.load().unwrap()).unwrap_err();
    assert!(error.to_string().contains("01020304"), "{error}");
    let twice = Store::open(&folder.path().join("musher.redb"));
    assert!(twice.is_err(), "a second daemon must not open it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_before_there_were_drivers_is_asked_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("musher.redb")).unwrap();
    // The first time the inventory brings the sled, then the database.
    for _ in 0..2 {
        let (engine, recorder, worker) = start(&store);
        let compared = || recorder.compared.lock().unwrap().clone();
        // The first tick asks.
        for _ in 0..200 {
            if !compared().is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(compared(), [SledId(1)]);
        engine.stop();
        worker.join().unwrap();
    }
}
