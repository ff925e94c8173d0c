//! Whole state folders of the family, one for each era, moved with the real program: every value
//! comes out of the vault, and no byte of it is left but where the report says so.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod migrate {
    mod claw;
    mod eras;
    mod export;
    mod first_use;
    mod kills;
    mod links;
    mod logins;
    mod losses;
    mod rows;
    mod second;
    mod stays;
}
