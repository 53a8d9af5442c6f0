"""The HTTP doors of a server as a cursor: queries at `/v1/sql`, changes at `/v1/sql/write`."""

from __future__ import annotations

import decimal
import http.client
import json
import ssl
import threading
import urllib.parse
import uuid
from typing import Any, Dict, List, Optional, Sequence, Tuple

from dbt.adapters.flywheel import sql as text
from dbt.adapters.flywheel.types import value

# Rows that one answer may have: the server's own limit.
ROWS_MAX = 100_000
# Longer than the server lets a statement take, so that it is the server that says what went wrong.
GRACE_S = 30

Row = Tuple[Any, ...]


class FlywheelError(Exception):
    """What the server answered instead: its code, what is wrong, and how to mend it."""

    def __init__(self, code: str, detail: str, hint: Optional[str] = None) -> None:
        super().__init__(f"{detail}\n{hint}" if hint else detail)
        self.code = code
        self.hint = hint


class Client:
    """A server and who asks it. Every request has a connection of its own, so threads may share it."""

    def __init__(
        self, url: str, token: str, timeout_ms: int, ca_file: Optional[str] = None
    ) -> None:
        """Does no I/O. `timeout_ms` is for each statement; the server's own limit is 10 minutes."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FlywheelError(
                "invalid", f'"{url}" is no address of a server', "Write http://host:8700."
            )
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._token = token
        self.timeout_ms = timeout_ms
        self._tls = ssl.create_default_context(cafile=ca_file) if self._https else None

    def _connection(self) -> http.client.HTTPConnection:
        seconds = self.timeout_ms / 1000 + GRACE_S
        if self._https:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=seconds, context=self._tls
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=seconds)

    def post(self, path: str, body: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        """Asks for something and reads the answer; numbers in it are exact.

        Raises FlywheelError with the server's own words, or if there is no server.
        """
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", self._base + path, json.dumps(body or {}), headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            where = f"{self._host}:{self._port or (443 if self._https else 80)}"
            raise FlywheelError(
                "unreachable",
                f"the server at {where} does not answer: {error}",
                "Start it with `flywheel serve`, or mend `url` in profiles.yml.",
            ) from error
        finally:
            connection.close()
        try:
            found = json.loads(answer, parse_float=decimal.Decimal) if answer else {}
        except ValueError as error:
            raise FlywheelError(
                "foreign",
                f"what answers at {self._host} is no Flywheel server (status {response.status})",
                "Mend `url` in profiles.yml.",
            ) from error
        if response.status >= 400:
            if not isinstance(found, dict):
                found = {}
            raise FlywheelError(
                str(found.get("code", response.status)),
                str(found.get("detail", f"the server answered with status {response.status}")),
                found.get("hint"),
            )
        return found

    def cancel(self, query_id: str) -> None:
        """Stops a statement. One that has ended already is no error."""
        try:
            self.post(f"/v1/sql/{urllib.parse.quote(query_id)}/cancel", None)
        except FlywheelError as error:
            if error.code != "not-found":
                raise


class Handle:
    """What dbt calls a connection. There is no session behind it, and no transaction."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._lock = threading.Lock()
        self._running: Optional[str] = None

    def cursor(self) -> "Cursor":
        """A new cursor."""
        return Cursor(self)

    def begun(self, query_id: Optional[str]) -> None:
        """Keeps which statement is under way, for whoever cancels it from another thread."""
        with self._lock:
            self._running = query_id

    def cancel(self) -> None:
        """Stops what is under way, if anything is."""
        with self._lock:
            running = self._running
        if running is not None:
            self.client.cancel(running)

    def close(self) -> None:
        """Nothing is held."""

    def commit(self) -> None:
        """Every statement is committed when it has been answered."""

    def rollback(self) -> None:
        """There is nothing to roll back: what failed has changed nothing, the rest is committed."""


class Cursor:
    """Runs scripts statement by statement and holds the answer of the last one, as PEP 249 has it."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.description: Optional[List[Tuple[Any, ...]]] = None
        self.rowcount = -1
        self.query_id: Optional[str] = None
        # The first words of the last statement, in the server's terms for changes.
        self.statement = ""
        self._rows: List[Row] = []
        self._at = 0

    def execute(self, script: str, bindings: Optional[Sequence[Any]] = None) -> None:
        """Runs every statement of the script, one after the other, each committed for itself.

        Raises FlywheelError for the first one that fails; those before it are done.
        """
        for statement in text.statements(text.bound(script, bindings)):
            word = text.first_word(statement)
            if word in text.TRANSACTIONS:
                continue
            self._run(statement, word)

    def _run(self, statement: str, word: str) -> None:
        client = self._handle.client
        self.query_id = f"dbt-{uuid.uuid4().hex}"
        body: Dict[str, Any] = {
            "sql": statement,
            "query_id": self.query_id,
            "timeout_ms": client.timeout_ms,
        }
        self.description, self._rows, self._at = None, [], 0
        self._handle.begun(self.query_id)
        try:
            if word in text.READING:
                self._take(client.post("/v1/sql", {**body, "limit": ROWS_MAX}))
                self.statement = word
                return
            answer = client.post("/v1/sql/write", body)
        finally:
            self._handle.begun(None)
        self.statement = str(answer.get("statement", word))
        self.rowcount = sum(int(answer.get(key) or 0) for key in ("inserted", "updated", "deleted"))

    def _take(self, answer: Dict[str, Any]) -> None:
        columns = answer["columns"]
        if answer.get("truncated"):
            raise FlywheelError(
                "exhausted",
                f"the answer has more rows than the {len(answer['rows'])} that fit",
                "Ask for less: with a limit, or by letting SQL do what is done with the rows.",
            )
        self.description = [
            (column["name"], column["arrow_type"], None, None, None, None, None)
            for column in columns
        ]
        self._rows = [
            tuple(
                value(cell, column["type"], column["arrow_type"])
                for cell, column in zip(row, columns)
            )
            for row in answer["rows"]
        ]
        self.rowcount = len(self._rows)

    def fetchone(self) -> Optional[Row]:
        """The next row; none if there are no more."""
        found = self.fetchmany(1)
        return found[0] if found else None

    def fetchmany(self, size: int = 1) -> List[Row]:
        """The next rows, at most `size`."""
        found = self._rows[self._at : self._at + size]
        self._at += len(found)
        return found

    def fetchall(self) -> List[Row]:
        """The rest."""
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        """Lets go of the rows."""
        self._rows, self._at = [], 0
