//! Medians of repeated measurements, as a table for people and as JSON for programs.
//!
//! What is compared is measured in turn (a, b, a, b, …), so that a slow spell of the machine hits
//! both. Nothing here passes or fails: the goals are printed beside the figures.

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

/// The median of one repeated measurement, in seconds.
pub fn median(rounds: usize, mut once: impl FnMut()) -> f64 {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        times.push(time(&mut once));
    }
    middle(times)
}

/// The medians of two measurements made in turn, in seconds. One round of each comes first and is
/// not counted: it fills caches.
pub fn pair(rounds: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> (f64, f64) {
    a();
    b();
    let (mut a_times, mut b_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        a_times.push(time(&mut a));
        b_times.push(time(&mut b));
    }
    (middle(a_times), middle(b_times))
}

fn time(once: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    once();
    start.elapsed()
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
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
        let Figure { what, value, unit, goal, reached, .. } = figure;
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
