"""Names of tables and views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet

from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.relation import RelationType


@dataclass(frozen=True, eq=False, repr=False)
class FlywheelRelation(BaseRelation):
    """A table or view of the lake: `"flywheel"."schema"."name"`.

    A table is replaced, and a view, in one commit; so neither needs a second name meanwhile.
    """

    renameable_relations: FrozenSet[RelationType] = field(
        default_factory=lambda: frozenset({RelationType.Table, RelationType.View})
    )
    replaceable_relations: FrozenSet[RelationType] = field(
        default_factory=lambda: frozenset({RelationType.Table, RelationType.View})
    )

    def relation_max_name_length(self) -> int:
        """The longest name, in bytes: it is a folder's."""
        return 200
