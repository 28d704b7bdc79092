"""How far one device got, and where that is kept."""

from __future__ import annotations

import inspect

from server.client.cursors import CursorKey, CursorStore
from server.errors import BadRequest
from server.events import Cursor


class Position:
    """`cursor` is the one after the last frame that was applied; None = from now on.

    One that was given beats the store's. The store may be absent.
    """

    def __init__(self, cursor: str | None, store: CursorStore | None, key: CursorKey) -> None:
        self.cursor = None if cursor is None else str(Cursor.parse(cursor))
        self._store = store
        self._key = key

    async def load(self) -> None:
        """Take what the store has, where no cursor was given. Raises what the store raises.

        A text that is no cursor is a position that was lost, and not none: everything is asked for, from the beginning.
        """
        if self.cursor is not None or self._store is None:
            return
        kept = self._store.get(self._key)
        text = await kept if inspect.isawaitable(kept) else kept
        try:
            self.cursor = None if text is None else str(Cursor.parse(text))
        except BadRequest:
            self.cursor = "0"

    async def move(self, cursor: str) -> None:
        """The frame of this cursor has been applied. Raises what the store raises."""
        self.cursor = cursor  # stored also where it is the one that was given: the store may not have it
        if self._store is not None:
            done = self._store.set(self._key, cursor)
            if inspect.isawaitable(done):
                await done
