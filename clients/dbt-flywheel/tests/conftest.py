"""Where the suite's server is: FLYWHEEL_URL and FLYWHEEL_TOKEN, set by `cargo xtask bench dbt-adapter`."""

import os

import pytest

pytest_plugins = ["dbt.tests.fixtures.project"]


@pytest.fixture(scope="class")
def dbt_profile_target():
    """The target of every test's profile."""
    url, token = os.environ.get("FLYWHEEL_URL"), os.environ.get("FLYWHEEL_TOKEN")
    if not url or not token:
        pytest.fail(
            "FLYWHEEL_URL and FLYWHEEL_TOKEN are not set: run `cargo xtask bench dbt-adapter`, or start a "
            "server and give its address and a token with the scopes view, query and write"
        )
    return {"type": "flywheel", "url": url, "token": token, "threads": 4}
