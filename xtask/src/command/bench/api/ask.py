"""Asks every route of a server, as its own reference describes them, and prints what came of it as JSON.

Whoever asks may do everything that the first owner may: what is asked can change the project, so it has to be one of
no other use. No route is left out but the stream of what happens, which has no end; it is asked once by hand.

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
LIVE = "/v1/live"


def post(url, body, headers=None):
    request = urllib.request.Request(url, json.dumps(body).encode(), headers or {}, method="POST")
    with urllib.request.urlopen(request) as answer:
        return answer.headers, json.load(answer)


def get(url, headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return json.load(answer)


def token(server, invitation):
    """A token that may do all that the owner may, and what that is."""
    owner = {"token": invitation, "name": "ada", "password": "correct horse battery"}
    headers, made = post(f"{server}/v1/setup", owner)
    session = {"cookie": headers["set-cookie"].split(";")[0], "x-csrf-token": made["csrf"]}
    scopes = get(f"{server}/v1/me", session)["permissions"]
    return post(f"{server}/v1/tokens", {"name": "bench", "scopes": scopes}, session)[1]["token"], scopes


def listens(server, bearer):
    """Whether the stream of what happens begins as it should, without waiting for its end."""
    request = urllib.request.Request(f"{server}{LIVE}", headers=bearer)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status == 200 and answer.headers.get_content_type() == "text/event-stream"


def main(server, invitation, folder, seed, examples):
    report = pathlib.Path(folder) / f"report-{seed}.json"
    secret, scopes = token(server, invitation)
    bearer = {"Authorization": f"Bearer {secret}"}
    asking = [
        pathlib.Path(sys.executable).with_name("st"), "run", f"{server}/v1/openapi.json",
        "--header", f"Authorization: {bearer['Authorization']}",
        "--exclude-path", LIVE,
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
    # Had a question taken the token or some of its scopes away, those after it would all have been refused.
    left = get(f"{server}/v1/me", bearer)["permissions"]
    if sorted(left) != sorted(scopes):
        sys.exit(f"the token may do {left} after the questions instead of {scopes}")
    print(json.dumps({
        "scopes": scopes,
        "cases": found["test_cases"]["generated"] + 1,
        "routes": found["operations"]["tested"] + 1,
        "server_errors": kinds.pop("ServerError", 0),
        "violations": sum(kinds.values()) + (not listens(server, bearer)),
        "errors": len(found["errors"]),
    }))


main(*sys.argv[1:])
