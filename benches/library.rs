//! The library's own figures: opening, committing, resolving, activating. The vault lies on a real
//! disk (the target folder), so commits pay for their flush.

mod harness;

use harness::{Figure, medians, report, vaults};
use reseal::error::Failure;
use reseal::runtime::activate::Tolerance;
use reseal::runtime::local::Runtime;
use reseal::runtime::open_vault::{OpenOptions, OpenVault};
use reseal::secret::SecretValue;
use reseal::store::{Options, StateDir, VaultFile};
use reseal::sys::alloc::ZeroOnFree;
use reseal::vault::Header;
use reseal::vault::slot;
use std::alloc::System;
use std::path::Path;
use std::time::Instant;

/// What the binary runs with.
#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree(System);

const RECORDS: usize = 100_000;
const REFS: usize = 10_000;

/// One measurement alone.
fn median(rounds: usize, mut act: impl FnMut()) -> f64 {
    let [median] = medians(rounds, [&mut act]);
    median
}

fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-library");
    // A run that was stopped leaves its folder behind.
    let _ = std::fs::remove_dir_all(&folder);
    let result = measure(&folder);
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    match result {
        Ok(figures) => report(&figures),
        Err(failure) => panic!("{failure}"),
    }
}

fn measure(folder: &Path) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let mut small = vaults::make(&folder.join("small"), 10)?;
    let mut large = vaults::make(&folder.join("large"), RECORDS)?;
    let open = 1e3
        * median(15, || {
            drop(open(&folder.join("large")).expect("the vault opens"))
        });
    figures.push(figure(
        "open 100,000 records of 500 B",
        open,
        "ms",
        "under 300 ms",
        300.0,
    ));
    figures.extend(commits("10 records", &mut small)?);
    figures.extend(commits("100,000 records", &mut large)?);
    let name = "record/77777".parse()?;
    let resolve = median(1000, || {
        drop(large.get(&name, None).expect("the record is there"))
    });
    figures.push(figure(
        "resolve one value",
        1e6 * resolve,
        "µs",
        "under 20 µs",
        20.0,
    ));
    let state = folder.join("large");
    let config = state.join("reseal.json");
    std::fs::write(&config, config_with_refs()).expect("the config is written");
    drop(large);
    figures.extend(activations(&state, &config)?);
    Ok(figures)
}

/// The first activation of a runtime that has just opened its vault, and the one after it.
fn activations(state: &Path, config: &Path) -> Result<Vec<Figure>, Failure> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let runtime = Runtime::new(StateDir::at(state), config.to_owned(), open(state)?);
        for times in [&mut first, &mut again] {
            let start = Instant::now();
            let report = runtime.activate(Tolerance::default())?;
            times.push(start.elapsed().as_secs_f64());
            assert_eq!(report.refs.len(), REFS);
            assert!(
                report.refs.iter().all(|entry| entry.failure.is_none()),
                "every ref resolves"
            );
        }
    }
    let figure = |what: &str, times: &mut [f64]| {
        times.sort_by(f64::total_cmp);
        figure(
            what,
            1e3 * times[times.len() / 2],
            "ms",
            "under 60 ms",
            60.0,
        )
    };
    Ok(vec![
        figure("activate 10,000 refs for the first time", &mut first),
        figure("activate them again", &mut again),
    ])
}

fn figure(what: &str, value: f64, unit: &'static str, goal: &'static str, bound: f64) -> Figure {
    Figure {
        what: what.to_owned(),
        value,
        unit,
        beside: None,
        goal,
        reached: value < bound,
    }
}

/// One commit each of one record: wall time with its flush, and the processor's part of it.
fn commits(what: &str, vault: &mut OpenVault) -> Result<Vec<Figure>, Failure> {
    let mut round = 0;
    let mut cpu = Vec::new();
    let wall = median(200, || {
        round += 1;
        let before = cpu_seconds();
        let change = vaults::put("record/1", round).expect("a name");
        vault.commit(vec![change]).expect("a commit is made");
        cpu.push(cpu_seconds() - before);
    });
    cpu.sort_by(f64::total_cmp);
    let cpu = 1e3 * cpu[cpu.len() / 2];
    let wall = figure(
        &format!("commit into {what}"),
        1e3 * wall,
        "ms",
        "one flush",
        f64::MAX,
    );
    let name = format!("commit into {what}, processor");
    Ok(vec![wall, figure(&name, cpu, "ms", "under 0.3 ms", 0.3)])
}

/// The time that this thread has spent on a processor.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = text
        .split(' ')
        .next()
        .and_then(|field| field.parse::<f64>().ok());
    nanos.expect("its first field is a number") / 1e9
}

/// A config of [`REFS`] providers, each with a ref to a record of its own.
fn config_with_refs() -> String {
    let mut text = String::from("{ \"models\": { \"providers\": {\n");
    for index in 0..REFS {
        let record = index * (RECORDS / REFS);
        let reference = format!(
            "{{ \"source\": \"vault\", \"provider\": \"default\", \"id\": \"record/{record}\" }}"
        );
        let comma = if index + 1 < REFS { "," } else { "" };
        text.push_str(&format!(
            "  \"p{index}\": {{ \"apiKey\": {reference} }}{comma}\n"
        ));
    }
    text.push_str("} } }\n");
    text
}

/// Everything that opening does after the KDF.
fn open(state: &Path) -> Result<OpenVault, Failure> {
    let file = VaultFile::open(&state.join("vault.reseal"), Options::default())?;
    let header = Header::parse(&file.read_header()?)?;
    let root = slot::open_raw(
        &header,
        &header.slots()[0],
        &SecretValue::copy_of(&vaults::KEY),
    )?;
    let keys = header.verify(&root.expect("the key opens the slot"))?;
    let options = OpenOptions {
        authenticated: true,
        ..OpenOptions::default()
    };
    OpenVault::open(file, header, keys, &state.join("anchors"), &options)
}
