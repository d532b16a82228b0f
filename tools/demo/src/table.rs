//! The boot timelines as a table for people: seconds since each delivery.

use std::fmt::Write as _;

use crate::summary::Summary;

pub(crate) fn render(summary: &Summary) -> String {
    let steps = summary.jobs.first().map(|job| job.timeline.steps());
    let mut rows = vec![vec!["job".to_owned(), "sled".to_owned(), "boot".to_owned()]];
    for (name, _) in steps.iter().flatten().skip(1) {
        rows[0].push((*name).to_owned());
    }
    rows[0].extend(["result", "receipt"].map(str::to_owned));
    for job in &summary.jobs {
        let mut row = vec![job.name.clone(), text(job.sled.as_ref()), text(job.boot)];
        for (_, at) in job.timeline.steps().into_iter().skip(1) {
            row.push(match (job.timeline.delivered, at) {
                (Some(delivered), Some(at)) => seconds(at.saturating_sub(delivered)),
                (None, _) | (_, None) => "-".to_owned(),
            });
        }
        row.push(job.result.clone());
        row.push(match (job.receipt, &job.assurance) {
            (Some(number), Some(grade)) => format!("{number} {grade}"),
            (number, _) => text(number),
        });
        rows.push(row);
    }
    let mut out = String::from("\nseconds from the delivery to each step:\n");
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(String::len)
                .max();
            let width = width.unwrap_or_default();
            let _ = write!(out, "{cell:<width$}  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    for problem in &summary.problems {
        let _ = writeln!(out, "problem: {problem}");
    }
    let verdict = if summary.ok {
        "every job succeeded on a boot of its own and has a valid receipt"
    } else {
        "NOT every job succeeded on a boot of its own with a valid receipt"
    };
    let _ = writeln!(out, "{verdict}");
    out
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{}", milliseconds / 1000, milliseconds % 1000 / 100)
}
