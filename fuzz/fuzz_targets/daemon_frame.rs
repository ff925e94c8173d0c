//! A stream of frames on the daemon's socket: either side reads any bytes without a panic, and what
//! it accepts survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    reseal::daemon::frame::exercise(data);
});
