"""Makes holidays.txt: the days off that `holidays` and `chinese_calendar` know, and the moon's days of `lunardate`.

A line is `calendar year off MMDD … work MMDD …`; `lunar year new-year dragon-boat mid-autumn`; `easter year MMDD`. Of
China the years 2006 to 2026 are days on which people do not work and are not at home for a weekend alone, by both packages.
Run: python make_holidays.py   (holidays 0.109, chinese_calendar 1.11.0, lunardate 0.3.0)
"""
import datetime, pathlib, warnings
import chinese_calendar, holidays, lunardate
from dateutil.easter import easter

warnings.simplefilter("ignore")
mmdd = lambda day: f"{day:%m%d}"
def days(year):
    day = datetime.date(year, 1, 1)
    while day.year == year:
        yield day
        day += datetime.timedelta(1)

lines = []
for year in range(2006, 2027):
    known, off, work = holidays.China(years=year), [], []
    for day in days(year):
        rest = chinese_calendar.is_holiday(day)
        assert rest == (not known.is_working_day(day)), day
        if rest and day in chinese_calendar.constants.holidays:
            off.append(mmdd(day))
        if not rest and day.weekday() >= 5:
            work.append(mmdd(day))
    lines.append(f"cn {year} off {' '.join(off)} work {' '.join(work)}")
for year in range(2027, 2100):
    try:
        off = [mmdd(day) for day in sorted(holidays.China(years=year, observed=False)) if day.year == year]
    except Exception as error:
        raise SystemExit(f"{year}: {error}")
    lines.append(f"cn {year} off {' '.join(off)} work")
for name, made in dict(us=lambda y: holidays.US(years=y), uk=lambda y: holidays.UK(subdiv="ENG", years=y)).items():
    for year in range(2000, 2100):
        off = [mmdd(day) for day in sorted(made(year)) if day.year == year]
        lines.append(f"{name} {year} off {' '.join(off)} work")
for year in range(2000, 2100):
    moon = [lunardate.LunarDate(year, month, day).toSolarDate() for month, day in ((1, 1), (5, 5), (8, 15))]
    lines.append(f"lunar {year} {' '.join(map(mmdd, moon))}")
    lines.append(f"easter {year} {mmdd(easter(year))}")
pathlib.Path(__file__).with_name("holidays.txt").write_text("\n".join(lines) + "\n")
