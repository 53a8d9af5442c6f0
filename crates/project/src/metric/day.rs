//! What a day is, as the last word of a time dimension: `ordered_on.is_workday`.

use super::same;

/// Something that the calendar says of the day a time lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayAttribute {
    /// Whether people work.
    IsWorkday,
    /// Whether it is off for a holiday; a weekend alone is none.
    IsHoliday,
    /// The name it has, in English.
    Holiday,
    /// The name it has, in Chinese.
    HolidayZh,
    /// `workday`, `weekend`, `holiday` or `make-up-workday`.
    DayKind,
}

impl DayAttribute {
    /// Every one, in the order of the documentation.
    pub const ALL: [Self; 5] =
        [Self::IsWorkday, Self::IsHoliday, Self::Holiday, Self::HolidayZh, Self::DayKind];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::IsWorkday => "is_workday",
            Self::IsHoliday => "is_holiday",
            Self::Holiday => "holiday",
            Self::HolidayZh => "holiday_zh",
            Self::DayKind => "day_kind",
        }
    }

    /// The attribute that is called so, in either language.
    #[must_use]
    pub fn called(word: &str) -> Option<Self> {
        let zh = |attribute| match attribute {
            Self::IsWorkday => "是否工作日",
            Self::IsHoliday => "是否节假日",
            Self::HolidayZh => "节日",
            Self::DayKind => "日期类型",
            Self::Holiday => "节日英文名",
        };
        Self::ALL.into_iter().find(|one| same(one.word(), word) || zh(*one) == word)
    }
}
