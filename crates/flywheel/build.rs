//! Links the program with packed relocations where the C library of this machine reads them.

use std::process::Command;

/// The first glibc whose loader reads packed relocations.
const GLIBC_MIN: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    // What is built for another machine may run with an older library than this one's.
    let here = variable("HOST") == variable("TARGET");
    if here && variable("CARGO_CFG_TARGET_ENV") == "gnu" && glibc() >= Some(GLIBC_MIN) {
        // Half a million addresses of functions and texts are put right when the program starts. Written one by one they
        // take 13 MiB of the file, which are then in memory for as long as it runs; packed they take 0.2.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc, such as 2 and 36.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
