//! No bytes may make the parsers of a project's files panic, and the same bytes are told the same twice.
#![no_main]

use flywheel_project::parse_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = parse_bytes(bytes);
    assert_eq!(found.render(), parse_bytes(bytes).render());
});
