"""The real path to a server, checked from outside: as a device and a caller see it. Imports only `client` and below."""

from __future__ import annotations

from server.doctor.examination import CHECKS, Check, examine
from server.doctor.findings import Finding, Status
from server.doctor.patient import Login, Patient
from server.doctor.table import row, summary

__all__ = ["CHECKS", "Check", "Finding", "Login", "Patient", "Status", "examine", "row", "summary"]
