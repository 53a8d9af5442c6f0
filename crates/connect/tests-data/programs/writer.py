"""A program that takes rows, for tests: a Singer target, or an Airbyte destination.

usage: writer.py singer --config FILE
       writer.py airbyte VERB --config FILE [--catalog FILE]

The rows become lines of the file `out` of the configuration as soon as their state comes, by key if
there is one; a state is given back after that. `fault` says what goes wrong instead.
"""

import json
import os
import sys
import time


class Number(float):
    """A number that keeps the digits it came with."""

    def __new__(cls, text):
        made = super().__new__(cls, text)
        made.text = text
        return made


def dump(value):
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {dump(member)}" for name, member in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dump, value)) + "]"
    return json.dumps(value)


def load(text):
    return json.loads(text, parse_float=Number)


class Table:
    """What is in the file, and what waits for a state."""

    def __init__(self, path):
        self.path, self.waiting, self.key = path, [], []
        self.rows = []
        if os.path.exists(path):
            with open(path) as lines:
                self.rows = [load(line) for line in lines]

    def store(self):
        places = {}
        if self.key:
            for place, row in enumerate(self.rows):
                places[tuple(dump(row.get(name)) for name in self.key)] = place
        for row in self.waiting:
            place = places.get(tuple(dump(row.get(name)) for name in self.key)) if self.key else None
            if place is not None:
                self.rows[place].update(row)
                continue
            if self.key:
                places[tuple(dump(row.get(name)) for name in self.key)] = len(self.rows)
            self.rows.append(row)
        self.waiting = []
        with open(self.path + ".new", "w") as out:
            out.writelines(dump(row) + "\n" for row in self.rows)
        os.rename(self.path + ".new", self.path)


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def go_wrong(config, fault):
    """Does what the fault is called by."""
    if fault == "crash":
        sys.exit(f"cannot write with {config.get('password')}")
    if fault == "usage":
        sys.stderr.write("no such option\n")
        sys.exit(2)
    if fault == "hang":
        while True:
            time.sleep(60)
    if fault == "garbage":
        while True:
            say("Loading rows, please wait")
    if fault == "huge":
        while True:
            sys.stdout.write("x" * 65536)
    if fault == "hog":
        hoard = []
        while True:
            hoard.append(bytearray(b"x") * (8 << 20))
    if fault == "early":
        sys.exit(0)
    if fault == "told":
        error = {"message": f"no room with {config.get('password')}", "failure_type": "config_error"}
        say(json.dumps({"type": "TRACE", "trace": {"type": "ERROR", "error": error}}))
        sys.exit(1)


def main():
    protocol, arguments = sys.argv[1], sys.argv[2:]
    verb = "write" if protocol == "singer" else arguments.pop(0)
    given = dict(zip(arguments[::2], arguments[1::2]))
    with open(given["--config"]) as file:
        config = json.load(file)
    if verb == "check":
        say(json.dumps({"type": "CONNECTION_STATUS", "connectionStatus": {"status": "SUCCEEDED"}}))
        return
    fault = config.get("fault")
    table = Table(config["out"])
    if protocol == "airbyte":
        with open(given["--catalog"]) as file:
            catalog = json.load(file)["streams"]
        assert len(catalog) == 1 and catalog[0]["generation_id"] == 0, catalog
        table.key = [path[0] for path in catalog[0]["primary_key"]]
        known = set(catalog[0]["stream"]["json_schema"]["properties"])
    first, state, announced = True, None, False
    for line in sys.stdin:
        message = load(line)
        kind = message["type"]
        if first and fault:
            go_wrong(config, fault)
        first = False
        if kind == "SCHEMA":
            table.key = message["key_properties"]
            known, announced = set(message["schema"]["properties"]), True
        elif kind == "RECORD":
            row = message["record"] if protocol == "singer" else message["record"]["data"]
            assert set(row) <= known, f"a row has other columns than {known}"
            table.waiting.append(row)
        elif kind == "STATE":
            state = line.strip() if protocol == "airbyte" else json.dumps(message["value"])
            table.store()
    if protocol == "singer" and not announced and not first:
        sys.exit("rows without a schema")
    if fault == "mute" or state is None:
        return
    if fault == "other":
        state = state.replace('"commit"', '"committed"')
    say(state)


main()
