"""What dbt asks of an adapter, in the words of Flywheel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, FrozenSet, List, Optional, Tuple, Type

from dbt_common.contracts.constraints import ConstraintType
from dbt_common.contracts.metadata import CatalogTable, ColumnMetadata, TableMetadata
from dbt_common.exceptions import DbtDatabaseError

from dbt.adapters.base import BaseRelation, available
from dbt.adapters.base.impl import AdapterConfig, ConstraintSupport
from dbt.adapters.capability import Capability, CapabilityDict, CapabilitySupport, Support
from dbt.adapters.flywheel.client import FlywheelError
from dbt.adapters.flywheel.column import FlywheelColumn
from dbt.adapters.flywheel.connections import FlywheelConnectionManager
from dbt.adapters.flywheel.relation import FlywheelRelation
from dbt.adapters.flywheel.types import sql_type
from dbt.adapters.sql import SQLAdapter

if TYPE_CHECKING:
    import agate

# Texts of one INSERT, in characters. The server takes 768 KiB, and a character can have four bytes.
BATCH_CHARACTERS = 150_000
CATALOG_MACRO = "flywheel__get_catalog_for_single_relation"
# Rows of one INSERT.
BATCH_ROWS = 5_000


class FlywheelAdapter(SQLAdapter):
    """dbt's adapter for a Flywheel server."""

    ConnectionManager = FlywheelConnectionManager
    Relation = FlywheelRelation
    Column = FlywheelColumn
    AdapterSpecificConfigs: Type[AdapterConfig] = AdapterConfig

    # A table of the lake has no constraints; dbt tests its rows instead.
    CONSTRAINT_SUPPORT = {
        ConstraintType.check: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.not_null: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.unique: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.primary_key: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.foreign_key: ConstraintSupport.NOT_SUPPORTED,
    }
    _capabilities = CapabilityDict(
        {
            Capability.SchemaMetadataByRelations: CapabilitySupport(support=Support.Full),
            Capability.GetCatalogForSingleRelation: CapabilitySupport(support=Support.Full),
        }
    )

    @classmethod
    def date_function(cls) -> str:
        """The moment of the statement."""
        return "now()"

    @classmethod
    def convert_text_type(cls, agate_table: "agate.Table", col_idx: int) -> str:
        """Texts of any length."""
        return "text"

    @classmethod
    def convert_number_type(cls, agate_table: "agate.Table", col_idx: int) -> str:
        """Whole numbers have 64 bits; all others are floating-point numbers, as dbt's seeds have them."""
        import agate

        decimals = agate_table.aggregate(agate.MaxPrecision(col_idx))
        return "double" if decimals else "bigint"

    @classmethod
    def convert_integer_type(cls, agate_table: "agate.Table", col_idx: int) -> str:
        """Whole numbers of 64 bits."""
        return "bigint"

    @classmethod
    def convert_datetime_type(cls, agate_table: "agate.Table", col_idx: int) -> str:
        """Moments without a zone."""
        return "timestamp"

    @classmethod
    def convert_time_type(cls, agate_table: "agate.Table", col_idx: int) -> str:
        """The lake's format has no times of day."""
        return "text"

    def valid_incremental_strategies(self) -> List[str]:
        """What an incremental model may say."""
        return ["append", "delete+insert", "merge", "microbatch"]

    def timestamp_add_sql(self, add_to: str, number: int = 1, interval: str = "hour") -> str:
        """A moment that is later by so many intervals."""
        return f"{add_to} + interval '{number} {interval}'"

    @classmethod
    def _catalog_filter_table(
        cls, table: "agate.Table", used_schemas: FrozenSet[Tuple[str, str]]
    ) -> "agate.Table":
        # The server names types as Arrow does; documentation shows SQL's words.
        from dbt_common.clients.agate_helper import table_from_data_flat

        names = list(table.column_names)
        rows = [dict(zip(names, row)) for row in table.rows]
        for row in rows:
            row["column_type"] = sql_type(str(row["column_type"]))
        return super()._catalog_filter_table(table_from_data_flat(rows, names), used_schemas)

    def get_catalog_for_single_relation(self, relation: BaseRelation) -> Optional[CatalogTable]:
        """What the catalog says of one table or view; none if there is none."""
        found: Any = self.execute_macro(CATALOG_MACRO, kwargs={"relation": relation})
        rows = [dict(zip(found.column_names, row)) for row in found.rows]
        if not rows:
            return None
        first = rows[0]
        columns = {
            str(row["column_name"]): ColumnMetadata(
                type=sql_type(str(row["column_type"])),
                index=int(row["column_index"]),
                name=str(row["column_name"]),
                comment=None,
            )
            for row in rows
        }
        metadata = TableMetadata(
            type=first["table_type"],
            schema=first["table_schema"],
            name=first["table_name"],
            database=first["table_database"],
            comment=None,
            owner=None,
        )
        return CatalogTable(metadata=metadata, columns=columns, stats={})

    @available
    def seed_batches(self, rows: Any) -> List[Tuple[Any, ...]]:
        """The rows of a seed in batches of which each fits into one statement."""
        batches: List[Tuple[Any, ...]] = []
        batch: List[Any] = []
        size = 0
        for row in rows:
            # Every value has quotes and a comma, and quotes in it are doubled.
            length = sum(2 * len(str(value)) + 4 for value in row)
            if batch and (size + length > BATCH_CHARACTERS or len(batch) >= BATCH_ROWS):
                batches.append(tuple(batch))
                batch, size = [], 0
            batch.append(row)
            size += length
        if batch:
            batches.append(tuple(batch))
        return batches

    @available
    def seed_value(self, value: Any) -> Any:
        """A value of a seed as text, which the server converts to the type of its column, exactly."""
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if hasattr(value, "isoformat"):
            return value.isoformat()
        return str(value)

    @available.parse_none
    def standardize_grants_dict(self, grants_table: "agate.Table") -> Dict[str, List[str]]:
        """There are no grants on tables: who reads what is said by the rules of the project."""
        return {}

    def get_columns_in_relation(self, relation: BaseRelation) -> List[FlywheelColumn]:
        """The columns of a table or view; none if there is no such thing, as dbt expects."""
        try:
            return super().get_columns_in_relation(relation)
        except DbtDatabaseError as error:
            cause = error.__cause__
            if not isinstance(cause, FlywheelError) or cause.code != "not-found":
                raise
            # A view that reads something that is gone is there itself.
            there = self.list_relations_without_caching(relation.without_identifier())
            if any(one.identifier == relation.identifier for one in there):
                raise
            return []

    def get_rows_different_sql(
        self,
        relation_a: BaseRelation,
        relation_b: BaseRelation,
        column_names: Any = None,
        except_operator: str = "EXCEPT",
    ) -> str:
        """A query that counts the rows by which two relations differ."""
        names = column_names
        if names is None:
            names = sorted(
                (self.quote(column.name) for column in self.get_columns_in_relation(relation_a)),
                key=lambda name: name.lower(),
            )
        return super().get_rows_different_sql(relation_a, relation_b, names, except_operator)
