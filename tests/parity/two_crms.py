"""What `cargo xtask bench crm-merge` makes and looks at; only Python's own modules are needed.

two_crms.py make FOLDER DATA SEED   two SQLite files that hold the accounts and contacts of DATA, split in two
two_crms.py edit FOLDER SEED        conflicting edits of records that both hold, and what must come out of them
two_crms.py matches FOLDER          precision and recall of the matches, as JSON
two_crms.py conflicts FOLDER        fields that hold what the rules declare, as JSON

The column `truth` says what a record really is. It is no field of a link, so no run sees or writes it; `tag` is
a field that only the left side fills: a right record with a truth and a tag is one that was matched.
"""

import csv
import json
import os
import random
import sqlite3
import sys

SIDES = ["left", "right"]
# Shares of the records that both sides hold, and that only the left one does.
BOTH, LEFT_ONLY = 0.6, 0.2
CONTACTS_EACH = 8
# The share of matched records that are edited on both sides.
EDITED = 0.4
SUFFIXES = [" Inc.", " Inc", ", LLC", " Ltd.", " Corp.", " GmbH"]
AREAS = ["206", "212", "303", "305", "312", "404", "415", "512", "617", "713"]
CONSENTS = ["no", "yes"]


def typo(text, rng):
    """The text with one slip of the hand behind its first two letters: swapped, dropped or doubled."""
    if len(text) < 5:
        return text
    at = rng.randrange(2, len(text) - 1)
    kind = rng.choice(["swap", "drop", "double"])
    if kind == "swap":
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind == "drop" else text[:at] + text[at] + text[at:]


def domain(name):
    return "".join(letter for letter in name.lower() if letter.isalnum()) + ".com"


def phone_forms(number):
    """One American number as people write it."""
    a, b, c = number[:3], number[3:6], number[6:]
    return [f"+1{number}", f"({a}) {b}-{c}", f"{a}-{b}-{c}", f"+1 {a} {b} {c}", f"1 {a} {b} {c}", f"{a}.{b}.{c}"]


def read(folder, name):
    with open(os.path.join(folder, name), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pick_side(rng):
    share = rng.random()
    return SIDES if share < BOTH else ["left"] if share < BOTH + LEFT_ONLY else ["right"]


def make(folder, data, seed):
    rng = random.Random(seed)
    bases = {side: sqlite3.connect(os.path.join(folder, f"{side}.db")) for side in SIDES}
    for base in bases.values():
        base.executescript(
            """create table accounts (id integer primary key, name text, domain text, sector text, employees integer,
                   revenue real, tag text, external_key text unique, truth text);
               create table contacts (id integer primary key, name text, email text, phone text, company text,
                   consent text, score integer, budget integer, city text, note text, tag text, changed_at text,
                   external_key text unique, truth text);"""
        )
    ids = {"left": 1, "right": 50_001}
    accounts = read(data, "accounts.csv")
    for account in accounts:
        truth = account["account"]
        for side in pick_side(rng):
            name, site = truth, domain(truth)
            if side == "right":
                name += rng.choice(SUFFIXES) if rng.random() < 0.4 else ""
                name = rng.choice([str.upper, str.lower])(name) if rng.random() < 0.3 else name
                name = typo(name, rng) if rng.random() < 0.25 else name
                site = rng.choice([site, "www." + site, "https://www." + site + "/", None])
            row = (ids[side], name, site, account["sector"], int(account["employees"]), side[0] + ":" + truth, truth)
            bases[side].execute(
                "insert into accounts (id, name, domain, sector, employees, tag, truth) values (?,?,?,?,?,?,?)",
                row if side == "left" else (*row[:5], None, truth),
            )
            ids[side] += 1
    # People are named by the agents' first and last names, no two of them alike.
    agents = [agent["sales_agent"].split(" ", 1) for agent in read(data, "sales_teams.csv")]
    names = [f"{first[0]} {last[1]}" for first in agents for last in agents]
    rng.shuffle(names)
    offset = 0
    for account in accounts:
        for _ in range(CONTACTS_EACH):
            name = names[offset]
            number = f"{rng.choice(AREAS)}{rng.choice('23456789')}{rng.choice('023456789')}{rng.randrange(10)}{offset:04d}"
            email = f"{name.lower().replace(' ', '.')}@{domain(account['account'])}"
            offset += 1
            shown = {}
            for side in pick_side(rng):
                row = {
                    "name": name, "email": email, "phone": f"+1{number}", "company": account["account"],
                    "consent": "yes", "score": 50, "budget": 1000, "city": "Springfield", "note": None,
                    "tag": "l:" + name, "changed_at": "2024-01-01T00:00:00Z", "truth": name, "id": ids[side],
                }
                if side == "right":
                    row["tag"] = None
                    row["phone"] = rng.choice(phone_forms(number))
                    if rng.random() < 0.3:
                        row["name"] = rng.choice([str.upper, str.lower])(name)
                    if rng.random() < 0.25:
                        row["name"] = typo(row["name"], rng)
                    if rng.random() < 0.3:
                        row["company"] += rng.choice(SUFFIXES)
                    # Some are only known by telephone, some only by e-mail, and a few by neither.
                    lost = rng.random()
                    if lost < 0.35:
                        row["email"] = None
                    if 0.3 < lost < 0.6:
                        row["phone"] = None
                    if lost > 0.6 and rng.random() < 0.3:
                        row["email"] = row["email"].upper()
                shown[side] = row
            for side, row in shown.items():
                marks = ", ".join("?" for _ in row)
                bases[side].execute(f"insert into contacts ({', '.join(row)}) values ({marks})", list(row.values()))
                ids[side] += 1
    for base in bases.values():
        base.commit()
    truths = {}
    for table in ["accounts", "contacts"]:
        left, right = ({row[0] for row in bases[side].execute(f"select truth from {table}")} for side in SIDES)
        truths[table] = sorted(left & right)
    with open(os.path.join(folder, "truth.json"), "w", encoding="utf-8") as file:
        json.dump(truths, file)
    print(json.dumps({table: len(both) for table, both in truths.items()}))


def matches(folder):
    with open(os.path.join(folder, "truth.json"), encoding="utf-8") as file:
        truths = json.load(file)
    base = sqlite3.connect(os.path.join(folder, "right.db"))
    said = {}
    for table, both in truths.items():
        pairs = base.execute(f"select substr(tag, 3), truth, name from {table} where truth is not null and tag is not null")
        pairs = pairs.fetchall()
        right = [pair for pair in pairs if pair[0] == pair[1]]
        wrong = [f"{pair[0]} with {pair[1]}" for pair in pairs if pair[0] != pair[1]]
        missed = sorted(set(both) - {pair[0] for pair in right})
        said[table] = {
            "pairs": len(both), "matched": len(pairs), "right": len(right), "missed": missed[:5], "wrong": wrong[:5],
            "precision": len(right) / max(len(pairs), 1), "recall": len(right) / max(len(both), 1),
        }
    print(json.dumps(said))


# What is edited on each side, by field, and what the field's rule makes of it.
def edits(rng, number):
    early, late = "2024-06-01T00:00:00Z", "2024-06-02T00:00:00Z"
    moments = [early, late] if rng.random() < 0.5 else [late, early]
    values = [
        {"company": f"Company {number} {side}", "city": f"City {number} {side}", "score": rng.randrange(1000),
         "budget": rng.randrange(1000), "consent": rng.choice(CONSENTS), "note": rng.choice([None, f"Note {side}"]),
         "changed_at": moments[at]}
        for at, side in enumerate(SIDES)
    ]
    left, right = values
    later = right if moments[1] == late else left
    wanted = {
        "company": later["company"],
        "city": right["city"],
        "score": max(left["score"], right["score"]),
        "budget": min(left["budget"], right["budget"]),
        "consent": "no" if "no" in (left["consent"], right["consent"]) else "yes",
        "note": left["note"] if left["note"] is not None else right["note"],
    }
    return values, wanted


def edit(folder, seed):
    rng = random.Random(seed)
    bases = {side: sqlite3.connect(os.path.join(folder, f"{side}.db")) for side in SIDES}
    pairs = bases["right"].execute(
        "select truth from contacts where truth is not null and substr(tag, 3) = truth order by truth"
    ).fetchall()
    wanted = {}
    for number, (truth,) in enumerate(pairs):
        if rng.random() >= EDITED:
            continue
        values, wanted[truth] = edits(rng, number)
        for side, row in zip(SIDES, values):
            names = ", ".join(f"{name} = ?" for name in row)
            bases[side].execute(f"update contacts set {names} where truth = ?", [*row.values(), truth])
    for base in bases.values():
        base.commit()
    with open(os.path.join(folder, "wanted.json"), "w", encoding="utf-8") as file:
        json.dump(wanted, file)
    print(json.dumps({"records": len(wanted)}))


def conflicts(folder):
    with open(os.path.join(folder, "wanted.json"), encoding="utf-8") as file:
        wanted = json.load(file)
    checked, wrong = 0, []
    for side in SIDES:
        base = sqlite3.connect(os.path.join(folder, f"{side}.db"))
        for truth, fields in wanted.items():
            found = base.execute(f"select {', '.join(fields)} from contacts where truth = ?", [truth]).fetchone()
            for (name, value), is_now in zip(fields.items(), found):
                checked += 1
                if is_now != value:
                    wrong.append(f"{side} {truth} {name}: {is_now} instead of {value}")
    print(json.dumps({"checked": checked, "wrong": len(wrong), "examples": wrong[:5]}))


{"make": make, "edit": edit, "matches": matches, "conflicts": conflicts}[sys.argv[1]](*sys.argv[2:])
