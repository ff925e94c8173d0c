//! The OAuth protocol without the network: providers as data, requests and answers, refresh rules.
//!
//! | what | where |
//! | --- | --- |
//! | [`AccessToken`], [`RefreshToken`] and the others, a type for each meaning | [`tokens`] |
//! | [`Endpoint`]: a URL that a request may go to | [`endpoint`] |
//! | [`HttpRequest`], [`HttpAnswer`]: what `net` sends and brings back | [`request`] |
//! | [`ClientOf`]: who asks, where, and how it proves itself | [`client`] |
//! | [`Grant`]: what a token endpoint granted; the requests for it | [`grant`] |
//! | [`Refusal`]: why it did not, classified in one place | [`refusal`] |
//! | [`Account`], [`AccountInfo`]: what the vault keeps | [`record`] |
//! | when a token is fresh, when it is due, how long to wait after a failure | [`freshness`] |
//! | [`Claims`]: what a JWT says of itself, unverified | [`claims`] |
//!
//! Invariants: requests and answers with secrets lie in locked memory and no type shows them; an
//! error names what was wrong and never repeats what a server sent. `now` and randomness are
//! arguments. Sending, waiting, locking and storing are not here.
#![forbid(unsafe_code)]

mod answer;
pub mod claims;
pub mod client;
pub mod endpoint;
pub mod freshness;
pub mod grant;
pub mod record;
pub mod refusal;
pub mod request;
pub mod tokens;

pub use claims::Claims;
pub use client::{ClientAuth, ClientOf, Dialect, TokenFormat};
pub use endpoint::{Endpoint, EndpointError};
pub use grant::{Grant, Revoked, read_grant, read_revocation, refresh_request, revoke_request};
pub use record::{Account, AccountInfo, Identity, RecordError, SignIn, SignInReason};
pub use refusal::{PermanentReason, Refusal};
pub use request::{HttpAnswer, HttpRequest, Method};
pub use tokens::{AccessToken, AuthorizationCode, ClientSecret, IdToken, RefreshToken};
