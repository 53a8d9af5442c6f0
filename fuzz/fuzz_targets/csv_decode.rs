//! No bytes may make the CSV decoder panic, and no row may be in a page and set aside at once.
#![no_main]

use flywheel_connect::source::csv::{CsvStream, decode};
use flywheel_connect::{ColumnType, DeclaredColumn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let stream = CsvStream { line_bytes_max: Some("4KiB".to_owned()), ..CsvStream::default() };
    let columns = [
        DeclaredColumn::new("a", ColumnType::Int64),
        DeclaredColumn::new("b", ColumnType::Decimal { precision: 9, scale: 2 }),
        DeclaredColumn::new("c", ColumnType::Timestamp),
    ];
    if let Ok(pages) = decode(bytes.to_vec(), stream, &columns, 16) {
        for page in pages {
            let rows = 0..page.batch.num_rows();
            let lines: Vec<_> = rows.filter_map(|row| page.trace(row)).map(|at| at.1).collect();
            assert_eq!(lines.len(), page.batch.num_rows());
            assert!(page.rejected.iter().all(|r| !r.line.is_some_and(|line| lines.contains(&line))));
        }
    }
});
