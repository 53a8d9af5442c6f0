//! The Chinese calendar of moon and sun, from 2000 to 2099.

use chrono::{Days, NaiveDate};

/// The first year of [`MONTHS`].
const FIRST: i32 = 2000;

/// A year each: bits 0 to 11 say which of its months have 30 days and not 29, bit 12 whether the leap month has, bits 13 to
/// 16 after which month it comes, 0 for none. Equal to `lunardate` 0.3.0 (`tests/parity/holidays.json`).
const MONTHS: [u32; 100] = [
    0x00693, 0x08a9b, 0x0052b, 0x00a5b, 0x04aae, 0x0056a, 0x0edd5, 0x00ba4, 0x00b49, 0x0ad53,
    0x00a95, 0x0052d, 0x0855d, 0x00ab5, 0x12baa, 0x005d2, 0x00da5, 0x0de8a, 0x00d4a, 0x00c95,
    0x08a9e, 0x00556, 0x00ab5, 0x04ada, 0x006d2, 0x0c765, 0x00725, 0x0064b, 0x0a657, 0x00cab,
    0x0055a, 0x0656e, 0x00b69, 0x16f52, 0x00b52, 0x00b25, 0x0dd0b, 0x00a4b, 0x004ab, 0x0a2bb,
    0x005ad, 0x00b6a, 0x04daa, 0x00d92, 0x0eea5, 0x00d25, 0x00a55, 0x0ba4d, 0x004b6, 0x005b5,
    0x076d2, 0x00ec9, 0x10f92, 0x00e92, 0x00d26, 0x0d516, 0x00a57, 0x00556, 0x09365, 0x00755,
    0x00749, 0x0674b, 0x00693, 0x0eaab, 0x0052b, 0x00a5b, 0x0aaba, 0x0056a, 0x00b65, 0x08baa,
    0x00b4a, 0x10d95, 0x00a95, 0x0052d, 0x0c56d, 0x00ab5, 0x005aa, 0x085d5, 0x00da5, 0x00d4a,
    0x06e4d, 0x00c96, 0x0ecce, 0x00556, 0x00ab5, 0x0bad2, 0x006d2, 0x00ea5, 0x0872a, 0x0068b,
    0x10697, 0x004ab, 0x0055b, 0x0d556, 0x00b6a, 0x00752, 0x08b95, 0x00b45, 0x00a8b, 0x04a4f,
];

/// The first day of the year 2000 in that calendar.
const START: Option<NaiveDate> = NaiveDate::from_ymd_opt(2000, 2, 5);

fn length(long: bool) -> u64 {
    if long { 30 } else { 29 }
}

/// The date of a day of a year's ordinary month; none outside of the years of the table.
pub(super) fn date(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    let at = usize::try_from(year.checked_sub(FIRST)?).ok()?;
    let this = *MONTHS.get(at)?;
    let whole: u64 = MONTHS.iter().take(at).map(|bits| before(*bits, 13)).sum();
    let days = whole + before(this, month) + u64::from(day).checked_sub(1)?;
    START?.checked_add_days(Days::new(days))
}

/// How many days of a year lie before its ordinary month `month`; 13 for all of them.
fn before(bits: u32, month: u32) -> u64 {
    let leap = (bits >> 13) & 0xf;
    let ordinary: u64 = (1..month.min(13)).map(|m| length(bits & (1 << (m - 1)) != 0)).sum();
    let inserted = leap > 0 && leap < month;
    ordinary + if inserted { length(bits & (1 << 12) != 0) } else { 0 }
}

/// Qingming, the day on which the sun stands at 15°.
///
/// # Source
/// The formula of the Purple Mountain Observatory's almanacs for the 21st century; equal to `holidays` 0.109.
pub(super) fn qingming(year: i32) -> Option<NaiveDate> {
    let of_century = u32::try_from(year.checked_sub(FIRST)?).ok().filter(|year| *year < 100)?;
    let day = (of_century * 2422 + 48_100) / 10_000 - of_century / 4;
    NaiveDate::from_ymd_opt(year, 4, day)
}
