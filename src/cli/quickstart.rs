//! `reseal quickstart`.

use super::context::Context;
use super::error::{CliError, Doing, Done, io_failure};
use super::init::{self, NewVaultArgs};
use super::input;
use super::new_slot;
use super::output::{Tone, json_text, shown, shown_path};
use super::point;
use super::secrets::{self, set};
use super::session;
use super::state_files;
use super::vault::{status, unlock};
use crate::crypto::hash;
use crate::daemon::{DEFAULT_IDLE, DEFAULT_TTL};
use crate::document::{Document, Path};
use crate::error::{Code, Failure};
use crate::name::{ProfileId, RecordName};
use crate::profile::ProfileType;
use crate::reference::SecretRef;
use crate::runtime::service::{Reply, Request, Service, Status};
use crate::secret::SecretValue;
use crate::secret::json::{self, Part};
use crate::sys::{random, tty};
use crate::vault::{Expect, Meta, RecordKind};
use clap::Args;
use serde_json::json;
use std::process::{Command, Stdio};

/// Arguments of `quickstart`.
///
/// Makes a vault, stores an API key, points the profile openai:default at it, unlocks, runs a
/// program that gets the key, and shows what is on the disk. The key is asked for, piped, or made
/// up with --sample-key. What is there already stays and is used; another key that is piped becomes
/// its new version.
///
/// Without a terminal, say how the vault is opened: --passphrase-file, --key-file or
/// --generate-key-file.
#[derive(Args)]
pub struct QuickstartArgs {
    /// Make up a key that opens nothing, to see how things work
    #[arg(long, alias = "sample")]
    sample_key: bool,

    #[command(flatten)]
    new: NewVaultArgs,
}

const STEPS: usize = 5;
/// What the proof's child runs: a program like any other, which knows nothing of reseal.
const PROOF: &str =
    "printf %s \"$OPENAI_API_KEY\" | wc -c\nprintf %s \"$OPENAI_API_KEY\" | sha256sum";
/// How many hex digits of the digest are shown.
const SHOWN_DIGITS: usize = 12;

/// Goes through everything once.
pub fn run(context: &Context, args: QuickstartArgs) -> Done {
    let mut recovery = None;
    let done = go_through(context, &args, &mut recovery);
    // With --json the code stands in the document; if there is none, this is the one time that it
    // can be shown.
    if let (Err(_), Some(code)) = (&done, &recovery) {
        new_slot::show_recovery_code(context, code);
    }
    done
}

fn go_through(
    context: &Context,
    args: &QuickstartArgs,
    recovery: &mut Option<SecretValue>,
) -> Done {
    let step = |number: usize, text: &str| {
        let label = context
            .out
            .paint_err(Tone::Strong, &format!("[{number}/{STEPS}]"));
        context.out.say(&format!("{label} {text}"));
    };
    let (profile, record) = names()?;
    let value = if args.sample_key || input::stdin_brings_data() {
        Some(read_key(context, args)?)
    } else {
        None
    };

    let Open { mut service, keys } = open_or_make(context, args, recovery, &step)?;
    step(2, "Storing the key, sealed ...");
    let value = store_key(context, args, service.as_mut(), &record, value)?;

    step(3, &format!("Pointing the profile {profile} at it ..."));
    let reference = SecretRef::to_record(&record);
    let path = point::write_profile(context, &profile, &reference, ProfileType::ApiKey, None)?;
    context.out.say("      This file holds only the ref:");
    context.out.say(&format!("      {}", shown_path(&path)));
    activate(context, args, service, keys, &step)?;

    step(5, "Running a program that needs the key ...");
    let proof = prove(context, &value)?;
    let status = status::read(context, args.new.allow_network_fs)?;
    let recovery = recovery.as_ref();
    finish(context, &profile, &proof, &path, &status, recovery)?;
    Ok(0)
}

/// Hands the keys to a daemon, or has the daemon that holds the vault take in the new profile.
fn activate(
    context: &Context,
    args: &QuickstartArgs,
    mut service: Box<dyn Service>,
    keys: Option<SecretValue>,
    step: &impl Fn(usize, &str),
) -> Result<(), CliError> {
    let report = if let Some(keys) = keys {
        let text = "Unlocking: a daemon holds the vault open from now on ...";
        step(4, text);
        // The daemon takes the writer's side of this vault: nothing here may still hold it.
        drop(service);
        let limits = unlock::LimitArgs::default().unlock(Some(DEFAULT_TTL), Some(DEFAULT_IDLE));
        unlock::hand_over(context, &limits, &keys, args.new.allow_network_fs)?
    } else {
        step(4, "A daemon holds the vault open already.");
        let doing = "reload the secrets";
        let answer = session::ask(service.as_mut(), doing, Request::Reload, Vec::new())?;
        match answer.reply {
            Reply::Report(report) => report,
            reply => return Err(session::unexpected(doing, &reply)),
        }
    };
    for entry in report.refs.iter().filter(|entry| entry.failure.is_some()) {
        let why = entry
            .failure
            .as_ref()
            .map_or("", |failure| failure.message.as_str());
        context.out.warn(&shown(&format!("{}: {why}", entry.owner)));
    }
    Ok(())
}

fn names() -> Result<(ProfileId, RecordName), CliError> {
    let doing = "name the profile";
    let profile: ProfileId = "openai:default".parse().doing(doing)?;
    let record = RecordName::for_profile(&profile).doing(doing)?;
    Ok((profile, record))
}

fn read_key(context: &Context, args: &QuickstartArgs) -> Result<SecretValue, CliError> {
    if !args.sample_key {
        let value = input::ValueArgs::default();
        return value.read(context, "Your OpenAI API key (hidden; any value will do): ");
    }
    const PREFIX: &[u8] = b"sk-sample-opens-nothing-";
    let mut random = [0u8; 16];
    random::fill(&mut random);
    let digits = data_encoding::HEXLOWER.encode(&random);
    Ok(SecretValue::copy_of(&[PREFIX, digits.as_bytes()].concat()))
}

/// The vault, held open by a daemon or by this process.
struct Open {
    service: Box<dyn Service>,
    /// What a daemon needs to hold it open; `None` if one does.
    keys: Option<SecretValue>,
}

fn open_or_make(
    context: &Context,
    args: &QuickstartArgs,
    recovery: &mut Option<SecretValue>,
    step: &impl Fn(usize, &str),
) -> Result<Open, CliError> {
    let path = session::vault_path(context)?;
    let vault = if path.exists() {
        step(
            1,
            &format!("There is a vault already: {}", shown_path(&path)),
        );
        if let Some(client) = session::daemon(context)? {
            return Ok(Open {
                service: Box::new(client),
                keys: None,
            });
        }
        session::open(context, &args.new.to_unlock())?.vault
    } else {
        step(1, &format!("Making a vault: {}", shown_path(&path)));
        if !args.new.is_given() && tty::can_ask() && !context.no_input {
            context
                .out
                .say("      Choose a passphrase for it. Nobody can recover it for you.");
        }
        let made = init::make(context, &args.new)?;
        match made.recovery {
            Some(code) if context.out.json => *recovery = Some(code),
            Some(code) => new_slot::show_recovery_code(context, &code),
            None => {}
        }
        made.vault
    };
    let keys = Some(vault.vault().keys().to_secret());
    let service = Box::new(session::local(context, vault));
    Ok(Open { service, keys })
}

/// Stores the key. One that is there already stays, or is replaced by the one that was given; a
/// made-up key replaces nothing.
fn store_key(
    context: &Context,
    args: &QuickstartArgs,
    service: &mut dyn Service,
    record: &RecordName,
    value: Option<SecretValue>,
) -> Result<SecretValue, CliError> {
    let doing = "store the key";
    let name = secrets::ref_text(record);
    let given = value.clone().filter(|_| !args.sample_key);
    let expect = match current(service, doing, record)? {
        Some((version, there)) => match &given {
            Some(given) if *given != there => Expect::Version(version),
            _ => {
                let text = format!("      {name} is there already and stays.");
                context.out.say(&text);
                return Ok(there);
            }
        },
        None => Expect::Absent,
    };
    let value = match value {
        Some(value) => value,
        None => read_key(context, args)?,
    };
    let wanted = set::Record {
        kind: RecordKind::ApiKey,
        meta: Meta::default(),
        expect,
    };
    set::put(service, doing, record.clone(), wanted, value.clone())?;
    let len = value.len();
    let text = match expect {
        Expect::Version(version) => {
            let new = version + 1;
            format!("      {name} ({len} bytes), as version {new}; the one before is kept.")
        }
        _ => format!("      {name} ({len} bytes)."),
    };
    context.out.say(&text);
    Ok(value)
}

/// The record as it stands: its version and its value.
fn current(
    service: &mut dyn Service,
    doing: &str,
    record: &RecordName,
) -> Result<Option<(u64, SecretValue)>, CliError> {
    let request = Request::Get {
        name: record.clone(),
        version: None,
    };
    match service.call(request, Vec::new()) {
        Ok(mut answer) => match (&answer.reply, answer.secrets.pop()) {
            (Reply::Value(info), Some(value)) => Ok(Some((info.version, value))),
            (reply, _) => Err(session::unexpected(doing, reply)),
        },
        Err(failure) if failure.code == Code::RecordAbsent => Ok(None),
        Err(failure) => Err(CliError::new(doing, failure)),
    }
}

/// What the child said about the value that it got.
struct Proof {
    len: usize,
    digest: String,
}

/// Runs a child through `reseal run` and compares what it got with what was stored.
fn prove(context: &Context, value: &SecretValue) -> Result<Proof, CliError> {
    let doing = "run the program";
    let program = std::env::current_exe()
        .map_err(|error| io_failure(std::path::Path::new("/proc/self/exe"), &error))
        .doing(doing)?;
    let shown_proof = PROOF.replace('\n', "\n        ");
    let line = format!("      reseal run -- sh -c '\n        {shown_proof}'");
    context.out.say(&line);
    let output = Command::new(&program)
        .arg("--state-dir")
        .arg(context.state.root())
        .arg("--socket")
        .arg(context.socket())
        .args([
            "--no-input",
            "run",
            "--profile",
            "openai:default",
            "--",
            "sh",
            "-c",
            PROOF,
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| io_failure(&program, &error))
        .doing(doing)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_ascii_whitespace();
    let len = words.next().and_then(|word| word.parse::<usize>().ok());
    let digest = words.next().unwrap_or_default();
    let expected = data_encoding::HEXLOWER.encode(&hash::sha256(&[value.expose()]));
    if !output.status.success() || len != Some(value.len()) || digest != expected {
        let why = "the program did not get the value that was stored";
        return Err(CliError::new(doing, Failure::new(Code::Bug, why)));
    }
    Ok(Proof {
        len: value.len(),
        digest: digest[..SHOWN_DIGITS].to_owned(),
    })
}

/// The profile as the file has it now. Other profiles there may hold plaintext, which is not shown.
fn written(context: &Context, profile: &ProfileId) -> Result<serde_json::Value, CliError> {
    let doing = "read the profiles";
    let store = state_files::profiles(context, &context.agent).doing(doing)?;
    let document = Document::parse(store.text(), store.name()).doing(doing)?;
    let place = Path::of_keys(["profiles", profile.as_str()]);
    Ok(serde_json::json!({"profiles": {profile.as_str(): document.get(&place)}}))
}

fn finish(
    context: &Context,
    profile: &ProfileId,
    proof: &Proof,
    path: &std::path::Path,
    status: &Status,
    recovery: Option<&SecretValue>,
) -> Result<(), CliError> {
    let out = &context.out;
    let profiles = written(context, profile)?;
    if out.json {
        let received = json!({"bytes": proof.len, "sha256Prefix": proof.digest});
        let parts = [
            ("received", json_text(&received)?),
            ("profilesFile", json_text(&path)?),
            ("profiles", json_text(&profiles)?),
            ("status", json_text(status)?),
        ];
        let mut members: Vec<(&str, Part<'_>)> = parts
            .iter()
            .map(|(name, text)| (*name, Part::Json(text)))
            .collect();
        members.push(match recovery {
            Some(code) => ("recoveryCode", Part::Secret("", code)),
            None => ("recoveryCode", Part::Json("null")),
        });
        return out.secret(&json::object(&members), true);
    }
    let good = out.paint_err(Tone::Good, "It got the key");
    out.say(&format!(
        "      {good}: {} bytes, SHA-256 {}... (the same as stored).",
        proof.len, proof.digest
    ));
    out.say("");
    out.say(&format!("What is on the disk ({}):", shown_path(path)));
    out.document(&profiles)?;
    out.say("");
    status::print(context, status)?;
    out.say("");
    out.say("It is all set up. Go on with:");
    out.say("  reseal run -- YOUR-AGENT      the program gets OPENAI_API_KEY");
    out.say("  reseal secrets set NAME       store another secret");
    out.say("  reseal vault lock             wipe the keys from memory");
    Ok(())
}
