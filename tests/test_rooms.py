"""Imports point one way: each room may import only what is written here, and itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import server

ROOT = Path(server.__file__).parent
FOR_ALL = {"errors", "limits", "logs", "metrics", "problems", "settings"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "limits": set(),
    "logs": set(),
    "metrics": set(),
    "problems": {"errors"},
    "settings": {"errors"},
    "events": {"errors"},
    "wire": {"errors", "events"},
    "session": {"events", "wire"},
    "broker": FOR_ALL | {"events", "wire", "session"},
    "auth": FOR_ALL | {"events"},
    "gateway": FOR_ALL | {"events", "wire", "session", "broker", "auth"},
    "console": {"errors"},
    "api": FOR_ALL | {"events", "wire", "session", "broker", "auth", "console"},
    "app": FOR_ALL | {"events", "wire", "session", "broker", "auth", "gateway", "api"},
    "processes": FOR_ALL | {"broker", "app"},
    "client": {"errors", "events", "wire"},
    "loadtest": {"errors", "events", "wire", "client"},
    "doctor": {"errors", "events", "wire", "client"},
    "cli": FOR_ALL | {"events", "broker", "auth", "client", "loadtest", "doctor", "processes"},
    "__main__": {"cli"},
}
IO = {"asyncio", "socket", "redis", "starlette", "uvicorn", "websockets", "threading", "time"}
MODULES = sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, dotted; for `from server import x` that x."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield from ([f"server.{a.name}" for a in node.names] if node.module == "server" else [str(node.module)])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_is_below_it(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT and in docs/design.md where it stands"
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("server.")} - {"__version__", room}
    assert rooms <= MAY_IMPORT[room], f"{room} may not import {rooms - MAY_IMPORT[room]}"


@pytest.mark.parametrize("name", ["events", "wire", "session"])
def test_the_core_does_no_io(name: str) -> None:
    assert not {module.split(".")[0] for module in imported(ROOT / f"{name}.py")} & IO


def test_packages_do_no_work_when_imported() -> None:
    """An `__init__.py` holds a docstring, the version, or names that it hands on."""
    for path in ROOT.rglob("__init__.py"):
        if room_of(path) == "cli":
            continue  # the commands' entry point
        for node in ast.parse(path.read_text()).body:
            assert isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign), f"{path}: {ast.unparse(node)[:60]}"


def test_the_design_names_every_room() -> None:
    design = (ROOT.parent / "docs" / "design.md").read_text()
    for room in set(map(room_of, MODULES)) - {"__init__", "__main__"}:
        assert f"`{room}.py`" in design or f"`{room}/`" in design, room
