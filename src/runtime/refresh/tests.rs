//! Refreshing against an authorization server that rotates, detects reuse, and fails as it is told.

mod at_once;
mod crashes;
mod faults;
mod issuer;
mod keeping;
mod model;
mod processes;
mod signing_out;
mod world;
