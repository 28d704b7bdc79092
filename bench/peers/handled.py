"""What all peers are sent: the vendor's body with one event, by which the generator knows its own clock again."""

from __future__ import annotations

from typing import Final

BODY: Final = '{"NotificationEvents":[{"Type":"AppointmentCancelled","Id":%t}]}'
