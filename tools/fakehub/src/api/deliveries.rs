//! The App's delivery log, and asking for a delivery again.

use serde_json::{Value, json};

use super::linked;
use crate::answer::{Answer, Request};
use crate::config::App;
use crate::hub::Hub;
use crate::routes::Parameters;
use crate::shapes;
use crate::state::Delivery;
use crate::webhook::Outgoing;

/// Cursors are opaque at GitHub; here they name the last entry seen.
const CURSOR: &str = "v1_";

pub(super) fn list(hub: &Hub, app: &App, request: &Request) -> Result<Answer, Answer> {
    let size = request.query_number("per_page", 30, 100);
    let before = match request.query.get("cursor").filter(|it| !it.is_empty()) {
        None => u64::MAX,
        Some(text) => text
            .strip_prefix(CURSOR)
            .and_then(|it| it.parse().ok())
            .ok_or_else(|| Answer::error(400, "Invalid cursor"))?,
    };
    let status = request.query.get("status").map(String::as_str);
    let wanted = |code: u16| match status {
        Some("success") => (200..400).contains(&code),
        Some("failure") => (400..600).contains(&code),
        Some(_) | None => true,
    };
    let state = hub.state();
    let older = state.deliveries.partition_point(|it| it.id < before);
    let mut found = state
        .deliveries
        .range(..older)
        .rev()
        .filter(|it| it.app_id == app.app_id && wanted(it.outcome.status_code));
    let cut: Vec<&Delivery> = found.by_ref().take(size).collect();
    let last = cut.last().filter(|_| found.next().is_some());
    let link = last.map(|last| {
        let base = format!("{}{}?per_page={size}", hub.urls.api, request.path);
        let filter = status.map(|it| format!("&status={it}")).unwrap_or_default();
        format!("<{base}{filter}&cursor={CURSOR}{}>; rel=\"next\"", last.id)
    });
    let bodies: Vec<Value> = cut.iter().map(|it| shapes::delivery(it, false)).collect();
    Ok(linked(Answer::json(200, json!(bodies)), link))
}

fn number(found: &Parameters) -> Result<u64, Answer> {
    found
        .number("delivery_id")
        .ok_or_else(|| Answer::error(400, "Invalid delivery id"))
}

pub(super) fn show(hub: &Hub, app: &App, found: &Parameters) -> Result<Answer, Answer> {
    let id = number(found)?;
    let state = hub.state();
    let delivery = state
        .delivery(app.app_id, id)
        .ok_or_else(Answer::not_found)?;
    Ok(Answer::json(200, shapes::delivery(delivery, true)))
}

pub(super) fn again(hub: &Hub, app: &App, found: &Parameters) -> Result<Answer, Answer> {
    let id = number(found)?;
    let mut state = hub.state();
    let outgoing = state
        .delivery(app.app_id, id)
        .map(Outgoing::again)
        .ok_or_else(Answer::not_found)?;
    hub.send(&mut state, outgoing);
    Ok(Answer::json(202, json!({})))
}
