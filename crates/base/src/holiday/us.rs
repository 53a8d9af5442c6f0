//! Federal holidays of the United States (5 U.S.C. § 6103).

use chrono::{Datelike, NaiveDate, Weekday};

use super::{BLACK_FRIDAY, Holiday, Year, black_friday, last, nth};

const NEW_YEAR: Holiday = Holiday { name: "new-year", en: "New Year's Day", zh: "元旦" };
const KING: Holiday =
    Holiday { name: "king", en: "Martin Luther King Jr. Day", zh: "马丁·路德·金日" };
const WASHINGTON: Holiday =
    Holiday { name: "washington", en: "Washington's Birthday", zh: "华盛顿诞辰" };
const MEMORIAL: Holiday =
    Holiday { name: "memorial", en: "Memorial Day", zh: "阵亡将士纪念日" };
const JUNETEENTH: Holiday = Holiday { name: "juneteenth", en: "Juneteenth", zh: "六月节" };
const INDEPENDENCE: Holiday =
    Holiday { name: "independence", en: "Independence Day", zh: "独立日" };
const LABOR: Holiday = Holiday { name: "labor", en: "Labor Day", zh: "劳工节" };
const COLUMBUS: Holiday = Holiday { name: "columbus", en: "Columbus Day", zh: "哥伦布日" };
const VETERANS: Holiday = Holiday { name: "veterans", en: "Veterans Day", zh: "退伍军人节" };
const THANKSGIVING: Holiday =
    Holiday { name: "thanksgiving", en: "Thanksgiving Day", zh: "感恩节" };
const CHRISTMAS: Holiday = Holiday { name: "christmas", en: "Christmas Day", zh: "圣诞节" };

/// The first year of Juneteenth.
const JUNETEENTH_SINCE: i32 = 2021;

/// Adds the holidays of a year.
pub(super) fn fill(year: i32, found: &mut Year) {
    found.off(nth(year, 1, Weekday::Mon, 3), &KING);
    found.off(nth(year, 2, Weekday::Mon, 3), &WASHINGTON);
    found.off(last(year, 5, Weekday::Mon), &MEMORIAL);
    found.off(nth(year, 9, Weekday::Mon, 1), &LABOR);
    found.off(nth(year, 10, Weekday::Mon, 2), &COLUMBUS);
    found.off(nth(year, 11, Weekday::Thu, 4), &THANKSGIVING);
    let mut fixed = vec![
        (NaiveDate::from_ymd_opt(year, 1, 1), &NEW_YEAR),
        (NaiveDate::from_ymd_opt(year, 7, 4), &INDEPENDENCE),
        (NaiveDate::from_ymd_opt(year, 11, 11), &VETERANS),
        (NaiveDate::from_ymd_opt(year, 12, 25), &CHRISTMAS),
        // That of the next year, which is observed in this one if it is a Saturday.
        (NaiveDate::from_ymd_opt(year + 1, 1, 1), &NEW_YEAR),
    ];
    if year >= JUNETEENTH_SINCE {
        fixed.push((NaiveDate::from_ymd_opt(year, 6, 19), &JUNETEENTH));
    }
    for (date, holiday) in fixed {
        let observed = date.and_then(|date| match date.weekday() {
            Weekday::Sat => date.pred_opt(),
            Weekday::Sun => date.succ_opt(),
            _ => None,
        });
        for day in [date, observed].into_iter().flatten().filter(|day| day.year() == year) {
            found.off(Some(day), holiday);
        }
    }
    found.named(black_friday(year), &BLACK_FRIDAY);
}
