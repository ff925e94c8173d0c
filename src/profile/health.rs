//! How a credential stands: what `models status` says of a profile and of a provider.
//!
//! Nothing is guessed: what lies in a locked vault is unknown. An access token that can be
//! refreshed is fine however soon it ends.

use super::Reason;
use super::entry::{Expiry, ProfileKind};
use crate::time::UnixMs;
use std::time::Duration;

/// What ends sooner than this is expiring: 24 hours.
pub const WARN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How a credential stands, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It has no end.
    Static,
    /// It is valid, or renews itself.
    Ok,
    /// It ends within [`WARN_AFTER`].
    Expiring,
    /// It lies in a locked vault.
    Unknown,
    /// There is none that can be used.
    Missing,
    /// It has ended.
    Expired,
}

impl Status {
    /// The family's name; `unknown` is ours.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Static => "static",
            Status::Ok => "ok",
            Status::Expiring => "expiring",
            Status::Unknown => "unknown",
            Status::Missing => "missing",
            Status::Expired => "expired",
        }
    }
}

/// What is known of what a profile's ref points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The vault is locked.
    Sealed,
    /// Not looked at: it is not in this vault.
    Elsewhere,
    /// The vault has no such record.
    Absent,
    /// A record without an account.
    Value,
    /// An OAuth account.
    Account {
        /// When the access token ends.
        expires_at: Option<UnixMs>,
        /// True if it can be refreshed.
        refreshable: bool,
        /// True if only a new sign-in helps.
        needs_sign_in: bool,
    },
}

/// How a profile's credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// In a word.
    pub status: Status,
    /// Why, where that word does not say it: a reason of [`Reason`], or `sealed`, or
    /// `sign_in_needed`.
    pub reason: Option<&'static str>,
    /// When it ends.
    pub expires_at: Option<UnixMs>,
}

impl Health {
    /// From the profile, the verdict on it, and what its ref points at.
    pub fn of(kind: &ProfileKind, verdict: Result<(), Reason>, held: &Held, now: UnixMs) -> Self {
        let said = match kind.expires() {
            Expiry::At(at) => Some(at),
            Expiry::Never | Expiry::Invalid => None,
        };
        let health = |status, reason, expires_at| Self {
            status,
            reason,
            expires_at,
        };
        if let Err(reason) = verdict {
            let status = match reason {
                Reason::Expired => Status::Expired,
                _ => Status::Missing,
            };
            return health(status, Some(reason.as_str()), said);
        }
        let is_oauth = matches!(kind, ProfileKind::OAuth { .. });
        match *held {
            Held::Absent => health(Status::Missing, Some(Reason::UnresolvedRef.as_str()), said),
            Held::Sealed if is_oauth => health(Status::Unknown, Some("sealed"), None),
            Held::Account {
                expires_at,
                needs_sign_in: true,
                ..
            } => health(Status::Expired, Some("sign_in_needed"), expires_at),
            Held::Account {
                expires_at,
                refreshable: true,
                ..
            } => health(Status::Ok, None, expires_at),
            Held::Account { expires_at, .. } => health(until(expires_at, now), None, expires_at),
            Held::Sealed | Held::Elsewhere | Held::Value => health(until(said, now), None, said),
        }
    }
}

fn until(expires_at: Option<UnixMs>, now: UnixMs) -> Status {
    match expires_at {
        None => Status::Static,
        Some(at) if at <= now => Status::Expired,
        Some(at) if now.until(at) <= WARN_AFTER => Status::Expiring,
        Some(_) => Status::Ok,
    }
}

/// How a provider stands: as the worst of its profiles that are tried; missing without any.
pub fn worst(statuses: impl IntoIterator<Item = Status>) -> Status {
    statuses.into_iter().max().unwrap_or(Status::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Credential;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);
    const DAY: u64 = 86_400_000;

    #[test]
    fn each_status_has_the_family_s_name() {
        let names = [Status::Static, Status::Ok, Status::Expiring].map(Status::as_str);
        assert_eq!(names, ["static", "ok", "expiring"]);
        let names = [Status::Unknown, Status::Missing, Status::Expired].map(Status::as_str);
        assert_eq!(names, ["unknown", "missing", "expired"]);
    }

    fn reference() -> Credential {
        Credential::Ref {
            reference: crate::reference::SecretRef::to_record(&"a".parse().unwrap()),
            older: false,
        }
    }

    fn oauth() -> ProfileKind {
        ProfileKind::OAuth {
            reference: reference(),
            inline: false,
            expires: Expiry::At(UnixMs(1)),
            account_id: None,
        }
    }

    fn account(expires_at: Option<UnixMs>, refreshable: bool, needs_sign_in: bool) -> Held {
        Held::Account {
            expires_at,
            refreshable,
            needs_sign_in,
        }
    }

    #[test]
    fn an_account_is_judged_by_what_the_vault_knows() {
        let of = |held| {
            let health = Health::of(&oauth(), Ok(()), &held, NOW);
            (health.status, health.reason, health.expires_at)
        };
        let past = Some(UnixMs(NOW.0 - 1));
        let soon = Some(UnixMs(NOW.0 + DAY));
        let late = Some(UnixMs(NOW.0 + DAY + 1));
        assert_eq!(of(Held::Sealed), (Status::Unknown, Some("sealed"), None));
        assert_eq!(of(account(past, true, false)), (Status::Ok, None, past));
        let signed_out = (Status::Expired, Some("sign_in_needed"), late);
        assert_eq!(of(account(late, true, true)), signed_out);
        assert_eq!(
            of(account(past, false, false)),
            (Status::Expired, None, past)
        );
        assert_eq!(
            of(account(soon, false, false)),
            (Status::Expiring, None, soon)
        );
        assert_eq!(of(account(late, false, false)), (Status::Ok, None, late));
        assert_eq!(
            of(account(None, false, false)),
            (Status::Static, None, None)
        );
        let (status, reason, _) = of(Held::Absent);
        assert_eq!((status, reason), (Status::Missing, Some("unresolved_ref")));
    }

    #[test]
    fn a_static_credential_is_judged_by_its_profile() {
        let key = ProfileKind::ApiKey { key: reference() };
        let token = |at| ProfileKind::Token {
            token: reference(),
            expires: Expiry::At(UnixMs(at)),
        };
        let of = |kind: &ProfileKind, verdict, held| Health::of(kind, verdict, &held, NOW).status;
        assert_eq!(of(&key, Ok(()), Held::Sealed), Status::Static);
        assert_eq!(of(&key, Ok(()), Held::Absent), Status::Missing);
        let missing = Err(Reason::MissingCredential);
        assert_eq!(of(&key, missing, Held::Elsewhere), Status::Missing);
        let soon = token(NOW.0 + DAY);
        assert_eq!(of(&soon, Ok(()), Held::Sealed), Status::Expiring);
        let expired = Err(Reason::Expired);
        let health = Health::of(&token(1), expired, &Held::Value, NOW);
        assert_eq!(
            (health.status, health.reason),
            (Status::Expired, Some("expired"))
        );
        assert_eq!(health.expires_at, Some(UnixMs(1)));
    }

    proptest! {
        #[test]
        fn a_provider_is_as_good_as_its_worst(order in prop::collection::vec(0..6_usize, 1..9)) {
            let all = [Status::Static, Status::Ok, Status::Expiring, Status::Unknown,
                Status::Missing, Status::Expired];
            let worst_place = order.iter().max().copied().unwrap();
            prop_assert_eq!(worst(order.iter().map(|i| all[*i])), all[worst_place]);
        }
    }

    #[test]
    fn without_profiles_a_provider_is_missing() {
        assert_eq!(worst([]), Status::Missing);
    }
}
