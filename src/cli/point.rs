//! `secrets set TARGET --ref REF`: points a profile or a place in the config at a secret.
//!
//! Invariant: store, then rewrite: a plaintext value leaves a file only after its record is
//! durable.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::input::{self, ValueArgs};
use super::secrets::set::{self, Record};
use super::session::{self, UnlockArgs};
use super::state_files;
use crate::config::target;
use crate::document::{Document, Path as DocumentPath};
use crate::error::{Code, Failure};
use crate::name::{ProfileId, RecordName};
use crate::profile::{NewCredential, NewProfile, ProfileError, ProfileType};
use crate::reference::{SecretInput, SecretRef};
use crate::runtime::service::{Request, Service};
use crate::secret::SecretValue;
use crate::time::UnixMs;
use crate::vault::Expect;
use std::path::PathBuf;

/// What the person wants.
pub struct Wish<'a> {
    /// The profile or path.
    pub target: &'a str,
    /// Where it shall point.
    pub reference: SecretRef,
    /// Seal the plaintext that stands there.
    pub move_plaintext: bool,
    /// Where a value may come from.
    pub value: &'a ValueArgs,
    /// What is written beside a value.
    pub record: Record,
    /// How the vault is opened.
    pub unlock: &'a UnlockArgs,
}

enum Target {
    Profile(ProfileId),
    Path(DocumentPath),
}

/// Points TARGET at REF.
pub fn run(context: &Context, wish: Wish<'_>) -> Done {
    let doing = format!(
        "point {} at {}",
        super::output::shown(wish.target),
        wish.reference
    );
    let target = parse_target(wish.target, &doing)?;
    let plaintext = plaintext_at(context, &target).doing(doing.as_str())?;
    if plaintext.is_some() && !wish.move_plaintext {
        let why = "a plaintext value stands there, and would be lost";
        return Err(CliError::because(doing, Code::ConfigPlaintext, why));
    }
    let value = match &plaintext {
        Some(value) => Some(value.clone()),
        None => given_value(context, wish.value)?,
    };
    let (moved, stored) = (plaintext.is_some(), value.is_some());
    let reference = wish.reference.to_json();
    // Another program may write the file meanwhile: only what was stored may be replaced.
    let plaintext = plaintext.as_ref();
    let edit = |path: &DocumentPath, document: &mut Document| {
        refuse_other(document, path, plaintext)?;
        Ok(document.set(path, reference.clone())?)
    };
    if let Some(value) = value {
        if let Target::Path(path) = &target {
            // A value must not be sealed for an edit that will be refused.
            let tried = state_files::try_edit_config(context, |document| edit(path, document));
            tried.doing(doing.as_str())?;
        }
        store(context, &wish, value, &doing)?;
    }
    let file = match &target {
        Target::Profile(id) => write_ref(context, id, &wish.reference, plaintext),
        Target::Path(path) => state_files::edit_config(context, |document| edit(path, document))
            .map(|()| context.config()),
    }
    .doing(doing.as_str())?;
    if let Target::Path(path) = &target {
        warn_of_place(context, path);
    }
    if !stored {
        warn_of_absent_record(context, &wish.reference);
    }
    if context.out.json {
        context.out.document(&serde_json::json!({
            "target": wish.target,
            "ref": wish.reference,
            "file": file,
            "stored": stored,
            "moved": moved,
        }))?;
    } else {
        let how = match (moved, stored) {
            (true, _) => "moved the plaintext into the vault",
            (false, true) => "stored the value",
            (false, false) => "no value was changed",
        };
        context
            .out
            .detail(&format!("{}: {how}.", super::output::shown_path(&file)));
        context.out.data(&wish.reference.to_string())?;
    }
    Ok(0)
}

/// A ref where no runtime looks for one is probably a slip of the fingers.
fn warn_of_place(context: &Context, path: &DocumentPath) {
    if target::find(path.segments()).is_none() {
        let path = super::output::shown(&path.to_string());
        context.out.warn(&format!(
            "{path} is not a place where a secret is known to belong: look at its spelling"
        ));
    }
}

/// Whether a record is there is known without a prompt only while a daemon runs.
fn warn_of_absent_record(context: &Context, reference: &SecretRef) {
    let own = state_files::config(context).map(|config| config.own_record(reference));
    let Ok(Some(name)) = own else {
        return;
    };
    let Ok(Some(mut daemon)) = session::daemon(context) else {
        return;
    };
    let request = Request::History { name: name.clone() };
    let answer = daemon.call(request, Vec::new());
    if answer.is_err_and(|failure| failure.code == Code::RecordAbsent) {
        context.out.warn(&format!(
            "the vault has no record {name} yet: store it with `reseal secrets set {name}`"
        ));
    }
}

fn parse_target(text: &str, doing: &str) -> Result<Target, CliError> {
    if text.contains(':') {
        return text.parse().doing(doing).map(Target::Profile);
    }
    text.parse().doing(doing).map(Target::Path)
}

/// A value from an option or from stdin; an empty stdin is no value.
fn given_value(context: &Context, args: &ValueArgs) -> Result<Option<SecretValue>, CliError> {
    if args.from_file.is_some() || args.from_env.is_some() {
        return args.read(context, "").map(Some);
    }
    if !input::stdin_brings_data() {
        return Ok(None);
    }
    args.read_stdin()
}

fn store(
    context: &Context,
    wish: &Wish<'_>,
    value: SecretValue,
    doing: &str,
) -> Result<(), CliError> {
    let config = state_files::config(context).doing(doing)?;
    let Some(name) = config.own_record(&wish.reference) else {
        let why = "a value can be stored only at a vault ref of this state folder";
        return Err(CliError::because(doing, Code::Usage, why));
    };
    let mut service = session::service(context, wish.unlock)?;
    let mut record = wish.record.clone();
    if wish.move_plaintext {
        if holds(service.as_mut(), &name, &value).doing(doing)? {
            return Ok(());
        }
        // Moving must not write over another secret.
        record.expect = Expect::Absent;
    }
    set::put(service.as_mut(), doing, name, record, value).map(|_| ())
}

/// True if the record is there and holds this value.
fn holds(
    service: &mut dyn Service,
    name: &RecordName,
    value: &SecretValue,
) -> Result<bool, Failure> {
    match service.call(
        Request::Get {
            name: name.clone(),
            version: None,
        },
        Vec::new(),
    ) {
        Ok(answer) => Ok(answer.secrets.first() == Some(value)),
        Err(failure) if failure.code == Code::RecordAbsent => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn plaintext_at(context: &Context, target: &Target) -> Result<Option<SecretValue>, Failure> {
    match target {
        Target::Profile(id) => {
            let store = state_files::profiles(context, &context.agent)?;
            Ok(store.plaintext_value(id))
        }
        Target::Path(path) => {
            let document = state_files::config_document(context)?;
            Ok(plaintext_in(&document, path))
        }
    }
}

fn plaintext_in(document: &Document, path: &DocumentPath) -> Option<SecretValue> {
    let value = document.get(path)?;
    match SecretInput::parse(value, &Default::default()) {
        Ok(SecretInput::Plaintext) => {
            let text = value.as_str()?;
            Some(SecretValue::copy_of(text.trim().as_bytes()))
        }
        _ => None,
    }
}

/// Only a ref, an empty place or the plaintext that was moved may be replaced.
fn refuse_other(
    document: &Document,
    path: &DocumentPath,
    moved: Option<&SecretValue>,
) -> Result<(), Failure> {
    let Some(value) = document.get(path) else {
        return Ok(());
    };
    match SecretInput::parse(value, &Default::default()) {
        Ok(SecretInput::Plaintext)
            if moved.is_none() || plaintext_in(document, path).as_ref() != moved =>
        {
            let why = format!("a plaintext value stands at {path}, and would be lost");
            Err(Failure::new(Code::ConfigPlaintext, why))
        }
        Ok(_) => Ok(()),
        Err(_) => {
            let why = format!("what stands at {path} is neither a ref nor a text");
            Err(Failure::new(Code::ConfigConflict, why))
        }
    }
}

fn write_ref(
    context: &Context,
    id: &ProfileId,
    reference: &SecretRef,
    moved: Option<&SecretValue>,
) -> Result<PathBuf, Failure> {
    state_files::edit_profiles(context, &context.agent, |store| {
        store.set_ref(id, reference, moved)
    })
}

/// Writes a profile of a static type that points at a record.
pub fn write_profile(
    context: &Context,
    id: &ProfileId,
    reference: &SecretRef,
    profile_type: ProfileType,
    expires: Option<UnixMs>,
) -> Result<PathBuf, CliError> {
    let doing = format!("write the profile {id}");
    let credential = match profile_type {
        ProfileType::Token => NewCredential::Token {
            reference: reference.clone(),
            expires,
        },
        ProfileType::ApiKey | ProfileType::OAuth => NewCredential::ApiKey(reference.clone()),
    };
    let provider = id.provider().to_owned();
    let new = NewProfile {
        provider,
        credential,
        email: None,
    };
    state_files::edit_profiles(context, &context.agent, |store| {
        if store.plaintext_value(id).is_some() {
            return Err(ProfileError::Plaintext(id.clone()));
        }
        store.put(id, &new)
    })
    .doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_that_another_program_wrote_meanwhile_stays() {
        let path: DocumentPath = "a.apiKey".parse().unwrap();
        let document = |value: &str| {
            let text = format!(r#"{{"a": {{"apiKey": {value}}}}}"#);
            Document::parse(&text, "f").unwrap()
        };
        let moved = plaintext_in(&document(r#"" sk-1 ""#), &path).unwrap();
        assert_eq!(moved, SecretValue::copy_of(b"sk-1"));
        let code = |value: &str, moved| {
            let refused = refuse_other(&document(value), &path, moved);
            refused.err().map(|failure| failure.code)
        };
        assert_eq!(code(r#""sk-1""#, Some(&moved)), None);
        let written_meanwhile = code(r#""sk-2""#, Some(&moved));
        assert_eq!(written_meanwhile, Some(Code::ConfigPlaintext));
        assert_eq!(code(r#""sk-1""#, None), Some(Code::ConfigPlaintext));
        assert_eq!(code(r#""${NAME}""#, None), None);
        assert_eq!(code(r#""""#, None), None);
        assert_eq!(code("7", Some(&moved)), Some(Code::ConfigConflict));
    }
}
