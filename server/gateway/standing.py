"""Where the sessions of a channel stand, and what a read from the lowest of these positions is to each of them.

However many devices of an agent come back, each with a cursor of its own: what the one furthest behind is read is read
for all, page by page. Those further on join it where the pages have come to them; but where that takes many pages, a
read is now and then for the one least behind, which need not wait for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from server.session import Handled, Session

Standing = tuple[int | None, int]
"""The position that a session reads from (None: the present), and the floor that it was reset for."""
Groups = dict[Standing, list[Session]]


def lowest(groups: Groups) -> Standing:
    """The first to be read from: the present, then the position furthest behind."""
    return min(groups, key=_order)


def highest(groups: Groups) -> Standing:
    """The one least behind."""
    return max(groups, key=_order)


def _order(standing: Standing) -> tuple[int, int]:
    position, floor = standing
    return (-1 if position is None else position, floor)


def served(groups: Groups, first: Standing, read: Handled) -> Iterator[tuple[list[Session], Handled]]:
    """Sessions, and what they are to be written of a `read` from `first`, the lowest."""
    yield groups[first], read
    if first[0] is None:
        return
    for standing, sessions in groups.items():
        position, floor = standing
        if standing != first and position is not None and read.covers(position, floor):
            yield sessions, read.after(position)
