//! Durability of the store, seen by a disk that writes down every fsync.

use object_store::{ObjectStoreExt, WriteMultipart};
use tempfile::tempdir;

use super::*;
use crate::testing::WatchedDisk;

fn watched() -> (Arc<WatchedDisk>, DurableStore) {
    let disk = Arc::new(WatchedDisk::default());
    let store = DurableStore::new(Arc::clone(&disk) as Arc<dyn Disk>);
    (disk, store)
}

fn path(folder: &tempfile::TempDir, name: &str) -> Path {
    Path::from_absolute_path(folder.path().join(name)).unwrap()
}

#[tokio::test]
async fn a_put_forces_the_file_before_it_gets_its_name_and_then_every_new_folder() {
    let folder = tempdir().unwrap();
    let (disk, store) = watched();
    store.put(&path(&folder, "a/b/x.json"), "1".into()).await.unwrap();
    let root = folder.path().display();
    let expected = [
        format!("folder {root}"),
        format!("folder {root}/a"),
        format!("file {root}/a/b/x.json#1"),
        format!("folder {root}/a/b"),
    ];
    assert_eq!(disk.take(), expected);
    store.put(&path(&folder, "a/b/y.json"), "1".into()).await.unwrap();
    assert_eq!(disk.take().len(), 2, "known folders are not forced again");
}

#[tokio::test]
async fn uploads_copies_and_renames_are_forced_too() {
    let folder = tempdir().unwrap();
    let (disk, store) = watched();
    let (x, y, z) = (path(&folder, "x"), path(&folder, "y"), path(&folder, "d/z"));
    let mut upload = WriteMultipart::new(store.put_multipart(&x).await.unwrap());
    upload.write(&[7; 100]);
    upload.finish().await.unwrap();
    let root = folder.path().display();
    assert_eq!(disk.take(), [format!("file {root}/x"), format!("folder {root}")]);
    store.copy(&x, &y).await.unwrap();
    assert_eq!(disk.take(), [format!("file {root}/y"), format!("folder {root}")]);
    store.rename(&y, &z).await.unwrap();
    let forced = disk.take();
    assert!(forced.contains(&format!("folder {root}/d")), "{forced:?}");
    assert!(forced.contains(&format!("folder {root}")), "{forced:?}");
    assert_eq!(store.get(&z).await.unwrap().bytes().await.unwrap().len(), 100);
}

#[tokio::test]
async fn of_two_writers_of_a_name_one_wins() {
    let folder = tempdir().unwrap();
    let (_, store) = watched();
    let at = path(&folder, "0.json");
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&at, "first".into(), create()).await.unwrap();
    let second = store.put_opts(&at, "second".into(), create()).await.unwrap_err();
    assert!(matches!(second, Error::AlreadyExists { .. }), "{second}");
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap().as_ref(), b"first");
}

#[tokio::test]
async fn what_cannot_be_forced_is_not_published() {
    let folder = tempdir().unwrap();
    let (disk, store) = watched();
    disk.refuse(Some("file"));
    let at = path(&folder, "0.json");
    store.put(&at, "x".into()).await.unwrap_err();
    assert!(matches!(store.get(&at).await.unwrap_err(), Error::NotFound { .. }));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no temporary file stays");
}
