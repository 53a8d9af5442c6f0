//! Torn and damaged files, room ahead, retention, and readers beside the writer.

use std::collections::BTreeMap;

use serde_json::json;

use super::frame::{Stored, message_of, put_message};
use super::*;
use crate::page::Position;
use crate::queue::{Header, Queue, Span, TopicStream};

const TOPIC: &str = "t";

fn folder(path: &Path) -> Folder {
    Journal { path: "j".into(), ..Journal::default() }.folder(path).unwrap()
}

fn open(folder: &Folder, config: &[(&str, &str)], now_ms: i64) -> TopicWriter {
    let config: BTreeMap<String, String> =
        config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    TopicWriter::open(folder, TOPIC, &config, now_ms).unwrap()
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!(sequence)) }
}

/// Whether a writer keeps room ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ahead {
    Nothing,
    Room,
}

impl Ahead {
    /// A file as it is after a kill, of which `bytes` were written.
    fn killed(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Nothing => bytes.to_vec(),
            Self::Room => [bytes, &[0; 10_000]].concat(),
        }
    }
}

/// Writes one batch of values and commits it as `sequence`.
fn write(folder: &Folder, now_ms: i64, sequence: i64, values: &[&str]) {
    let mut writer = open(folder, &[("segment.bytes", "1024")], now_ms);
    for value in values {
        writer.append(Some(b"k"), Some(value.as_bytes())).unwrap();
    }
    writer.commit("s", &checkpoint(sequence)).unwrap();
}

/// The values that a reader sees.
fn seen(folder: &Folder) -> Result<Vec<String>> {
    let stream = TopicStream { topic: TOPIC.to_owned(), ..TopicStream::default() };
    let mut reader = Queue::open(folder, &stream)?;
    let extent = reader.extents()?[&0];
    reader.begin(Span { partition: 0, from: extent.low, to: extent.high })?;
    let mut found = Vec::new();
    while reader.next(&mut |message| {
        assert_eq!(message.offset, extent.low + found.len() as i64);
        found.push(String::from_utf8(message.value.unwrap().to_vec()).unwrap());
    })? {}
    Ok(found)
}

/// The files of the topic, oldest first.
fn files(folder: &Folder) -> Vec<PathBuf> {
    folder.segments(TOPIC).unwrap().into_iter().map(|segment| segment.path).collect()
}

#[test]
fn messages_read_back_as_they_were() {
    let headers = vec![
        Header { name: "trace", value: Some(b"\xff") },
        Header { name: "trace", value: None },
        Header { name: "", value: Some(b"") },
    ];
    for (key, value) in [(None, None), (Some(&b""[..]), Some(&b""[..])), (Some(b"k"), Some(b"\0"))]
    {
        let stored = Stored { offset: 7, millis: -5, key, value, headers: headers.clone() };
        let mut bytes = Vec::new();
        put_message(&mut bytes, &stored).unwrap();
        let payload = &bytes[frame::HEAD_BYTES..];
        assert_eq!(message_of(payload), Some(stored));
        for cut in 0..payload.len() {
            assert_eq!(message_of(&payload[..cut]), None, "{cut}");
        }
    }
}

#[test]
fn a_checksum_is_the_one_of_iscsi() {
    // RFC 3720, B.4: 32 bytes of zeros.
    let crc = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);
    assert_eq!(crc.checksum(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn a_file_that_ends_anywhere_in_the_last_batch_loses_that_batch_and_nothing_else() {
    for ahead in [Ahead::Nothing, Ahead::Room] {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        write(&folder, 1, 1, &["a"]);
        write(&folder, 2, 2, &["b", "c"]);
        let file = files(&folder)[0].clone();
        let kept = fs::metadata(&file).unwrap().len();
        write(&folder, 3, 3, &["d", "e"]);
        let whole = fs::read(&file).unwrap();
        assert_eq!(seen(&folder).unwrap(), ["a", "b", "c", "d", "e"]);
        for cut in usize::try_from(kept).unwrap()..whole.len() {
            let left = ahead.killed(&whole[..cut]);
            fs::write(&file, &left).unwrap();
            assert_eq!(seen(&folder).unwrap(), ["a", "b", "c"], "{ahead:?} {cut}");
            assert_eq!(folder.checkpoint(TOPIC, "s").unwrap(), Some(checkpoint(2)), "{cut}");
            assert_eq!(committed_bytes(&file), Some(kept));
            // Readers leave the file alone, the next writer does not.
            assert_eq!(fs::read(&file).unwrap(), left);
            drop(open(&folder, &[], 4));
            assert_eq!(fs::metadata(&file).unwrap().len(), kept, "{ahead:?} {cut}");
            write(&folder, 4, 3, &["f"]);
            assert_eq!(seen(&folder).unwrap(), ["a", "b", "c", "f"], "{ahead:?} {cut}");
        }
    }
}

#[test]
fn a_bit_that_flips_is_an_error_or_costs_the_last_batch_and_never_gives_wrong_messages() {
    for ahead in [Ahead::Nothing, Ahead::Room] {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        for (sequence, value) in [(1, "a"), (2, "b"), (3, "c")] {
            write(&folder, 1, sequence, &[value]);
        }
        let file = files(&folder)[0].clone();
        let written = fs::read(&file).unwrap();
        let whole = ahead.killed(&written);
        let mut cut = 0;
        for at in 0..whole.len().min(written.len() + 20) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&file, &bytes).unwrap();
            match seen(&folder) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}: {}", error.report());
                    assert!(error.message().contains(file.to_str().unwrap()), "{error}");
                    assert!(error.message().contains("at byte"), "{error}");
                    assert!(error.hint_text().is_some_and(|hint| hint.contains("on_gap: skip")));
                    // Nobody writes behind damage.
                    assert!(TopicWriter::open(&folder, TOPIC, &BTreeMap::new(), 2).is_err());
                }
                // Nothing was lost in the room.
                Ok(found) if at >= written.len() => assert_eq!(found, ["a", "b", "c"], "{at}"),
                Ok(found) => {
                    assert_eq!(found, ["a", "b"], "{at}");
                    cut += 1;
                }
            }
        }
        // Only the length, the mark and the place of the very last commit decide whether it is one.
        assert!(cut <= 4 + 16 + 8, "{ahead:?}: {cut}");
    }
}

#[test]
fn room_is_kept_ahead_of_a_writer_that_stays_and_is_given_back_when_it_goes() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let mut writer = open(&folder, &[("segment.bytes", "300000")], 0);
    writer.keep_room(0);
    let long = "x".repeat(2_000);
    let (mut grown, mut last, mut segments) = (0, 0, 0);
    for sequence in 1..=300_i64 {
        writer.append(None, Some(long.as_bytes())).unwrap();
        writer.commit("s", &checkpoint(sequence)).unwrap();
        let all = files(&folder);
        let (file, full) = all.split_last().unwrap();
        if full.len() > segments {
            // What is full has no room: whoever reads on finds the next file behind its last frame.
            assert_ne!(fs::read(&full[segments]).unwrap().last(), Some(&0));
            (segments, last) = (full.len(), 0);
        }
        let length = fs::metadata(file).unwrap().len();
        assert!(length <= 310_000, "{length}");
        grown += u64::from(length != last);
        last = length;
        assert_eq!(folder.extent(TOPIC).unwrap(), Extent { low: 0, high: sequence });
    }
    // Each file has grown a few times, and not with each commit.
    assert!(segments == 2 && grown <= 12, "{segments} {grown}");
    let file = files(&folder).pop().unwrap();
    let committed = committed_bytes(&file).unwrap();
    assert!(committed < last, "{committed} {last}");
    assert_eq!(committed_bytes(&files(&folder)[0]), None, "what is full is copied as it is");
    // As a kill leaves it: the next writer goes on in the room.
    let killed = fs::read(&file).unwrap();
    drop(writer);
    assert_eq!(fs::metadata(&file).unwrap().len(), committed);
    fs::write(&file, killed).unwrap();
    let mut writer = open(&folder, &[], 0);
    writer.keep_room(0);
    writer.append(None, Some(b"next")).unwrap();
    writer.commit("s", &checkpoint(301)).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), last);
    // What was taken back is not in the room that comes.
    writer.append(None, Some(b"never")).unwrap();
    writer.abort().unwrap();
    writer.append(None, Some(b"last")).unwrap();
    writer.commit("s", &checkpoint(302)).unwrap();
    let found = seen(&folder).unwrap();
    assert_eq!((found.len(), &found[300..]), (302, &["next".to_owned(), "last".to_owned()][..]));
}

#[test]
fn room_that_is_not_to_be_had_at_once_comes_later() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let mut writer = open(&folder, &[], 0);
    writer.keep_room(5_000);
    let mut room = Vec::new();
    for sequence in 1..=3 {
        writer.append(None, Some("x".repeat(4_000).as_bytes())).unwrap();
        writer.commit("s", &checkpoint(sequence)).unwrap();
        let file = files(&folder).pop().unwrap();
        room.push(fs::metadata(&file).unwrap().len() > committed_bytes(&file).unwrap());
    }
    assert_eq!(room, [false, true, true]);
}

#[test]
fn a_damaged_file_that_is_moved_away_can_be_skipped() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let long = "x".repeat(1_200);
    for sequence in 1..4 {
        write(&folder, 1, sequence, &[&long]);
    }
    write(&folder, 1, 4, &["last"]);
    assert_eq!(files(&folder).len(), 4);
    fs::remove_file(&files(&folder)[1]).unwrap();
    let error = seen(&folder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(error.message().contains("offsets 1 to 1"), "{error}");
    let stream = TopicStream {
        topic: TOPIC.into(),
        on_gap: crate::queue::OnGap::Skip,
        ..Default::default()
    };
    let mut reader = Queue::open(&folder, &stream).unwrap();
    reader.begin(Span { partition: 0, from: 0, to: 4 }).unwrap();
    let mut offsets = Vec::new();
    while reader.next(&mut |message| offsets.push(message.offset)).unwrap() {}
    assert_eq!(offsets, [0, 2, 3]);
}

#[test]
fn readers_beside_the_writer_see_whole_batches_only() {
    const BATCHES: i64 = 60;
    for ahead in [Ahead::Nothing, Ahead::Room] {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        write(&folder, 0, 1, &["0", "0", "0"]);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut writer = open(&folder, &[], 1);
                if ahead == Ahead::Room {
                    writer.keep_room(0);
                }
                for batch in 1..BATCHES {
                    for _ in 0..3 {
                        writer.append(None, Some(batch.to_string().as_bytes())).unwrap();
                    }
                    writer.commit("s", &checkpoint(batch + 1)).unwrap();
                }
            });
            let mut last = 0;
            loop {
                let done = writing.is_finished();
                let found = seen(&folder).unwrap();
                assert!(found.len().is_multiple_of(3) && found.len() >= last, "{}", found.len());
                for (at, value) in found.iter().enumerate() {
                    assert_eq!(value, &(at / 3).to_string());
                }
                last = found.len();
                if done {
                    break;
                }
            }
            assert_eq!(last as i64, 3 * BATCHES);
        });
        assert!(files(&folder).len() > 1, "the segments never turned");
    }
}

#[test]
fn retention_removes_whole_files_by_age_and_by_size_and_never_the_last() {
    let place = tempfile::tempdir().unwrap();
    let aged = Journal { path: "j".into(), retention_age: Some("1s".into()), ..Journal::default() };
    let aged = aged.folder(place.path()).unwrap();
    let long = "x".repeat(1_200);
    write(&aged, 0, 1, &[&long]);
    write(&aged, 500, 2, &[&long]);
    write(&aged, 900, 3, &["young"]);
    assert_eq!(aged.extent(TOPIC).unwrap(), Extent { low: 0, high: 3 });
    // The first file ends where the second begins, at 0 s.
    write(&aged, 1_100, 4, &[]);
    assert_eq!(aged.extent(TOPIC).unwrap(), Extent { low: 1, high: 3 });
    write(&aged, 9_000, 5, &["new"]);
    write(&aged, 99_000, 6, &[]);
    // The file of offset 3 ends where the last one begins, now.
    assert_eq!(aged.extent(TOPIC).unwrap(), Extent { low: 3, high: 4 });
    assert_eq!(aged.checkpoint(TOPIC, "s").unwrap(), Some(checkpoint(6)));
    let other = tempfile::tempdir().unwrap();
    let small =
        Journal { path: "j".into(), retention_bytes: Some("4KiB".into()), ..Journal::default() };
    let small = small.folder(other.path()).unwrap();
    for sequence in 1..20 {
        write(&small, 0, sequence, &[&long]);
        let bytes: u64 = files(&small).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        // At least as much as asked, and one file more at most.
        assert!(bytes < 6 << 10 && (sequence < 5 || bytes >= 4 << 10), "{bytes}");
    }
    let extent = small.extent(TOPIC).unwrap();
    assert!(extent.high == 19 && extent.low >= 15, "{extent:?}");
    // Commits without messages do not let a file grow without end.
    for sequence in 20..60 {
        write(&small, 0, sequence, &[]);
    }
    let last = files(&small).pop().unwrap();
    assert!(fs::metadata(last).unwrap().len() < 2 << 10);
    assert_eq!(small.checkpoint(TOPIC, "s").unwrap(), Some(checkpoint(59)));
}

#[test]
fn a_batch_larger_than_the_retention_stays_until_another_one_comes() {
    let place = tempfile::tempdir().unwrap();
    for bytes in ["4KiB", "1B"] {
        let small = Journal {
            path: bytes.into(),
            retention_bytes: Some(bytes.into()),
            ..Journal::default()
        };
        let small = small.folder(place.path()).unwrap();
        let long = "x".repeat(1_200);
        let many = [long.as_str(); 9];
        write(&small, 0, 1, &many);
        // A write without messages, and whatever opens the topic, leave it as it is.
        write(&small, 0, 2, &[]);
        drop(open(&small, &[], 0));
        assert_eq!(small.extent(TOPIC).unwrap(), Extent { low: 0, high: 9 });
        assert_eq!(seen(&small).unwrap().len(), 9);
        write(&small, 0, 3, &many);
        assert_eq!(small.extent(TOPIC).unwrap(), Extent { low: 9, high: 18 });
    }
}

#[test]
fn settings_of_a_topic_stay_with_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    drop(open(&folder, &[("retention.ms", "5000"), ("max.message.bytes", "99")], 0));
    let later = open(&folder, &[("retention.ms", "7")], 0);
    assert_eq!((later.config.retention_ms, later.config.message_bytes_max), (Some(5_000), 99));
    drop(later);
    fs::write(folder.path.join(TOPIC).join("topic.json"), "{").unwrap();
    let error = TopicWriter::open(&folder, TOPIC, &BTreeMap::new(), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("topic.json"), "{error}");
}
