"""The dashboard of guide 003: pages and static files. It has no state; all it shows comes from the API below `/api`."""

from .routes import DashboardSettings, dashboard_routes

__all__ = ["DashboardSettings", "dashboard_routes"]
