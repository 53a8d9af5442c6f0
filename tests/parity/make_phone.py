"""Writes how phone numbers of every region are built, and numbers to check our reading of them.

    pip install phonenumbers==9.0.43
    python tests/parity/make_phone.py

writes crates/connect/src/mapping/normalise/phone.tsv (the metadata of libphonenumber, Apache-2.0) and
tests/parity/phone.json: [region, number as written, E.164 or null] as libphonenumber reads them.
"""

import json
import random
from pathlib import Path

import phonenumbers as p
from phonenumbers import PhoneMetadata
from phonenumbers.data import _COUNTRY_CODE_TO_REGION_CODE as REGIONS

ROOT = Path(__file__).parents[2]
KINDS = (
    "fixed_line mobile toll_free premium_rate shared_cost personal_number voip pager uan voicemail"
).split()


def pattern(description):
    return description.national_number_pattern if description else None


def lengths(region):
    found = set()
    for kind in KINDS:
        one = getattr(region, kind)
        if pattern(one):
            found |= {n for n in one.possible_length or region.general_desc.possible_length if n > 0}
    return sorted(found)


def regions():
    for calling in sorted(REGIONS):
        for name in REGIONS[calling]:
            region = PhoneMetadata.metadata_for_region_or_calling_code(calling, name)
            patterns = dict.fromkeys(pattern(getattr(region, kind)) for kind in KINDS)
            yield [
                name,
                str(calling),
                region.international_prefix or "",
                region.national_prefix_for_parsing or "",
                (region.national_prefix_transform_rule or "").replace("\\", "$"),
                ",".join(map(str, lengths(region))),
                region.general_desc.national_number_pattern,
                "|".join(one for one in patterns if one),
            ]


def read(text, region):
    try:
        number = p.parse(text, region)
    except p.NumberParseException:
        return None
    return p.format_number(number, p.PhoneNumberFormat.E164) if p.is_valid_number(number) else None


def cases():
    draw = random.Random(7)
    formats = [p.PhoneNumberFormat.NATIONAL, p.PhoneNumberFormat.INTERNATIONAL, p.PhoneNumberFormat.RFC3966]
    kinds = [p.PhoneNumberType.FIXED_LINE, p.PhoneNumberType.MOBILE, p.PhoneNumberType.TOLL_FREE]
    for region in sorted(p.SUPPORTED_REGIONS):
        examples = [p.example_number_for_type(region, kind) for kind in kinds]
        written = {p.format_number(n, form): None for n in examples if n for form in formats}
        example = examples[1] or p.example_number(region)
        digits = [c for c in p.format_number(example, p.PhoneNumberFormat.NATIONAL) if c.isdigit()]
        for _ in range(4):
            slip = list(digits)
            slip[draw.randrange(len(slip))] = str(draw.randrange(10))
            written["".join(slip[:-1] if draw.random() < 0.3 else slip)] = None
        for text in written:
            yield [region, text, read(text, region)]


def main():
    table = ROOT / "crates/connect/src/mapping/normalise/phone.tsv"
    head = (
        "# Phone numbers of each region: region, calling code, international prefix, national prefix, how it is"
        " replaced, lengths, general pattern, pattern of any kind. From libphonenumber "
        f"{p.__version__} (Apache-2.0), written by tests/parity/make_phone.py.\n"
    )
    table.write_text(head + "".join("\t".join(row) + "\n" for row in regions()))
    lines = [json.dumps(case, ensure_ascii=False) for case in cases()]
    (ROOT / "tests/parity/phone.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
