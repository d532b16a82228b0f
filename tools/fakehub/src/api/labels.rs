//! Labels of a registered runner: GitHub's own stay whatever is asked.

use serde_json::json;

use super::runners;
use crate::answer::{Answer, Request};
use crate::hub::Hub;
use crate::routes::Parameters;
use crate::shapes;
use crate::state::Scope;

/// A runner carries at most as many.
const MAX_LABELS: usize = 100;

fn answer(labels: &[String]) -> Answer {
    let bodies = shapes::labels(labels);
    Answer::json(
        200,
        json!({ "total_count": bodies.len(), "labels": bodies }),
    )
}

fn id(found: &Parameters) -> Result<u64, Answer> {
    found.number("runner_id").ok_or_else(Answer::not_found)
}

pub(super) fn show(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let id = id(found)?;
    let state = hub.state();
    let runner = state.runner_in(scope, id).ok_or_else(Answer::not_found)?;
    Ok(answer(&runner.labels))
}

/// Adds labels, or replaces the custom ones.
pub(super) fn change(
    hub: &Hub,
    scope: &Scope,
    found: &Parameters,
    request: &Request,
    replace: bool,
) -> Result<Answer, Answer> {
    let mut errors = Vec::new();
    let least = usize::from(!replace);
    let wanted = runners::labels(&request.object()?, least, &mut errors);
    if !errors.is_empty() {
        let message = format!("Invalid request.\n\n{}", errors.join("\n"));
        return Err(Answer::invalid(&message, &errors));
    }
    let id = id(found)?;
    let mut state = hub.state();
    let labels = state.labels_in(scope, id).ok_or_else(Answer::not_found)?;
    let mut next = labels.clone();
    if replace {
        next.retain(|label| shapes::is_own_label(label));
    }
    for label in wanted {
        if !next.iter().any(|it| it.eq_ignore_ascii_case(&label)) {
            next.push(label);
        }
    }
    if next.len() > MAX_LABELS {
        let message = format!("A runner carries at most {MAX_LABELS} labels");
        return Err(Answer::invalid(&message, &[]));
    }
    labels.clone_from(&next);
    drop(state);
    hub.changed.notify_waiters();
    Ok(answer(&next))
}

pub(super) fn clear(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let id = id(found)?;
    let mut state = hub.state();
    let labels = state.labels_in(scope, id).ok_or_else(Answer::not_found)?;
    labels.retain(|label| shapes::is_own_label(label));
    Ok(answer(labels))
}

pub(super) fn remove(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let (id, name) = (id(found)?, found.text("name"));
    let mut state = hub.state();
    let labels = state.labels_in(scope, id).ok_or_else(Answer::not_found)?;
    let at = labels
        .iter()
        .position(|label| label.eq_ignore_ascii_case(name))
        .ok_or_else(Answer::not_found)?;
    if shapes::is_own_label(name) {
        let message = format!("Read-only label {name} cannot be removed");
        return Err(Answer::invalid(&message, &[]));
    }
    labels.remove(at);
    Ok(answer(labels))
}
