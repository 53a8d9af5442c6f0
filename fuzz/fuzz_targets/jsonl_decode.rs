//! No bytes may make the JSON Lines decoder panic, and every line ends up somewhere.
#![no_main]

use flywheel_connect::source::jsonl::{JsonLinesStream, decode};
use flywheel_connect::{ColumnType, DeclaredColumn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let stream =
        JsonLinesStream { line_bytes_max: Some("4KiB".to_owned()), ..JsonLinesStream::default() };
    let columns = [
        DeclaredColumn::new("a.b", ColumnType::Int64),
        DeclaredColumn::new("c", ColumnType::Date),
        DeclaredColumn::new("d", ColumnType::Json),
    ];
    if let Ok(pages) = decode(bytes.to_vec(), stream, &columns, 16) {
        for page in pages {
            assert!((0..page.batch.num_rows()).all(|row| page.trace(row).is_some()));
        }
    }
});
