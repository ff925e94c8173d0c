//! Medians of repeated measurements, as a table for people and as JSON for programs.
//!
//! What is compared is measured in turn (a, b, a, b, …), so that a slow spell of the machine hits
//! both. Nothing here passes or fails: the goals are printed beside the figures.

pub mod vaults;

use std::time::{Duration, Instant};

/// One line of the result.
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The figure, with its unit.
    pub value: f64,
    /// `ms`, `µs` or `MiB`.
    pub unit: &'static str,
    /// What it is compared with: its name and its figure in the same unit.
    pub beside: Option<(String, f64)>,
    /// The goal, in words.
    pub goal: &'static str,
    /// Whether this run reached it.
    pub reached: bool,
}

/// The medians of measurements that are made in turn, in seconds. One round of each comes first and
/// is not counted: it fills caches.
pub fn medians<const N: usize>(rounds: usize, mut acts: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for round in 0..=rounds {
        for (act, times) in acts.iter_mut().zip(&mut times) {
            let start = Instant::now();
            act();
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    })
}

/// Prints the figures: a Markdown table, or with `--json` one JSON document.
pub fn report(figures: &[Figure]) {
    if std::env::args().any(|arg| arg == "--json") {
        let rows: Vec<serde_json::Value> = figures.iter().map(json_row).collect();
        println!("{}", serde_json::Value::from(rows));
        return;
    }
    println!("| what | figure | beside | goal | reached |");
    println!("| --- | ---: | ---: | --- | --- |");
    for figure in figures {
        let Figure {
            what,
            value,
            unit,
            goal,
            reached,
            ..
        } = figure;
        let beside = figure.beside.as_ref();
        let beside = beside.map_or(String::new(), |(name, v)| format!("{name}: {v:.2} {unit}"));
        let reached = if *reached { "yes" } else { "no" };
        println!("| {what} | {value:.2} {unit} | {beside} | {goal} | {reached} |");
    }
}

fn json_row(figure: &Figure) -> serde_json::Value {
    let beside = figure.beside.as_ref();
    serde_json::json!({
        "what": figure.what,
        "value": figure.value,
        "unit": figure.unit,
        "beside": beside.map(|(name, value)| serde_json::json!({"what": name, "value": value})),
        "goal": figure.goal,
        "reached": figure.reached,
    })
}
