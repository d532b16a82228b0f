//! Tables for people at a terminal.

use std::fmt::Write;

use messages::{Energy, Receipt};
use serde_json::Value;

/// Columns as wide as they need to be.
pub(super) fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let pad = width.saturating_sub(cell.chars().count());
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', pad + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Most characters of a cell that others stand beside.
const CELL: usize = 120;
/// Most characters of a sentence: a reason says at its end what to do.
const WORDS: usize = 2000;

/// A value as one cell among others.
pub(super) fn cell(value: &Value) -> String {
    plain(value, CELL)
}

/// A sentence, alone on its line or at its end.
fn words(value: &Value) -> String {
    plain(value, WORDS)
}

/// What came from outside must not steer the terminal.
fn plain(value: &Value, most: usize) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text
            .chars()
            .filter(|c| !c.is_control())
            .take(most)
            .collect(),
        Value::Array(items) => {
            let items = items.iter().map(|item| plain(item, most));
            items.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn power(value: &Value) -> String {
    power_rows(items(value))
}

pub(super) fn events(value: &Value) -> String {
    let row = |event: &Value| {
        let (id, time) = (cell(&event["id"]), cell(&event["time"]));
        vec![id, time, cell(&event["event"])]
    };
    let rows: Vec<Vec<String>> = items(value).iter().map(row).collect();
    columns(&["ID", "TIME", "EVENT"], &rows)
}

pub(super) fn power_of_one(value: &Value) -> String {
    let mut text = power_rows(std::slice::from_ref(value));
    let open = |host: &Value| match items(&host["open"]) {
        [] => "takes no command from the sled that could turn it against Musher".to_owned(),
        names => {
            let names: Vec<String> = names.iter().map(cell).collect();
            format!("takes from the sled: {}", names.join(", "))
        }
    };
    if let host @ Value::Object(_) = &value["host_interface"] {
        let _ = writeln!(text, "its BMC {}", open(host));
    }
    text
}

fn power_rows(sleds: &[Value]) -> String {
    let row = |sled: &Value| {
        let mut row = ["sled", "power", "watts"]
            .map(|name| cell(&sled[name]))
            .to_vec();
        row.push(words(&sled["error"]));
        row
    };
    let rows: Vec<_> = sleds.iter().map(row).collect();
    columns(&["SLED", "POWER", "WATTS", "ERROR"], &rows)
}

/// What a console said, for a terminal that it must not steer: line ends and
/// printable characters, the rest as dots.
pub(super) fn tame(bytes: &[u8]) -> Vec<u8> {
    let shown = bytes.iter().filter(|byte| **byte != b'\r');
    shown
        .map(|byte| match byte {
            b'\n' | b'\t' | b' '..=b'~' => *byte,
            _ => b'.',
        })
        .collect()
}

pub(super) fn sleds(value: &Value) -> String {
    let rows: Vec<Vec<String>> = items(value)
        .iter()
        .map(|sled| {
            vec![
                cell(&sled["name"]),
                cell(&sled["state"]),
                cell(&sled["mac"]),
                cell(&sled["pools"]),
                cell(&sled["boot"]["id"]),
                words(&sled["reason"]),
            ]
        })
        .collect();
    columns(&["SLED", "STATE", "MAC", "POOLS", "BOOT", "REASON"], &rows)
}

pub(super) fn jobs(value: &Value) -> String {
    let rows: Vec<Vec<String>> = items(value)
        .iter()
        .map(|job| {
            vec![
                cell(&job["id"]),
                cell(&job["state"]),
                cell(&job["repository"]),
                cell(&job["name"]),
                cell(&job["pool"]),
                cell(&job["boot"]["sled"]),
                cell(&job["boot"]["receipt"]),
                words(&job["reason"]),
            ]
        })
        .collect();
    columns(
        &[
            "JOB",
            "STATE",
            "REPOSITORY",
            "NAME",
            "POOL",
            "SLED",
            "RECEIPT",
            "REASON",
        ],
        &rows,
    )
}

pub(super) fn pools(value: &Value) -> String {
    let rows: Vec<Vec<String>> = items(value)
        .iter()
        .map(|pool| {
            vec![
                cell(&pool["name"]),
                cell(&pool["scope"]),
                cell(&pool["labels"]),
                format!("{} of {}", cell(&pool["used"]), cell(&pool["sleds"])),
                cell(&pool["queued"]),
                words(&pool["problem"]),
            ]
        })
        .collect();
    columns(
        &[
            "POOL",
            "SCOPE",
            "LABELS",
            "SLEDS USED",
            "WAITING",
            "PROBLEM",
        ],
        &rows,
    )
}

/// Why a job is where it is.
pub(super) fn explanation(value: &Value) -> String {
    let mut out = format!("job {}: {}\n", cell(&value["job"]), words(&value["text"]));
    if let Some(pool) = value["pool"].as_str() {
        let _ = writeln!(out, "pool {}", cell(&pool.into()));
    }
    if let Some(ahead) = value["ahead"].as_u64() {
        let _ = writeln!(out, "{ahead} waiting jobs are likely to start before it");
    }
    if let Some(at) = value["expected_start"].as_i64()
        && let Ok(at) = jiff::Timestamp::from_millisecond(at)
    {
        let _ = writeln!(
            out,
            "likely to start at {at:.0}, as long as sleds take what they took of late"
        );
    }
    out
}

pub(super) fn status(value: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "appliance {}: {} jobs waiting, {} receipts\n",
        cell(&value["appliance"]),
        cell(&value["queued"]),
        cell(&value["receipts"])
    );
    out.push_str(&ways(&value["ways"]));
    out.push_str(&releases(&value["runner_releases"]));
    out.push_str(&pools(&value["pools"]));
    out.push('\n');
    out.push_str(&sleds(&value["sleds"]));
    out.push('\n');
    out.push_str(&jobs(&value["jobs"]));
    out
}

/// How deliveries come in: a line for what works, one for what does not.
fn ways(value: &Value) -> String {
    let mut out = format!("deliveries: {}\n", cell(&value["kind"]));
    let tunnel = &value["tunnel"];
    if !tunnel.is_null() {
        let _ = writeln!(
            out,
            "tunnel: {}, restarted {} times",
            cell(&tunnel["state"]),
            cell(&tunnel["restarts"])
        );
        if !tunnel["problem"].is_null() {
            let _ = writeln!(out, "tunnel: {}", words(&tunnel["problem"]));
        }
        for line in items(&tunnel["lines"]) {
            let _ = writeln!(out, "  | {}", words(line));
        }
    }
    for (name, key, still) in [
        ("delivery log", "delivery_log", ", still reading back"),
        ("sweep", "sweep", ", under way"),
    ] {
        for reader in items(&value[key]) {
            let github = cell(&reader["github"]);
            let _ = writeln!(
                out,
                "{name} of {github}: {} taken, {} passed over{}",
                cell(&reader["taken"]),
                cell(&reader["passed_over"]),
                if reader["backlog"] == true { still } else { "" }
            );
            if !reader["problem"].is_null() {
                let _ = writeln!(out, "{name} of {github}: {}", words(&reader["problem"]));
            }
        }
    }
    out.push('\n');
    out
}

/// Images whose runner is too old, and what keeps us from knowing.
fn releases(value: &Value) -> String {
    let mut out = String::new();
    for app in items(value) {
        if !app["problem"].is_null() {
            let _ = writeln!(out, "runner releases: {}", words(&app["problem"]));
        }
        for image in items(&app["images"]) {
            if !image["warning"].is_null() {
                let _ = writeln!(out, "{}", words(&image["warning"]));
                let _ = writeln!(out, "  {}", words(&image["mend"]));
            }
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

pub(super) fn receipts(receipts: &[(Receipt, Option<Energy>)]) -> String {
    let rows: Vec<Vec<String>> = receipts
        .iter()
        .map(|(receipt, energy)| {
            let job = receipt.job.as_ref();
            vec![
                receipt.sequence.to_string(),
                receipt.sled.clone(),
                receipt.boot.to_string(),
                receipt.assurance.as_str().to_owned(),
                crate::receipts::outcome(receipt).to_owned(),
                job.map_or_else(|| "-".to_owned(), |job| job.number.to_string()),
                job.map_or_else(
                    || "-".to_owned(),
                    |job| cell(&job.repository.as_str().into()),
                ),
                energy.map_or_else(|| "-".to_owned(), |energy| energy.joules.to_string()),
            ]
        })
        .collect();
    columns(
        &[
            "RECEIPT",
            "SLED",
            "BOOT",
            "ASSURANCE",
            "OUTCOME",
            "JOB",
            "REPOSITORY",
            "JOULES",
        ],
        &rows,
    )
}

/// A receipt in full, a line for each fact.
pub(super) fn receipt(value: &Value) -> String {
    let mut out = String::new();
    lines(&mut out, value, 0);
    out
}

fn lines(out: &mut String, value: &Value, depth: usize) {
    let Some(object) = value.as_object() else {
        return;
    };
    for (key, value) in object {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(_) => {
                let _ = writeln!(out, "{indent}{key}");
                lines(out, value, depth + 1);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for item in items {
                    let _ = writeln!(out, "{indent}{key}");
                    lines(out, item, depth + 1);
                }
            }
            other => {
                let _ = writeln!(out, "{indent}{key:24} {}", words(other));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_is_shown_to_its_end() {
        let reason = format!("{}\u{1b}[2J: release it", "x".repeat(300));
        let sled = json!([{ "name": "s".repeat(300), "state": "Quarantined", "reason": reason }]);
        let shown = sleds(&sled);
        let row = shown.lines().nth(1).unwrap_or_default();
        let expect = format!("{}[2J: release it", "x".repeat(300));
        assert!(row.ends_with(&expect), "{row}");
        let name = "s".repeat(CELL);
        assert!(row.starts_with(&format!("{name}  Quarantined")), "{row}");
    }
}
