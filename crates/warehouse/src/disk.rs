//! How much room the disk has below a folder.

use std::path::Path;

/// Room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What a user without rights can still write.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// The room of the file system that `folder` is on; none where that is not to be had.
#[must_use]
pub fn disk(folder: &Path) -> Option<Disk> {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    {
        use std::ffi::CString;
        use std::mem::MaybeUninit;
        use std::os::unix::ffi::OsStrExt as _;

        let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
        let mut found = MaybeUninit::<libc::statvfs>::zeroed();
        #[expect(unsafe_code, reason = "the call has no safe form")]
        // SAFETY: the path ends with a zero byte, and the call writes to `found` alone, which is of the type it asks for.
        let failed = unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) };
        if failed != 0 {
            return None;
        }
        #[expect(unsafe_code, reason = "the call has no safe form")]
        // SAFETY: it began as zeros, which are values of all of its fields, and the call has filled it.
        let found = unsafe { found.assume_init() };
        Some(Disk {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
    {
        let _unused = folder;
        None
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_disk_tells_its_room_and_no_disk_tells_none() {
        let folder = tempfile::tempdir().unwrap();
        let found = disk(folder.path()).unwrap();
        assert!(found.total_bytes > 0 && found.free_bytes <= found.total_bytes, "{found:?}");
        assert_eq!(disk(&folder.path().join("gone")), None);
    }
}
