//! What people ask of power drivers over the control socket: readings, the
//! identify light, consoles, event logs, new passwords. Nothing here changes
//! power: that is the core's business, by levers.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Bytes;
use messages::{BootId, SledId};
use protocols::rmcp::SelEntry;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Admin, Lines, hex, stopping};
use crate::boot_logs::console_path;
use crate::console::{older, read};
use crate::dispatch::{DeskError, PowerDesk};
use crate::http::{Answer, Shutdown, answer, json, text};
use crate::power::{HostInterface, PowerReading};

/// Time between two looks at a console that is followed.
const LOOK: Duration = Duration::from_millis(250);
/// Longest time that the identify light is asked for, in seconds.
const MOST_IDENTIFY_S: u64 = 255;

/// What a sled's driver sees.
#[derive(Serialize)]
struct PowerView {
    sled: String,
    /// `on`, `off`, `dark` or `unknown`.
    power: &'static str,
    /// What it draws, where something measures.
    watts: Option<u32>,
    /// Who measured that.
    watts_source: Option<&'static str>,
    /// What the sled's own system can do to its BMC, where it was asked for
    /// and shall be restricted.
    host_interface: Option<HostInterface>,
    /// Why power is unknown.
    error: Option<String>,
}

/// An entry of a BMC's event log.
#[derive(Serialize)]
struct EventView {
    id: u16,
    /// By the BMC's own clock, in UTC.
    time: Option<String>,
    event: String,
    /// What stands behind the record's type, in hex.
    raw: String,
}

impl EventView {
    fn of(entry: &SelEntry) -> Self {
        let time = |seconds: u32| jiff::Timestamp::from_second(seconds.into()).ok();
        let time = entry.time_s().and_then(time);
        Self {
            id: entry.id,
            time: time.map(|time| time.to_string()),
            event: entry.to_string(),
            raw: hex(&entry.body),
        }
    }
}

/// Reads a sled's power; `closely` also what its own system may do.
async fn look(desk: PowerDesk, sled: String, id: SledId, closely: bool) -> PowerView {
    let said = desk
        .ask(id, move |driver| {
            Box::pin(async move {
                let reading = driver.read().await?;
                // Neither is worth failing for.
                let watts = driver.watts().await.ok().flatten();
                let host = match closely {
                    true => driver.host_interface().await.ok().flatten(),
                    false => None,
                };
                Ok((reading, watts, host))
            })
        })
        .await;
    let ((reading, watts, host_interface), error) = match said {
        Ok(said) => (said, None),
        Err(error) => ((PowerReading::Unknown, None, None), Some(error.to_string())),
    };
    PowerView {
        sled,
        power: reading.as_str(),
        watts: watts.map(|watts| watts.now),
        watts_source: watts.map(|watts| watts.meter.as_str()),
        host_interface,
        error,
    }
}

impl Admin {
    /// The power of one sled, read now.
    pub(super) async fn power(&self, name: &str) -> Answer {
        match self.sled(name).await {
            Ok(id) => {
                let view = look(self.desk.clone(), name.to_owned(), id, true).await;
                json(StatusCode::OK, &view)
            }
            Err(answer) => answer,
        }
    }

    /// The power of all sleds, read now, all at once.
    pub(super) async fn power_sweep(&self) -> Answer {
        let sleds = self.engine.query(|state, now| {
            let names = state.status(now, 0).sleds.into_iter().map(|sled| sled.name);
            names
                .filter_map(|name| state.sled_id(&name).map(|id| (name, id)))
                .collect::<Vec<_>>()
        });
        let sleds = match sleds.await {
            Ok(sleds) => sleds,
            Err(error) => return stopping(error),
        };
        let mut looks = JoinSet::new();
        for (name, id) in sleds {
            looks.spawn(look(self.desk.clone(), name, id, false));
        }
        let mut views = looks.join_all().await;
        views.sort_by(|one, other| one.sled.cmp(&other.sled));
        json(StatusCode::OK, &views)
    }

    /// Lights the identify light.
    pub(super) async fn identify(&self, name: &str, for_s: u64) -> Answer {
        let id = match self.sled(name).await {
            Ok(id) => id,
            Err(answer) => return answer,
        };
        let Some(seconds) = u8::try_from(for_s)
            .ok()
            .filter(|_| for_s <= MOST_IDENTIFY_S)
        else {
            return text(
                StatusCode::BAD_REQUEST,
                "the light is lit for 255 s at most",
            );
        };
        let lit = self
            .desk
            .ask(id, move |driver| Box::pin(driver.identify(seconds)));
        done(&lit.await)
    }

    /// Gives the BMC's user a new password, which nobody is told.
    pub(super) async fn rotate_password(&self, name: &str) -> Answer {
        let id = match self.sled(name).await {
            Ok(id) => id,
            Err(answer) => return answer,
        };
        let rotated = self
            .desk
            .ask(id, |driver| Box::pin(driver.rotate_password()));
        let rotated = rotated.await;
        if rotated.is_ok() {
            tracing::info!(sled = name, "audit.bmc.password_rotated");
        }
        done(&rotated)
    }

    /// The BMC's event log.
    pub(super) async fn bmc_events(&self, name: &str) -> Answer {
        let id = match self.sled(name).await {
            Ok(id) => id,
            Err(answer) => return answer,
        };
        let events = self.desk.ask(id, |driver| Box::pin(driver.events()));
        match events.await {
            Ok(events) => {
                let views: Vec<EventView> = events.iter().map(EventView::of).collect();
                json(StatusCode::OK, &views)
            }
            Err(error) => failed(&error),
        }
    }

    /// Erases it.
    pub(super) async fn clear_bmc_events(&self, name: &str) -> Answer {
        let id = match self.sled(name).await {
            Ok(id) => id,
            Err(answer) => return answer,
        };
        let cleared = self.desk.ask(id, |driver| Box::pin(driver.clear_events()));
        let cleared = cleared.await;
        if cleared.is_ok() {
            tracing::info!(sled = name, "audit.bmc.events_cleared");
        }
        done(&cleared)
    }

    /// What a sled's console said in its newest boot; with `follow`, what it
    /// says from now on too.
    pub(super) async fn console(&self, name: &str, follow: bool, shutdown: Shutdown) -> Answer {
        let path = match self.console_of(name).await {
            Ok(path) => path,
            Err(answer) => return answer,
        };
        let mut whole = recorded(path.clone()).await;
        if follow && whole.status() == StatusCode::OK {
            let (lines, ready) = mpsc::channel(1);
            tokio::spawn(follow_file(path, lines, shutdown));
            *whole.body_mut() = BodyExt::boxed(Lines(ready));
        }
        whole
    }

    /// What a job's sled said on its console in the boot that served the job.
    pub(super) async fn console_of_job(&self, number: &str) -> Answer {
        let number: Option<u64> = number.parse().ok();
        let boot = self
            .engine
            .query(move |state, _| state.boot_of_job(number?));
        match boot.await {
            Ok(Some(boot)) => recorded(console_path(&self.logs, boot)).await,
            Ok(None) => text(
                StatusCode::NOT_FOUND,
                "there is no such job, or no boot served it",
            ),
            Err(error) => stopping(error),
        }
    }

    async fn console_of(&self, name: &str) -> Result<PathBuf, Answer> {
        let wanted = name.to_owned();
        let boot: Option<BootId> = self
            .engine
            .query(move |state, now| {
                let sleds = state.status(now, 0).sleds;
                let sled = sleds.into_iter().find(|sled| sled.name == wanted)?;
                sled.boot.map(|boot| boot.id)
            })
            .await
            .map_err(stopping)?;
        boot.map(|boot| console_path(&self.logs, boot))
            .ok_or_else(|| {
                text(
                    StatusCode::NOT_FOUND,
                    "there is no such sled, or it never booted",
                )
            })
    }

    async fn sled(&self, name: &str) -> Result<SledId, Answer> {
        let wanted = name.to_owned();
        let id = self.engine.query(move |state, _| state.sled_id(&wanted));
        id.await
            .map_err(stopping)?
            .ok_or_else(|| text(StatusCode::NOT_FOUND, "there is no such sled"))
    }
}

/// A boot's console as an answer.
async fn recorded(path: PathBuf) -> Answer {
    let said = tokio::task::spawn_blocking(move || read(&path));
    let Ok(Ok(said)) = said.await else {
        let message = "this boot has no recorded console: set `console = true` in its sled's power \
                       settings, or `console = { device = … }` beside them";
        return text(StatusCode::NOT_FOUND, message);
    };
    answer(StatusCode::OK, "text/plain; charset=utf-8", said)
}

fn done(outcome: &Result<(), DeskError>) -> Answer {
    match outcome {
        Ok(()) => json(StatusCode::OK, &serde_json::json!({ "done": true })),
        Err(error) => failed(error),
    }
}

fn failed(error: &DeskError) -> Answer {
    let status = match error {
        DeskError::NoDriver => StatusCode::NOT_FOUND,
        DeskError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        DeskError::Power(_) => StatusCode::BAD_GATEWAY,
    };
    text(status, error.to_string())
}

/// Sends a ring from its begin on, until nobody listens.
async fn follow_file(path: PathBuf, lines: mpsc::Sender<Bytes>, shutdown: Shutdown) {
    let stop = shutdown.wait();
    let mut stop = std::pin::pin!(stop);
    let mut place: Option<u64> = None;
    loop {
        let look = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || more(&path, place))
        };
        let Ok(Ok((bytes, end))) = look.await else {
            return;
        };
        place = Some(end);
        if !bytes.is_empty() && lines.send(Bytes::from(bytes)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = lines.closed() => return,
            () = &mut stop => return,
        }
    }
}

/// What a ring holds behind `place` in its newer file, and the new place.
fn more(path: &Path, place: Option<u64>) -> std::io::Result<(Vec<u8>, u64)> {
    let Some(place) = place else {
        let all = read(path)?;
        return Ok((all, fs::metadata(path)?.len()));
    };
    let mut bytes = Vec::new();
    let mut from = place;
    let length = fs::metadata(path)?.len();
    if length < place {
        // The newer file took the older one's place.
        tail(&older(path), place, &mut bytes)?;
        from = 0;
    }
    let end = tail(path, from, &mut bytes)?;
    Ok((bytes, end))
}

fn tail(path: &Path, from: u64, bytes: &mut Vec<u8>) -> std::io::Result<u64> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let read = file.read_to_end(bytes)?;
    Ok(from + read as u64)
}
