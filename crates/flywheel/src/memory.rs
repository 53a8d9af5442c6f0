//! How much memory the C library keeps from the system: for what is written in C, and for all where it is the allocator.

/// Makes the C library give memory back that is no longer used; to be called before any thread starts.
///
/// glibc keeps an arena for each thread and, once a large block was freed, takes later ones from the heap,
/// where what is freed below stays. Pages of rows and encoded columns are such blocks: a copy of 20 M rows
/// peaked at 227 MiB, and at 146 MiB with these two settings, for the same processor time. What the environment says
/// (`MALLOC_ARENA_MAX`, `MALLOC_MMAP_THRESHOLD_`) comes first. Other C libraries are left as they are.
pub fn keep_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        set("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, ARENAS_MAX);
        set("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, BLOCK_BYTES_MIN);
    }
}

/// Arenas that threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_MAX: i32 = 2;

/// Blocks of this size and larger are taken from the system one by one, and given back when freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const BLOCK_BYTES_MIN: i32 = 1 << 20;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt has no safe form; no other thread runs yet")]
fn set(variable: &str, parameter: i32, value: i32) {
    if std::env::var_os(variable).is_none() {
        // It only refuses values out of range, and then nothing changes.
        // SAFETY: it takes two numbers and touches no memory of ours.
        unsafe { libc::mallopt(parameter, value) };
    }
}
