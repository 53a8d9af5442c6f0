"""How dbt connects: what stands in profiles.yml, and what becomes of statements and errors."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterator, Optional, Tuple

from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

from dbt.adapters.contracts.connection import (
    AdapterResponse,
    Connection,
    ConnectionState,
    Credentials,
)
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.exceptions import FailedToConnectError
from dbt.adapters.flywheel.client import Client, FlywheelError, Handle
from dbt.adapters.flywheel.types import sql_type
from dbt.adapters.sql import SQLConnectionManager

logger = AdapterLogger("Flywheel")

# The only database there is.
DATABASE = "flywheel"
# The longest time a statement may take, in milliseconds: the server's own limit.
TIMEOUT_MS_MAX = 600_000


@dataclass
class FlywheelCredentials(Credentials):
    """What stands in profiles.yml beside `type: flywheel`."""

    # Always `flywheel`, so it may be left out.
    database: str = DATABASE
    # The schema of the lake that dbt builds in; not one of Flywheel's own models or syncs.
    schema: str = ""
    # The address of the server, such as http://127.0.0.1:8700.
    url: str = "http://127.0.0.1:8700"
    # A token of a user who may view, query and write, with these scopes.
    token: str = ""
    # How long a statement may take, in milliseconds; 10 minutes at most.
    timeout_ms: int = TIMEOUT_MS_MAX
    # A file of certificates to trust, where the server's is not signed by a public authority.
    ca_file: Optional[str] = None

    _ALIASES = {"host": "url", "dbname": "database", "catalog": "database"}

    def __post_init__(self) -> None:
        if self.database != DATABASE:
            raise DbtRuntimeError(
                f'profiles.yml: the database of a Flywheel server is "{DATABASE}", not '
                f'"{self.database}". Leave `database` out.'
            )
        if not self.schema:
            raise DbtRuntimeError("profiles.yml: say in which schema dbt builds: schema: analytics")
        if not 0 < self.timeout_ms <= TIMEOUT_MS_MAX:
            raise DbtRuntimeError(
                f"profiles.yml: timeout_ms is {self.timeout_ms}; write 1 to {TIMEOUT_MS_MAX}."
            )

    @property
    def type(self) -> str:
        """The name of the adapter."""
        return "flywheel"

    @property
    def unique_field(self) -> str:
        """What dbt's anonymous counts are hashed from."""
        return self.url

    def _connection_keys(self) -> Tuple[str, ...]:
        # What `dbt debug` shows, and `target` holds; never the token.
        return ("url", "database", "schema", "timeout_ms", "ca_file")


class FlywheelConnectionManager(SQLConnectionManager):
    """Opens handles and turns the server's answers into dbt's."""

    TYPE = "flywheel"

    @contextmanager
    def exception_handler(self, sql: str) -> Iterator[None]:
        """Turns the server's problems into dbt's errors, with the hint of how to mend them."""
        try:
            yield
        except FlywheelError as error:
            logger.debug(f"{error.code}: {error}")
            raise DbtDatabaseError(str(error)) from error
        except DbtRuntimeError:
            raise
        except Exception as error:
            raise DbtRuntimeError(str(error)) from error

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        """Makes a handle; nothing is asked of the server before the first statement."""
        if connection.state == ConnectionState.OPEN:
            return connection
        credentials = connection.credentials
        try:
            client = Client(
                credentials.url, credentials.token, credentials.timeout_ms, credentials.ca_file
            )
        except (FlywheelError, OSError) as error:
            connection.state = ConnectionState.FAIL
            connection.handle = None
            raise FailedToConnectError(str(error)) from error
        connection.handle = Handle(client)
        connection.state = ConnectionState.OPEN
        return connection

    def cancel(self, connection: Connection) -> None:
        """Stops the statement that is under way."""
        handle = connection.handle
        if handle is not None:
            handle.cancel()

    @classmethod
    def get_response(cls, cursor: Any) -> AdapterResponse:
        """What the last statement did."""
        code = cursor.statement.upper() or "OK"
        message = code if cursor.rowcount < 0 else f"{code} {cursor.rowcount}"
        return AdapterResponse(
            _message=message, code=code, rows_affected=cursor.rowcount, query_id=cursor.query_id
        )

    @classmethod
    def data_type_code_to_name(cls, type_code: Any) -> str:
        """The SQL type of a column of an answer."""
        return sql_type(str(type_code))

    # One statement is one commit: there is nothing to begin or to end.

    def begin(self) -> None:
        """Marks the connection as dbt expects it."""
        self.get_thread_connection().transaction_open = True

    def commit(self) -> None:
        """Marks the connection as dbt expects it; everything is committed already."""
        self.get_thread_connection().transaction_open = False

    def add_begin_query(self) -> None:
        """Nothing is sent."""

    def add_commit_query(self) -> None:
        """Nothing is sent."""
