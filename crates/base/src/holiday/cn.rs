//! Public holidays of mainland China.

use std::ops::RangeInclusive;

use chrono::{Datelike, NaiveDate};

use super::{Day, DayKind, Holiday, Year, earlier, later, lunar};

/// The years whose days off and make-up working days are known as the State Council announced them.
pub const ANNOUNCED: RangeInclusive<i32> = 2006..=2026;

const NEW_YEAR: Holiday = Holiday { name: "new-year", en: "New Year's Day", zh: "元旦" };
const SPRING: Holiday = Holiday { name: "spring-festival", en: "Spring Festival", zh: "春节" };
const QINGMING: Holiday = Holiday { name: "qingming", en: "Tomb-Sweeping Day", zh: "清明节" };
const LABOUR: Holiday = Holiday { name: "labour", en: "Labour Day", zh: "劳动节" };
const DRAGON_BOAT: Holiday =
    Holiday { name: "dragon-boat", en: "Dragon Boat Festival", zh: "端午节" };
const MID_AUTUMN: Holiday =
    Holiday { name: "mid-autumn", en: "Mid-Autumn Festival", zh: "中秋节" };
const NATIONAL: Holiday = Holiday { name: "national", en: "National Day", zh: "国庆节" };
const VICTORY: Holiday =
    Holiday {
        name: "victory", en: "70th anniversary of victory", zh: "抗战胜利70周年纪念日"
    };

/// A year as it was announced; days are month and day in one number, 214 for 14 February.
struct Announced {
    year: i32,
    /// Holidays with their first and last day off.
    off: &'static [(&'static Holiday, u32, u32)],
    /// Weekend days that are worked.
    work: &'static [u32],
}

/// The notices of the General Office of the State Council on the arrangement of holidays, one a year, with what was changed
/// later (2020: the Spring Festival was prolonged). Checked against `chinese_calendar` 1.11.0 and `holidays` 0.109.
const TABLE: &[Announced] = &[
    Announced {
        year: 2006,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 129, 204),
            (&LABOUR, 501, 507),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[128, 205, 429, 430, 930, 1008, 1230, 1231],
    },
    Announced {
        year: 2007,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 218, 224),
            (&LABOUR, 501, 507),
            (&NATIONAL, 1001, 1007),
            (&NEW_YEAR, 1230, 1231),
        ],
        work: &[217, 225, 428, 429, 929, 930, 1229],
    },
    Announced {
        year: 2008,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 206, 212),
            (&QINGMING, 404, 406),
            (&LABOUR, 501, 503),
            (&DRAGON_BOAT, 607, 609),
            (&MID_AUTUMN, 913, 915),
            (&NATIONAL, 929, 1005),
        ],
        work: &[202, 203, 504, 927, 928],
    },
    Announced {
        year: 2009,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 125, 131),
            (&QINGMING, 404, 406),
            (&LABOUR, 501, 503),
            (&DRAGON_BOAT, 528, 530),
            (&NATIONAL, 1001, 1002),
            (&MID_AUTUMN, 1003, 1003),
            (&NATIONAL, 1004, 1008),
        ],
        work: &[104, 124, 201, 531, 927, 1010],
    },
    Announced {
        year: 2010,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 213, 219),
            (&QINGMING, 403, 405),
            (&LABOUR, 501, 503),
            (&DRAGON_BOAT, 614, 616),
            (&MID_AUTUMN, 922, 924),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[220, 221, 612, 613, 919, 925, 926, 1009],
    },
    Announced {
        year: 2011,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 202, 208),
            (&QINGMING, 403, 405),
            (&LABOUR, 430, 502),
            (&DRAGON_BOAT, 604, 604),
            (&DRAGON_BOAT, 606, 606),
            (&MID_AUTUMN, 910, 912),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[130, 212, 402, 1008, 1009, 1231],
    },
    Announced {
        year: 2012,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 122, 128),
            (&QINGMING, 402, 404),
            (&LABOUR, 429, 501),
            (&DRAGON_BOAT, 622, 622),
            (&DRAGON_BOAT, 624, 624),
            (&MID_AUTUMN, 930, 930),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[121, 129, 331, 401, 428, 929],
    },
    Announced {
        year: 2013,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 209, 215),
            (&QINGMING, 404, 406),
            (&LABOUR, 429, 501),
            (&DRAGON_BOAT, 610, 612),
            (&MID_AUTUMN, 919, 921),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[105, 106, 216, 217, 407, 427, 428, 608, 609, 922, 929, 1012],
    },
    Announced {
        year: 2014,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 131, 206),
            (&QINGMING, 405, 407),
            (&LABOUR, 501, 503),
            (&DRAGON_BOAT, 602, 602),
            (&MID_AUTUMN, 908, 908),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[126, 208, 504, 928, 1011],
    },
    Announced {
        year: 2015,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 218, 224),
            (&QINGMING, 405, 406),
            (&LABOUR, 501, 501),
            (&DRAGON_BOAT, 620, 620),
            (&DRAGON_BOAT, 622, 622),
            (&VICTORY, 903, 904),
            (&MID_AUTUMN, 927, 927),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[104, 215, 228, 906, 1010],
    },
    Announced {
        year: 2016,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 207, 213),
            (&QINGMING, 404, 404),
            (&LABOUR, 501, 502),
            (&DRAGON_BOAT, 609, 611),
            (&MID_AUTUMN, 915, 917),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[206, 214, 612, 918, 1008, 1009],
    },
    Announced {
        year: 2017,
        off: &[
            (&NEW_YEAR, 101, 102),
            (&SPRING, 127, 202),
            (&QINGMING, 402, 404),
            (&LABOUR, 501, 501),
            (&DRAGON_BOAT, 528, 530),
            (&NATIONAL, 1001, 1003),
            (&MID_AUTUMN, 1004, 1004),
            (&NATIONAL, 1005, 1008),
        ],
        work: &[122, 204, 401, 527, 930],
    },
    Announced {
        year: 2018,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 215, 221),
            (&QINGMING, 405, 407),
            (&LABOUR, 429, 501),
            (&DRAGON_BOAT, 618, 618),
            (&MID_AUTUMN, 924, 924),
            (&NATIONAL, 1001, 1007),
            (&NEW_YEAR, 1230, 1231),
        ],
        work: &[211, 224, 408, 428, 929, 930, 1229],
    },
    Announced {
        year: 2019,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 204, 210),
            (&QINGMING, 405, 407),
            (&LABOUR, 501, 504),
            (&DRAGON_BOAT, 607, 609),
            (&MID_AUTUMN, 913, 915),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[202, 203, 428, 505, 929, 1012],
    },
    Announced {
        year: 2020,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 124, 202),
            (&QINGMING, 404, 406),
            (&LABOUR, 501, 505),
            (&DRAGON_BOAT, 625, 627),
            (&NATIONAL, 1001, 1008),
        ],
        work: &[119, 426, 509, 628, 927, 1010],
    },
    Announced {
        year: 2021,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 211, 217),
            (&QINGMING, 403, 405),
            (&LABOUR, 501, 505),
            (&DRAGON_BOAT, 612, 614),
            (&MID_AUTUMN, 919, 921),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[207, 220, 425, 508, 918, 926, 1009],
    },
    Announced {
        year: 2022,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 131, 206),
            (&QINGMING, 403, 405),
            (&LABOUR, 430, 504),
            (&DRAGON_BOAT, 603, 605),
            (&MID_AUTUMN, 910, 912),
            (&NATIONAL, 1001, 1007),
            (&NEW_YEAR, 1231, 1231),
        ],
        work: &[129, 130, 402, 424, 507, 1008, 1009],
    },
    Announced {
        year: 2023,
        off: &[
            (&NEW_YEAR, 101, 102),
            (&SPRING, 121, 127),
            (&QINGMING, 405, 405),
            (&LABOUR, 429, 503),
            (&DRAGON_BOAT, 622, 624),
            (&MID_AUTUMN, 929, 929),
            (&NATIONAL, 930, 1006),
            (&NEW_YEAR, 1230, 1231),
        ],
        work: &[128, 129, 423, 506, 625, 1007, 1008],
    },
    Announced {
        year: 2024,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 210, 217),
            (&QINGMING, 404, 406),
            (&LABOUR, 501, 505),
            (&DRAGON_BOAT, 610, 610),
            (&MID_AUTUMN, 915, 917),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[204, 218, 407, 428, 511, 914, 929, 1012],
    },
    Announced {
        year: 2025,
        off: &[
            (&NEW_YEAR, 101, 101),
            (&SPRING, 128, 204),
            (&QINGMING, 404, 406),
            (&LABOUR, 501, 505),
            (&DRAGON_BOAT, 531, 602),
            (&NATIONAL, 1001, 1005),
            (&MID_AUTUMN, 1006, 1006),
            (&NATIONAL, 1007, 1008),
        ],
        work: &[126, 208, 427, 928, 1011],
    },
    Announced {
        year: 2026,
        off: &[
            (&NEW_YEAR, 101, 103),
            (&SPRING, 215, 223),
            (&QINGMING, 404, 406),
            (&LABOUR, 501, 505),
            (&DRAGON_BOAT, 619, 621),
            (&MID_AUTUMN, 925, 927),
            (&NATIONAL, 1001, 1007),
        ],
        work: &[104, 214, 228, 509, 920, 1010],
    },
];

/// Adds the holidays of a year.
pub(super) fn fill(year: i32, found: &mut Year) {
    match TABLE.iter().find(|announced| announced.year == year) {
        Some(announced) => announced.fill(found),
        None => by_law(year, found),
    }
}

impl Announced {
    fn date(&self, day: u32) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(self.year, day / 100, day % 100)
    }

    fn fill(&self, found: &mut Year) {
        for (holiday, first, last) in self.off {
            let Some((first, last)) = self.date(*first).zip(self.date(*last)) else { continue };
            for date in first.iter_days().take_while(|date| *date <= last) {
                found.off(Some(date), holiday);
            }
        }
        for date in self.work.iter().filter_map(|day| self.date(*day)) {
            found.days.insert(date, Day { kind: DayKind::MakeUp, holiday: None });
        }
    }
}

/// The days that the regulation on public holidays gives, in its versions of 1999 and 2024; those between are in the table.
fn by_law(year: i32, found: &mut Year) {
    let recent = year > *ANNOUNCED.end();
    let fixed = |month, day| NaiveDate::from_ymd_opt(year, month, day);
    found.off(fixed(1, 1), &NEW_YEAR);
    let first = lunar::date(year, 1, 1);
    if recent {
        found.off(earlier(first, 1), &SPRING);
    }
    (0..3).for_each(|days| found.off(later(first, days), &SPRING));
    let labour = if recent { 2 } else { 3 };
    (0..labour).for_each(|days| found.off(later(fixed(5, 1), days), &LABOUR));
    (0..3).for_each(|days| found.off(later(fixed(10, 1), days), &NATIONAL));
    if recent {
        found.off(lunar::qingming(year), &QINGMING);
        found.off(lunar::date(year, 5, 5), &DRAGON_BOAT);
        found.off(lunar::date(year, 8, 15), &MID_AUTUMN);
    }
    found.days.retain(|date, _| date.year() == year);
}
