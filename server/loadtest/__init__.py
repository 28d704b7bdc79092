"""A load for a running server, and what it took: `run_load`. Events it makes up are handled for real."""

from __future__ import annotations

from server.loadtest.figures import Figures, Latency
from server.loadtest.ledger import FIRST_ID, TYPE
from server.loadtest.load import Load, Login
from server.loadtest.run import run_load
from server.loadtest.table import counted, table

__all__ = ["FIRST_ID", "TYPE", "Figures", "Latency", "Load", "Login", "counted", "run_load", "table"]
