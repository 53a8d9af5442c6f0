//! The binary.

use std::process::ExitCode;

/// The C library has one lock for the memory of several threads, and a query that is done holds it while it gives back
/// hundreds of MiB; an event waits. Figures: docs/decisions/0030.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory that nothing uses is given back after about a second, and by a thread of its own. What the environment says
/// (`_RJEM_MALLOC_CONF`) comes after it and counts.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
#[expect(unsafe_code, reason = "the allocator reads its settings from a symbol of this name")]
// SAFETY: nothing else has this name, and it is what the allocator expects: the address of a text that ends with a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8; 43] = b"background_thread:true,dirty_decay_ms:1000\0";

fn main() -> ExitCode {
    flywheel::keep_small();
    flywheel::main()
}
