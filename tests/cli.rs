//! The program as people and other programs meet it: every command, every exit code, with a daemon
//! and without one, at a terminal and away from one.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod scanner;

mod cli {
    mod accounts;
    mod audit;
    mod audit_bounds;
    mod audit_corpus;
    mod audit_databases;
    mod backup;
    mod boot;
    mod confirm;
    mod credentials;
    mod doctor;
    mod doctor_openclaw;
    mod granting;
    mod grants;
    mod kernels;
    mod keyring;
    mod launching;
    mod locked_memory;
    mod memory;
    mod memory_of_keys;
    mod models;
    mod moving;
    mod output;
    mod pointing;
    mod probe;
    mod records;
    mod sandbox;
    mod start;
    mod status;
    mod terminal;
    mod units;
    mod unread;
    mod vault;
    mod world;
}
