"""The group `ephemeral`: models that are a part of what reads them."""

import re

from dbt.tests.adapter.ephemeral.test_ephemeral import (
    BaseEphemeralErrorHandling,
    BaseEphemeralMulti,
    BaseEphemeralNested,
)
from dbt.tests.util import check_relations_equal, run_dbt


def ran(model):
    """What was sent for a model, without digits and white space: the schema's name has a number."""
    with open(f"target/run/test/models/{model}.sql") as file:
        return "".join(re.sub(r"\d+", "", file.read()).split())


# The suite compares the whole statement, and a view is replaced here, without a second name.


class TestEphemeralMulti(BaseEphemeralMulti):
    def test_ephemeral_multi(self, project):
        """The suite's test with the statement of this adapter."""
        run_dbt(["seed"])
        assert len(run_dbt(["run"])) == 3
        for model in ["dependent", "double_dependent", "super_dependent"]:
            check_relations_equal(project.adapter, ["seed", model])
        expected = (
            'create or replace view "flywheel"."test_test_ephemeral"."double_dependent" as '
            "with __dbt__cte__base as (select * from test_test_ephemeral.seed), "
            "__dbt__cte__base_copy as (select * from __dbt__cte__base)"
            "-- base_copy just pulls from base. Make sure the listed"
            "-- graph of CTEs all share the same dbt_cte__base cte"
            "select * from __dbt__cte__base where gender = 'Male' union all "
            "select * from __dbt__cte__base_copy where gender = 'Female'"
        )
        assert ran("double_dependent") == "".join(expected.split())


class TestEphemeralNested(BaseEphemeralNested):
    def test_ephemeral_nested(self, project):
        """The suite's test with the statement of this adapter."""
        assert len(run_dbt(["run"])) == 2
        expected = (
            'create or replace view "flywheel"."test_test_ephemeral"."root_view" as '
            "with __dbt__cte__ephemeral_level_two as ("
            'select * from "flywheel"."test_test_ephemeral"."source_table"), '
            "__dbt__cte__ephemeral as (select * from __dbt__cte__ephemeral_level_two)"
            "select * from __dbt__cte__ephemeral"
        )
        assert ran("root_view") == "".join(expected.split())


class TestEphemeralErrorHandling(BaseEphemeralErrorHandling):
    pass
