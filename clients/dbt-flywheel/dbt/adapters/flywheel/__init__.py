"""dbt's adapter for Flywheel: everything goes over the HTTP doors of a server."""

from dbt.adapters.base import AdapterPlugin

from dbt.adapters.flywheel.connections import FlywheelConnectionManager, FlywheelCredentials
from dbt.adapters.flywheel.impl import FlywheelAdapter
from dbt.include import flywheel

Plugin = AdapterPlugin(
    adapter=FlywheelAdapter,  # type: ignore[arg-type]
    credentials=FlywheelCredentials,
    include_path=flywheel.PACKAGE_PATH,
)

__all__ = ["FlywheelAdapter", "FlywheelConnectionManager", "FlywheelCredentials", "Plugin"]
