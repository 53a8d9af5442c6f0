"""Asks every route of a server, as its own reference describes them, and prints what came of it as JSON.

Arguments: the server's address, the token of its set-up link, a folder for the report, the seed, examples a route.
"""

import json
import pathlib
import subprocess
import sys
import urllib.request

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
SCOPES = ["view", "query", "operate", "promote", "ingest", "decide", "audit", "administer"]


def post(url, body, headers=None):
    request = urllib.request.Request(url, json.dumps(body).encode(), headers or {}, method="POST")
    with urllib.request.urlopen(request) as answer:
        return answer.headers, json.load(answer)


def token(server, invitation):
    owner = {"token": invitation, "name": "ada", "password": "correct horse battery"}
    headers, made = post(f"{server}/v1/setup", owner)
    session = {"cookie": headers["set-cookie"].split(";")[0], "x-csrf-token": made["csrf"]}
    return post(f"{server}/v1/tokens", {"name": "bench", "scopes": SCOPES}, session)[1]["token"]


def main(server, invitation, folder, seed, examples):
    report = pathlib.Path(folder) / f"report-{seed}.json"
    secret = pathlib.Path(folder) / "token"
    if not secret.exists():
        secret.write_text(token(server, invitation))
    asking = [
        pathlib.Path(sys.executable).with_name("st"), "run", f"{server}/v1/openapi.json",
        "--header", f"Authorization: Bearer {secret.read_text()}",
        # A session that ends and an answer that does not.
        "--exclude-path", "/v1/logout", "--exclude-path", "/v1/live",
        "--phases", "coverage,fuzzing", "--max-examples", examples, "--seed", seed,
        "--checks", ",".join(CHECKS), "--continue-on-failure", "--request-timeout", "60", "--warnings", "off",
        "--report", "json", "--report-json-path", report,
    ]
    told = subprocess.run(asking, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(report.read_text())
    if found["failures"] or found["errors"]:
        print(told.stdout, file=sys.stderr)
    kinds = {}
    for failure in found["failures"]:
        kinds[failure["type"]] = kinds.get(failure["type"], 0) + failure["count"]
    print(json.dumps({
        "cases": found["test_cases"]["generated"],
        "routes": found["operations"]["tested"],
        "server_errors": kinds.pop("ServerError", 0),
        "violations": sum(kinds.values()),
        "errors": len(found["errors"]),
    }))


main(*sys.argv[1:])
