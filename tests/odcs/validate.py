"""Validates data contracts against the published schema of ODCS 3.1.0, and their way through a project.

    pip install jsonschema pyyaml 'open-data-contract-standard==3.1.*'
    python tests/odcs/validate.py path/to/flywheel [contract.odcs.yaml …]

Each contract is imported into an empty project and exported again: both documents have to be of the schema,
and equal. Contracts made by `flywheel export odcs` for a model without a contract are validated, too. Prints
`ok WHAT` or `DIFFERENT WHAT`, and ends with 1 if something is wrong.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import jsonschema
import open_data_contract_standard
import yaml

SCHEMA = pathlib.Path(open_data_contract_standard.__file__).with_name("schema.json")
OWN = pathlib.Path(__file__).parents[2] / "crates/project/src/odcs/tests/orders.odcs.yaml"


class Plain(yaml.SafeLoader):
    """YAML 1.2's core schema: dates are texts, as in JSON."""


Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def mistakes(document):
    validator = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text()))
    return [f"{e.json_path}: {e.message[:160]}" for e in validator.iter_errors(document)]


def run(binary, folder, *arguments):
    done = subprocess.run([binary, "-C", folder, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"flywheel {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    contracts = [pathlib.Path(name).resolve() for name in sys.argv[2:]] or [OWN]
    bad = 0
    for contract in contracts:
        before = yaml.load(contract.read_text(), Plain)
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "flywheel.yaml").write_text("name: validate\n")
            run(binary, folder, "import", "odcs", str(contract))
            run(binary, folder, "check")
            made = next(pathlib.Path(folder, "contracts").iterdir()).name.removesuffix(".odcs.yaml")
            after = yaml.load(run(binary, folder, "export", "odcs", made).stdout, Plain)
            models = pathlib.Path(folder, "models/mart")
            models.mkdir(parents=True)
            (models / "sales.sql").write_text("select 1 as id, 2.5 as amount")
            (models / "mart.yml").write_text(
                "models:\n  - name: sales\n    columns:\n      - {name: id, tests: [not_null, unique]}\n"
            )
            pathlib.Path(folder, "quality/sales.yaml").write_text(
                "quality: sales\ntable: ref('sales')\nchecks:\n"
                "  - {metric: rowCount, mustBeGreaterThan: 0, monitor: {method: seasonal}}\n"
                "  - {metric: sum, column: amount, mustBeBetween: [0, 9.5]}\n"
            )
            own = yaml.load(run(binary, folder, "export", "odcs", "sales").stdout, Plain)
        for what, found in [
            ("as it came", mistakes(before)),
            ("exported", mistakes(after)),
            ("exported as it came", [] if before == after else ["what was exported differs from what was imported"]),
            ("made for a model without a contract", mistakes(own)),
        ]:
            said = ["DIFFERENT" if found else "ok", f"contract {contract.name} {what}", *found]
            print(*said)
            bad += bool(found)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
