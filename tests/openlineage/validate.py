"""Validates the events that a project tells against the published schemas of OpenLineage.

    pip install openlineage-python jsonschema
    python tests/openlineage/validate.py path/to/flywheel [folder for downloaded schemas]

A small project is synced, built, tested and learned from; one of its models and one of its tests fail. Every event is
validated as a RunEvent, and every facet by the schema that its `_schemaURL` names: by the JSON Schema at that address if
it can be reached, and always by the classes of `openlineage-python`, which are generated from the same schemas; these also
tell keys that a schema does not have. Prints `ok WHAT` or `DIFFERENT WHAT`, and ends with 1 if something is wrong.
"""

import collections
import importlib
import json
import pathlib
import pkgutil
import subprocess
import sys
import tempfile
import types
import typing
import urllib.error
import urllib.request

import attr
import jsonschema
import openlineage.client.generated
import referencing
import referencing.jsonschema
from openlineage.client.generated import base

SPEC = "https://openlineage.io/spec/"
RUN_EVENT = SPEC + "2-0-2/OpenLineage.json#/$defs/RunEvent"
SECONDS = 10
FORMATS = {"runId": "uuid", "eventTime": "date-time", "nominalStartTime": "date-time", "nominalEndTime": "date-time"}

PROJECT = {
    "flywheel.yaml": "name: told\nopenlineage: {file: events.jsonl}\n",
    "connections/files.yaml": "connection: files\ntype: csv\noptions: {folder: data}\n",
    "syncs/shop.yaml": "sync: shop\nconnection: files\nstreams:\n"
    "  - stream: orders\n    options: {path: orders.csv}\n    write: merge\n    key: [id]\n    columns:\n"
    "      - {name: amount, from: Betrag, type: float64}\n      - {name: mail, mask: redact}\n",
    "data/orders.csv": "id,customer,Betrag,mail,day\n1,a,10.5,a@x.example,2024-01-01\n2,b,30,b@x.example,2024-01-02\n",
    "seeds/countries.csv": "customer,country\na,cn\nb,de\n",
    "models/mart/orders.sql": "{{ config(materialized='table') }} select o.id, o.customer, c.country, o.amount, o.mail, o.day "
    "from {{ source('raw', 'orders') }} o join {{ ref('countries') }} c on c.customer = o.customer where o.amount > 1",
    "models/mart/days.sql": "{{ config(materialized='incremental', unique_key='day') }} select day, sum(amount) as amount, "
    "count(*) as orders from {{ ref('orders') }} group by day",
    "models/mart/seen.sql": "{{ config(materialized='view') }} select day, row_number() over (partition by day order by amount) as n, "
    "case when amount > 1 then orders end as some from {{ ref('days') }}",
    "models/mart/measured.sql": "{{ config(materialized='table') }} select country, revenue, middle from metrics.orders",
    "models/mart/broken.sql": "{{ config(materialized='table') }} select cast(customer as int) as n from {{ ref('orders') }}",
    "models/mart/mart.yml": "version: 2\nmodels:\n  - name: orders\n    description: One row per order.\n    columns:\n"
    "      - {name: id, description: The order., tests: [not_null, unique]}\n  - name: days\n    columns:\n"
    "      - {name: orders, tests: [{accepted_values: {values: [7], severity: warn}}]}\n",
    "metrics/orders.yaml": "semantic: orders\ntable: ref('orders')\nentities: {order: {type: primary, key: id}}\n"
    "dimensions: {country: {}}\nmeasures: {amount: {aggregate: sum}, middle: {aggregate: median, expression: amount}}\n"
    "metrics: {revenue: {measure: amount}, middle: {measure: middle}}\n",
    "learners/stages.yaml": "learner: stages\nsegment: {events: \"select customer as unit_id, day as at, amount as value from {{ ref('orders') }}\"}\n",
}


def facet_classes():
    """The class of each facet, by the address of its schema."""
    found = {}
    for module in pkgutil.iter_modules(openlineage.client.generated.__path__):
        module = importlib.import_module(f"openlineage.client.generated.{module.name}")
        for one in vars(module).values():
            if isinstance(one, type) and attr.has(one) and hasattr(one, "_get_schema"):
                found[one._get_schema()] = one
    return found


def whole_schema_of(kind):
    """The JSON Schema that a generated class stands for; classes may hold themselves."""
    classes = {}
    schema = schema_of(kind, classes)
    return {**schema, "$defs": classes}


def schema_of(kind, classes):
    """The schema of a type; those of classes are put into `classes`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        # What may be left out is never null.
        kinds = [schema_of(one, classes) for one in arguments if one is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is list:
        return {"type": "array", "items": schema_of(*arguments, classes)}
    if origin is dict:
        # Facets are validated one by one.
        facet = isinstance(arguments[1], type) and issubclass(arguments[1], base.BaseFacet)
        return {"type": "object", "additionalProperties": True if facet else schema_of(arguments[1], classes)}
    if isinstance(kind, type) and attr.has(kind):
        if kind.__name__ in classes:
            return {"$ref": f"#/$defs/{kind.__name__}"}
        classes[kind.__name__] = {}
        hints = typing.get_type_hints(kind)
        fields = attr.fields(kind)
        properties = {field.name: dict(schema_of(hints[field.name], classes)) for field in fields}
        for name in properties.keys() & FORMATS.keys():
            properties[name]["format"] = FORMATS[name]
        required = [field.name for field in fields if field.default is attr.NOTHING]
        if issubclass(kind, base.BaseFacet):
            required += ["_producer", "_schemaURL"]
            properties.setdefault("_deleted", {"type": "boolean"})
        own = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        classes[kind.__name__].update(own)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, type) and hasattr(kind, "__members__"):
        return {"enum": [member.value for member in kind]}
    return {str: {"type": "string"}, int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"}}.get(kind, {})


class Published:
    """The JSON Schemas at their addresses, kept in a folder; silent once they cannot be reached."""

    def __init__(self, folder):
        self.folder, self.reachable = folder, True
        self.registry = referencing.Registry(retrieve=self.resource)

    def resource(self, address):
        kept = self.folder / address.removeprefix(SPEC).replace("/", "_")
        if not kept.exists():
            with urllib.request.urlopen(address, timeout=SECONDS) as answer:
                kept.write_bytes(answer.read())
        return referencing.Resource.from_contents(
            json.loads(kept.read_text()), default_specification=referencing.jsonschema.DRAFT202012
        )

    def mistakes(self, address, value):
        if not self.reachable:
            return []
        try:
            self.resource(address.split("#")[0])
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 404:
                return [f"there is no schema {address}"]
            self.reachable = False
            return []
        return told({"$ref": address}, value, self.registry)


def told(schema, value, registry=referencing.Registry()):
    validator = jsonschema.Draft202012Validator(
        schema, registry=registry, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return [f"{error.json_path}: {error.message[:160]}" for error in validator.iter_errors(value)]


def facets_of(event):
    """Every facet of an event: where it stands, its key, itself."""
    places = [("run", event["run"], "facets"), ("job", event["job"], "facets")]
    for sets, own in [("inputs", "inputFacets"), ("outputs", "outputFacets")]:
        for data in event.get(sets, []):
            places += [(sets, data, "facets"), (sets, data, own)]
    for place, holder, key in places:
        for name, facet in holder.get(key, {}).items():
            yield f"{place}.{key}", name, facet


def events_of(binary, folder):
    for path, text in PROJECT.items():
        path = pathlib.Path(folder, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(*arguments):
        return subprocess.run([binary, "-C", folder, *arguments], capture_output=True, text=True)

    for arguments, code in [(["sync"], 0), (["build"], 1), (["learn"], 0)]:
        done = run(*arguments)
        if done.returncode != code:
            sys.exit(f"DIFFERENT flywheel {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return [json.loads(line) for line in pathlib.Path(folder, "events.jsonl").read_text().splitlines()]


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        kept = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(folder, "schemas")
        kept.mkdir(parents=True, exist_ok=True)
        published = Published(kept)
        project = pathlib.Path(folder, "project")
        project.mkdir()
        events = events_of(binary, str(project))
    classes = facet_classes()
    wrong, seen, runs = collections.defaultdict(list), collections.Counter(), collections.defaultdict(list)
    for event in events:
        job = event.get("job", {}).get("name", "?")
        what = f"event {event.get('eventType')} of {job}"
        mistakes = told(whole_schema_of(base.RunEvent), event) + published.mistakes(RUN_EVENT, event)
        if event.get("schemaURL") != RUN_EVENT:
            mistakes.append(f"its schemaURL is {event.get('schemaURL')}")
        wrong["events"] += [f"{what}: {mistake}" for mistake in mistakes]
        seen["events"] += 1
        runs[event["run"]["runId"]].append(event.get("eventType"))
        for place, name, facet in facets_of(event):
            address = facet.get("_schemaURL", "")
            known = classes.get(address)
            mistakes = ["no class has this schema"] if known is None else told(whole_schema_of(known), facet)
            mistakes += published.mistakes(address, facet)
            wrong[name] += [f"{what}, {place}.{name} ({address}): {mistake}" for mistake in mistakes]
            seen[name] += 1
    for run, phases in runs.items():
        ends = [phase for phase in phases if phase in ("COMPLETE", "FAIL", "ABORT")]
        if phases[0] != "START" or len(ends) != 1 or phases[-1] != ends[0]:
            wrong["runs"].append(f"run {run} went through {phases}")
    seen["runs"] = len(runs)
    if not any("FAIL" in phases for phases in runs.values()):
        wrong["runs"].append("the model that fails was not told of")
    for name in ("columnLineage", "dataQualityAssertions", "outputStatistics", "errorMessage", "parent", "schema", "sql"):
        if not seen[name]:
            wrong[name].append(f"no event has the facet {name}")
    against = "the published schemas" if published.reachable else "the classes made from them; openlineage.io is out of reach"
    for name in sorted(set(seen) | set(wrong)):
        if wrong[name]:
            for mistake in sorted(set(wrong[name]))[:10]:
                print(f"DIFFERENT openlineage {mistake}")
        else:
            print(f"ok openlineage {name} {seen[name]} against {against}")
    sys.exit(any(wrong.values()))


main()
