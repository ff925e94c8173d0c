//! The OAuth protocol without the network: providers as data, requests and answers, refresh rules.
//!
//! | what | where |
//! | --- | --- |
//! | [`AccessToken`], [`RefreshToken`] and the others, a type for each meaning | [`tokens`] |
//! | [`Endpoint`]: a URL that a request may go to | [`endpoint`] |
//! | [`HttpRequest`], [`HttpAnswer`]: what `net` sends and brings back | [`request`] |
//! | [`Class`]: what a network address reaches | [`address`] |
//! | [`ClientOf`]: who asks, where, and how it proves itself | [`client`] |
//! | [`Grant`]: what a token endpoint granted; the requests for it | [`grant`] |
//! | [`Refusal`]: why it did not, classified in one place | [`refusal`] |
//! | [`Account`], [`AccountInfo`]: what the vault keeps | [`record`] |
//! | when a token is fresh, when it is due, how long to wait after a failure | [`freshness`] |
//! | [`OAuthFlow`], [`TokenSet`]: for providers that are code, not data | [`flow`] |
//! | [`Claims`]: what a JWT says of itself, unverified | [`claims`] |
//! | [`Provider`]: who grants, as data; those built in | [`provider`], [`builtin`] |
//! | [`Server`]: its endpoints; how an issuer tells them | [`server`], [`discovery`] |
//! | [`CodeFlow`]: signing in with a browser; what comes back | [`authorize`], [`callback`] |
//! | [`Device`]: signing in on another device | [`device`] |
//! | [`Challenge`]: what a resource wants of a request | [`challenge`] |
//! | [`ProtectedResource`]: who grants tokens for it | [`protected`] |
//! | registering a client where nobody knows it | [`registration`] |
//! | such a client as fast-agent keeps it | [`kept_client`] |
//! | [`AwaitedGrant`]: what is checked before a grant is an account | [`sign_in`] |
//! | [`Verifier`], [`State`], [`Nonce`]: the random values of one sign-in | [`pkce`] |
//!
//! Invariants: requests and answers with secrets lie in locked memory and no type shows them; an
//! error names what was wrong and never repeats what a server sent. `now` and randomness are
//! arguments. Sending, waiting, locking and storing are not here.
#![forbid(unsafe_code)]

pub mod address;
mod answer;
pub mod authorize;
pub mod builtin;
pub mod callback;
pub mod challenge;
pub mod claims;
pub mod client;
pub mod device;
pub mod discovery;
pub mod endpoint;
#[cfg(test)]
mod fixture;
pub mod flow;
pub mod freshness;
pub mod grant;
pub mod kept_client;
pub mod pkce;
pub mod protected;
pub mod provider;
pub mod record;
pub mod refusal;
pub mod registration;
pub mod request;
pub mod server;
pub mod sign_in;
pub mod tokens;

pub use address::Class;
pub use authorize::{Accepted, Answer, CodeFlow};
pub use callback::{CallbackError, SaidNo};
pub use challenge::Challenge;
pub use claims::Claims;
pub use client::{ClientAuth, ClientOf, Dialect, NamedBy, TokenFormat};
pub use device::{Device, Polled, Prompt, Step};
pub use discovery::{Discovery, DiscoveryError, DiscoveryStep, Issuer, Metadata};
pub use endpoint::{Endpoint, EndpointError};
pub use flow::{OAuthFlow, TokenSet};
pub use grant::{
    Grant, Revoked, code_request, read_grant, read_revocation, refresh_request, revoke_request,
};
pub use pkce::{Nonce, State, Verifier};
pub use protected::ProtectedResource;
pub use provider::{FlowKind, Provider, Redirect, RedirectHost};
pub use record::{Account, AccountInfo, Identity, RecordError, SignIn, SignInReason};
pub use refusal::{PermanentReason, Refusal};
pub use request::{HttpAnswer, HttpRequest, Method};
pub use server::{Endpoints, Server, ServerError};
pub use sign_in::{AwaitedGrant, FlowError, SignInWith};
pub use tokens::{AccessToken, AuthorizationCode, ClientSecret, DeviceCode, IdToken, RefreshToken};
