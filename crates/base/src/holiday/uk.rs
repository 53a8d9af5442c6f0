//! Bank holidays of England and Wales (Banking and Financial Dealings Act 1971, and royal proclamations).

use chrono::{NaiveDate, Weekday};

use super::{
    BLACK_FRIDAY, Holiday, Year, black_friday, earlier, easter, is_weekend, last, later, nth,
};

const NEW_YEAR: Holiday = Holiday { name: "new-year", en: "New Year's Day", zh: "元旦" };
const GOOD_FRIDAY: Holiday =
    Holiday { name: "good-friday", en: "Good Friday", zh: "耶稣受难日" };
const EASTER_MONDAY: Holiday =
    Holiday { name: "easter-monday", en: "Easter Monday", zh: "复活节星期一" };
const EARLY_MAY: Holiday =
    Holiday { name: "early-may", en: "Early May bank holiday", zh: "五月初银行假日" };
const SPRING: Holiday =
    Holiday { name: "spring", en: "Spring bank holiday", zh: "春季银行假日" };
const SUMMER: Holiday =
    Holiday { name: "summer", en: "Summer bank holiday", zh: "夏季银行假日" };
const CHRISTMAS: Holiday = Holiday { name: "christmas", en: "Christmas Day", zh: "圣诞节" };
const BOXING: Holiday = Holiday { name: "boxing", en: "Boxing Day", zh: "节礼日" };
const ROYAL: Holiday = Holiday { name: "royal", en: "Royal occasion", zh: "王室庆典假日" };
const FUNERAL: Holiday =
    Holiday {
        name: "state-funeral", en: "State funeral of Queen Elizabeth II", zh: "女王国葬日"
    };

/// The days that were proclaimed once.
const ONCE: &[(i32, u32, u32, &Holiday)] = &[
    (2002, 6, 3, &ROYAL),
    (2011, 4, 29, &ROYAL),
    (2012, 6, 5, &ROYAL),
    (2022, 6, 3, &ROYAL),
    (2022, 9, 19, &FUNERAL),
    (2023, 5, 8, &ROYAL),
];

/// Adds the holidays of a year.
pub(super) fn fill(year: i32, found: &mut Year) {
    let sunday = easter(year);
    found.off(earlier(sunday, 2), &GOOD_FRIDAY);
    found.off(later(sunday, 1), &EASTER_MONDAY);
    found.off(
        match year {
            // The 75th anniversary of the end of the war.
            2020 => NaiveDate::from_ymd_opt(2020, 5, 8),
            _ => nth(year, 5, Weekday::Mon, 1),
        },
        &EARLY_MAY,
    );
    found.off(
        match year {
            // Moved to the jubilees.
            2002 | 2012 => NaiveDate::from_ymd_opt(year, 6, 4),
            2022 => NaiveDate::from_ymd_opt(2022, 6, 2),
            _ => last(year, 5, Weekday::Mon),
        },
        &SPRING,
    );
    found.off(last(year, 8, Weekday::Mon), &SUMMER);
    for (_, month, day, holiday) in ONCE.iter().filter(|(of, ..)| *of == year) {
        found.off(NaiveDate::from_ymd_opt(year, *month, *day), holiday);
    }
    let fixed = [(1, 1, &NEW_YEAR), (12, 25, &CHRISTMAS), (12, 26, &BOXING)];
    let dates =
        fixed.map(|(month, day, holiday)| (NaiveDate::from_ymd_opt(year, month, day), holiday));
    dates.iter().for_each(|(date, holiday)| found.off(*date, holiday));
    // One that falls on a weekend is made up for on the next day that is worked.
    for (date, holiday) in dates {
        let Some(mut day) = date.filter(|date| is_weekend(*date)) else { continue };
        while is_weekend(day) || found.is_off(day) {
            let Some(next) = day.succ_opt() else { break };
            day = next;
        }
        found.off(Some(day), holiday);
    }
    found.named(black_friday(year), &BLACK_FRIDAY);
}
