//! Answers requests from the opened vault: [`Runtime`] for many callers at once (the daemon),
//! [`Local`] for one command.
//!
//! Invariant: the vault is locked only while it is read or written, never while a file or a
//! command is asked; so a slow source delays nobody who asks for something else.

use super::activate::{Tolerance, machine};
use super::ground::Ground;
use super::open_vault::{OpenOptions, OpenVault};
use super::other_vaults::OtherVaults;
use super::refresh::{self, Network, Refreshing, Ttl, Want};
use super::resolve::{Outcomes, Resolver};
use super::service::{
    Answer, Committed, Comparison, MAX_RESOLVE_REFS, Outcome, Reply, Request, Service, VaultStatus,
    VersionInfo,
};
use super::status;
use super::values::Values;
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::net::Http;
use crate::reference::{SecretRef, Source};
use crate::secret::{MAX_VALUE, SecretValue};
use crate::snapshot::{Event, Machine};
use crate::source::{self, Outside};
use crate::store::{Options, StateDir, VaultFile};
use crate::sys::clock;
use crate::vault::{Change, Expect, Header, Meta, RecordKind, SubKeys};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The opened vault of a state folder, the snapshot, and what is needed to build a new one.
/// Answers many callers at once.
pub struct Runtime {
    pub(super) state: StateDir,
    pub(super) config: PathBuf,
    pub(super) debug_exec: bool,
    /// `None` once it is locked.
    vault: Mutex<Option<OpenVault>>,
    pub(super) others: OtherVaults,
    pub(super) refreshing: Refreshing,
    pub(super) activation: Mutex<Machine>,
    pub(super) tolerance: Mutex<Tolerance>,
    pub(super) events: Mutex<Vec<Event>>,
    /// Refs whose value changed since the change hook ran last.
    pub(super) changed: Mutex<BTreeSet<SecretRef>>,
    /// Held while a snapshot is built, so that builds follow each other.
    pub(super) building: Mutex<()>,
    pub(super) ground: Mutex<Option<Arc<Ground>>>,
    pub(super) exec_cache: source::exec::Cache,
    pub(super) outside: Option<Arc<dyn Outside>>,
}

impl Runtime {
    /// A runtime without a snapshot. `config` is the config file; it need not exist.
    pub fn new(state: StateDir, config: PathBuf, vault: OpenVault) -> Self {
        Self {
            others: OtherVaults::new(state.anchors()),
            refreshing: Refreshing::new(Arc::new(Network::default())),
            state,
            config,
            debug_exec: false,
            vault: Mutex::new(Some(vault)),
            activation: Mutex::new(machine()),
            tolerance: Mutex::new(Tolerance::default()),
            events: Mutex::new(Vec::new()),
            changed: Mutex::new(BTreeSet::new()),
            building: Mutex::new(()),
            ground: Mutex::new(None),
            exec_cache: source::exec::Cache::default(),
            outside: None,
        }
    }

    /// Lets the stderr of exec providers through.
    pub fn debug_exec(mut self, yes: bool) -> Self {
        self.debug_exec = yes;
        self
    }

    /// Starts commands and opens files of the config through this, instead of by itself.
    pub fn outside(mut self, outside: Option<Arc<dyn Outside>>) -> Self {
        self.outside = outside;
        self
    }

    /// Asks authorization servers through this, instead of the network.
    pub fn http(mut self, http: Arc<dyn Http>) -> Self {
        self.refreshing.set_http(http);
        self
    }

    fn answer_token(
        &self,
        name: &RecordName,
        min_ttl: Duration,
        force: bool,
    ) -> Result<Answer, Failure> {
        let ttl = Ttl::Fresh(min_ttl);
        let token = self.token(name, &Want { ttl, force })?;
        Ok(Answer {
            reply: Reply::Token(token.info),
            secrets: vec![token.access.secret().clone()],
        })
    }

    /// Answers a request.
    ///
    /// # Errors
    /// What went wrong; nothing was changed then. `vault.sealed` after [`Runtime::lock`].
    pub fn call(&self, request: Request, secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        match request {
            Request::Status => self.status().map(Reply::Status).map(Answer::plain),
            Request::Get { name, version } => self.get(&name, version),
            Request::SignOut { name, local_only } => self
                .sign_out(&name, local_only)
                .map(Reply::SignedOut)
                .map(Answer::plain),
            Request::Token {
                name,
                min_ttl_ms,
                force,
            } => self.answer_token(&name, Duration::from_millis(min_ttl_ms), force),
            Request::CheckWritable => self.with_vault(|vault| {
                vault.check_writable()?;
                Ok(Answer::plain(Reply::Done))
            }),
            Request::List => self.with_current_vault(|vault| Ok(Reply::Records(vault.list()))),
            Request::ListUnder { prefix } => {
                self.with_current_vault(|vault| Ok(Reply::Records(vault.list_under(&prefix))))
            }
            Request::History { name } => self.with_current_vault(|vault| {
                let versions = vault.history(&name)?;
                Ok(Reply::Versions(
                    versions.into_iter().map(version_info).collect(),
                ))
            }),
            Request::Put {
                name,
                kind,
                meta,
                expect,
            } => self.put(name, kind, meta, expect, secrets),
            Request::Compare { name } => self.compare(&name, secrets),
            Request::Remove { name, expect } => {
                let change = Change::Delete {
                    name: name.clone(),
                    expect,
                };
                self.commit(vec![change], &[&name], None)
            }
            Request::Rename { from, to } => {
                let change = Change::Rename {
                    from: from.clone(),
                    to: to.clone(),
                };
                self.commit(vec![change], &[&from, &to], Some(&to))
            }
            Request::Restore { name, version } => self.restore(name, version),
            Request::Resolve { refs } => self.resolve(&refs),
            Request::Report { agent } => self
                .dry_run(agent.as_ref())
                .map(Reply::Report)
                .map(Answer::plain),
            Request::Reload => self.reload().map(Reply::Report).map(Answer::plain),
            Request::Compact { keep_history } => self.with_vault(|vault| {
                vault.compact(keep_history)?;
                Ok(committed(vault, None))
            }),
            Request::Verify => {
                self.with_current_vault(|vault| Ok(Reply::Verified(vault.verify_all()?)))
            }
            Request::Lock => {
                self.lock();
                Ok(Answer::plain(Reply::Done))
            }
        }
    }

    /// Waits for refreshes and a commit that run, then wipes the keys and the snapshot.
    pub fn lock(&self) {
        self.stop_refreshing();
        if let Some(mut vault) = held(&self.vault).take() {
            // What a newer value replaced need not outlive the session. Compaction is a courtesy:
            // if it fails, the vault is as whole as before.
            let _ = vault.compact_superseded();
        }
        self.others.close();
        self.exec_cache.clear();
        held(&self.activation).sealed(clock::now());
    }

    /// Takes the sub-keys of the same vault anew: after a rekey, or to unlock it again.
    ///
    /// # Errors
    /// `vault.untrusted` if they are not of this state folder's vault; as [`OpenVault::open`]. The
    /// old keys stay in force then.
    pub fn rearm(&self, keys: SubKeys) -> Result<(), Failure> {
        let ground = self.fresh_ground()?;
        let options = Options {
            allow_network_fs: ground.config.vault.allow_network_fs,
            ..Options::default()
        };
        let file = VaultFile::open(&self.vault_path()?, options)?;
        let header = Header::parse(&file.read_header()?)?;
        header.verify_with(&keys)?;
        // Whoever hands keys over has opened the vault, and checked it, with a keyslot's secret.
        let options = OpenOptions {
            authenticated: true,
            ..OpenOptions::default()
        };
        let opened = OpenVault::open(file, header, keys, &self.state.anchors(), &options)?;
        *held(&self.vault) = Some(opened);
        self.refreshing.resume();
        Ok(())
    }

    /// The files whose change calls for a new snapshot: the config, the profiles, the vault.
    pub fn watched_files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.config.clone()];
        files.extend(
            held(&self.ground)
                .as_ref()
                .map(|ground| ground.files())
                .unwrap_or_default(),
        );
        files.extend(
            held(&self.vault)
                .as_ref()
                .map(|vault| vault.path().to_path_buf()),
        );
        files.sort();
        files.dedup();
        files
    }

    /// What the opened vault says of itself; `None` once it is locked.
    pub(super) fn vault_status(&self) -> Result<Option<VaultStatus>, Failure> {
        held(&self.vault).as_mut().map(status::opened).transpose()
    }

    /// The state folder.
    pub fn state_dir(&self) -> &StateDir {
        &self.state
    }

    /// The config file.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Resolves refs with these providers; gathers every outcome. Accounts give access tokens as
    /// they are wanted.
    pub(super) fn resolve_with(
        &self,
        config: &Config,
        refs: impl IntoIterator<Item = SecretRef>,
        want: Want,
    ) -> Result<Outcomes, Failure> {
        let values = Values {
            runtime: self,
            want,
        };
        self.with_context(config, |context| {
            let resolver = Resolver {
                config,
                context,
                vault: &values,
            };
            resolver.resolve(refs)
        })
    }

    pub(super) fn is_locked(&self) -> bool {
        held(&self.vault).is_none()
    }

    pub(super) fn generation(&self) -> Result<u64, Failure> {
        self.with_vault(|vault| {
            vault.catch_up()?;
            Ok(vault.generation())
        })
    }

    pub(super) fn with_vault<T>(
        &self,
        act: impl FnOnce(&mut OpenVault) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match held(&self.vault).as_mut() {
            Some(vault) => act(vault),
            None => Err(Failure::new(Code::VaultSealed, "the vault is locked")),
        }
    }

    /// Answers from the newest state of the file.
    fn with_current_vault(
        &self,
        act: impl FnOnce(&mut OpenVault) -> Result<Reply, Failure>,
    ) -> Result<Answer, Failure> {
        self.with_vault(|vault| {
            vault.catch_up()?;
            act(vault).map(Answer::plain)
        })
    }

    pub(super) fn vault_path(&self) -> Result<PathBuf, Failure> {
        let configured = self.ground()?.config.vault.path.clone();
        match configured {
            None => Ok(self.state.vault()),
            Some(path) => path.expand(std::env::home_dir().as_deref()).ok_or_else(|| {
                Failure::new(
                    Code::ConfigInvalid,
                    "vault.path starts with ~ but there is no home",
                )
            }),
        }
    }

    fn get(&self, name: &RecordName, version: Option<u64>) -> Result<Answer, Failure> {
        let (info, mut value, newest) = self.with_vault(|vault| {
            vault.catch_up()?;
            let (info, value) = vault.get(name, version)?;
            let newest = vault.vault().find(name).map(|newest| newest.version);
            Ok((info, value, newest))
        })?;
        if info.kind == RecordKind::OAuth {
            if Some(info.version) != newest {
                return Err(used_up(name));
            }
            value = self.token(name, &Want::FRESH)?.access.secret().clone();
        }
        Ok(Answer {
            reply: Reply::Value(info),
            secrets: vec![value],
        })
    }

    fn put(
        &self,
        name: RecordName,
        kind: RecordKind,
        mut meta: Meta,
        expect: Expect,
        mut secrets: Vec<SecretValue>,
    ) -> Result<Answer, Failure> {
        let value = match (secrets.pop(), secrets.is_empty()) {
            (Some(value), true) => value,
            _ => return Err(Failure::new(Code::Bug, "a write takes exactly one value")),
        };
        if value.len() > MAX_VALUE {
            let text = format!("a value has at most {MAX_VALUE} bytes");
            return Err(Failure::new(Code::InputTooLarge, text));
        }
        if kind == RecordKind::OAuth {
            return self.put_account(name, meta, expect, value);
        }
        self.refuse_over_account(&name)?;
        meta.created_at = Some(clock::now());
        let change = Change::Put {
            name: name.clone(),
            kind,
            meta,
            value,
            expect,
        };
        self.commit(vec![change], &[&name], Some(&name))
    }

    /// What a value is written over can be restored, but not the tokens of an account.
    fn refuse_over_account(&self, name: &RecordName) -> Result<(), Failure> {
        let known = self.with_vault(|vault| {
            vault.catch_up()?;
            Ok(vault.vault().find(name))
        })?;
        if known.is_some_and(|record| record.kind == RecordKind::OAuth) {
            let text = format!(
                "{name} holds an OAuth account, which could not be restored: sign out of it first, \
                 or remove it"
            );
            return Err(Failure::new(Code::RecordExists, text));
        }
        Ok(())
    }

    fn compare(&self, name: &RecordName, secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        let [value] = secrets.as_slice() else {
            return Err(Failure::new(
                Code::Bug,
                "a comparison takes exactly one value",
            ));
        };
        self.with_current_vault(|vault| {
            let comparison = match vault.get(name, None) {
                Ok((_, sealed)) if sealed == *value => Comparison::Same,
                Ok(_) => Comparison::Other,
                Err(failure) if failure.code == Code::RecordAbsent => Comparison::Absent,
                Err(failure) => return Err(failure),
            };
            Ok(Reply::Compared(comparison))
        })
    }

    /// Stores a sign-in. What was not known of earlier attempts to refresh is of no interest now.
    fn put_account(
        &self,
        name: RecordName,
        meta: Meta,
        expect: Expect,
        value: SecretValue,
    ) -> Result<Answer, Failure> {
        let meta = refresh::meta_of_value(&name, &meta, &value)?;
        let answer = self.with_vault(|vault| {
            vault.catch_up()?;
            let mut changes = refresh::settled(vault, &name);
            changes.push(Change::Put {
                name: name.clone(),
                kind: RecordKind::OAuth,
                meta,
                value,
                expect,
            });
            vault.commit(changes)?;
            Ok(committed(vault, Some(&name)))
        })?;
        self.publish_records(&[&name]);
        Ok(answer)
    }

    /// An older version becomes the newest again. What the record holds now stays in its history.
    fn restore(&self, name: RecordName, version: u64) -> Result<Answer, Failure> {
        let (old, value, current) = self.with_vault(|vault| {
            vault.catch_up()?;
            let (old, value) = vault.get(&name, Some(version))?;
            let (current, _) = vault.get(&name, None)?;
            if [old.kind, current.kind].contains(&RecordKind::OAuth) {
                return Err(used_up(&name));
            }
            Ok((old, value, current.version))
        })?;
        let expect = Expect::Version(current);
        self.put(name, old.kind, old.meta, expect, vec![value])
    }

    /// Persist, publish, acknowledge.
    fn commit(
        &self,
        changes: Vec<Change>,
        touched: &[&RecordName],
        written: Option<&RecordName>,
    ) -> Result<Answer, Failure> {
        let answer = self.with_vault(|vault| {
            vault.commit(changes)?;
            Ok(committed(vault, written))
        })?;
        self.publish_records(touched);
        Ok(answer)
    }

    fn resolve(&self, refs: &[SecretRef]) -> Result<Answer, Failure> {
        if refs.len() > MAX_RESOLVE_REFS {
            let text = format!(
                "{} refs in one request, {MAX_RESOLVE_REFS} at most",
                refs.len()
            );
            return Err(Failure::new(Code::RefLimit, text));
        }
        let snapshot = held(&self.activation).snapshot().cloned();
        // The vault itself is always as fresh as a snapshot can be, and costs microseconds; what
        // files and commands gave stands in the snapshot, if the ref is active.
        let held_ready = |reference: &SecretRef| match reference.source() {
            Source::Vault | Source::Env => None,
            Source::File | Source::Exec => snapshot
                .as_ref()
                .and_then(|snapshot| snapshot.get(reference))
                .cloned(),
        };
        let missing: Vec<SecretRef> = refs
            .iter()
            .filter(|r| held_ready(r).is_none())
            .cloned()
            .collect();
        let outcomes = self.resolve_now(missing)?;
        let mut secrets = Vec::with_capacity(refs.len());
        let mut replies = Vec::with_capacity(refs.len());
        for reference in refs {
            match held_ready(reference)
                .map(Ok)
                .or_else(|| outcomes.get(reference).cloned())
            {
                Some(Ok(value)) => {
                    secrets.push(value);
                    replies.push(Outcome::Ok);
                }
                Some(Err(failure)) => replies.push(Outcome::Failed(failure)),
                None => return Err(Failure::new(Code::Bug, "a ref has no outcome")),
            }
        }
        Ok(Answer {
            reply: Reply::Resolved(replies),
            secrets,
        })
    }

    /// Refs that need no config are resolved without reading it.
    fn resolve_now(&self, refs: Vec<SecretRef>) -> Result<Outcomes, Failure> {
        let plain = |r: &SecretRef| {
            matches!(r.source(), Source::Vault | Source::Env) && r.provider().as_str() == "default"
        };
        if refs.iter().all(plain) && held(&self.ground).is_none() {
            return self.resolve_with(&Config::default(), refs, Want::FRESH);
        }
        let ground = self.ground()?;
        self.resolve_with(&ground.config, refs, Want::FRESH)
    }
}

fn used_up(name: &RecordName) -> Failure {
    let text = format!(
        "{name}: earlier versions of an account hold refresh tokens that are used up; sign in anew"
    );
    Failure::new(Code::InputInvalid, text)
}

fn committed(vault: &OpenVault, written: Option<&RecordName>) -> Answer {
    let version = written
        .and_then(|name| vault.vault().find(name))
        .map(|info| info.version);
    Answer::plain(Reply::Committed(Committed {
        generation: vault.generation(),
        name: written.cloned(),
        version,
    }))
}

fn version_info(version: crate::vault::VersionInfo) -> VersionInfo {
    VersionInfo {
        version: version.version,
        current: version.current,
        created_at: version.meta.created_at,
        note: version.meta.note,
    }
}

/// Locks a mutex. A thread that panicked while it held it left whole values behind: everything
/// that is guarded here is replaced in one assignment.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The runtime of one command, in its own process.
pub struct Local(Runtime);

impl Local {
    /// As [`Runtime::new`].
    pub fn new(state: StateDir, config: PathBuf, vault: OpenVault) -> Self {
        let mut runtime = Runtime::new(state, config, vault);
        // A command is ended by a key; the daemon has its own way to end.
        runtime.refreshing.defer_signals();
        Self(runtime)
    }
}

impl Service for Local {
    fn call(&mut self, request: Request, secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        self.0.call(request, secrets)
    }
}
