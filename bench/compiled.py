"""The load generator in C, for all servers: `wsload.c`, whose head says what it does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.candidate import Target
from bench.generator import At, GeneratorError
from bench.load import PHASES, Load, Outcome

SOURCE: Final = Path(__file__).parent / "wsload.c"
CACHE: Final = SOURCE.parents[1] / ".bench"
COMPILERS: Final = ("cc", "gcc", "clang")
FLAGS: Final = ("-O2", "-Wall", "-Wextra")
RESET: Final = '"type":"reset"'
"""In a frame that tells a device that it can't be caught up. No other server has such a frame."""
CONNECT_S: Final = 120.0
SLACK_S: Final = 60.0


class Compiled:
    """`wsload.c`, compiled once for each of its versions."""

    def __init__(self, program: Path, compiler: str) -> None:
        self.program = program
        self.name = f"wsload.c ({compiler})"

    @classmethod
    def build(cls) -> Compiled:
        """Raises `GeneratorError` where there is no compiler, or not Linux's epoll."""
        compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
        if compiler is None:
            raise GeneratorError(f"no C compiler: none of {', '.join(COMPILERS)} is on PATH")
        digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()
        program = CACHE / f"wsload-{digest[:16]}"
        if not program.exists():
            CACHE.mkdir(exist_ok=True)
            made = program.with_name(f"{program.name}.{os.getpid()}")
            command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                raise GeneratorError(f"{compiler} can't compile {SOURCE.name}:\n{done.stderr[-2000:]}")
            made.replace(program)
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=20, check=False)
        return cls(program, version.stdout.partition("\n")[0] or Path(compiler).name)

    def lacks(self, target: Target, load: Load) -> str:
        return ""

    def run(self, target: Target, load: Load, core: int, at: At) -> Outcome:
        command = [str(self.program), *arguments(target, load)]
        limit_s = CONNECT_S + load.hold_s + load.warmup_s + load.seconds + 2 * load.drain_s + SLACK_S
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
            os.sched_setaffinity(process.pid, {core})
            assert process.stdout
            assert process.stderr
            watchdog = threading.Timer(limit_s, process.kill)
            watchdog.start()
            try:
                last = _follow(process.stdout, at)
                said = process.stderr.read().strip()  # a few lines at most: the pipe takes them
            except BaseException:
                process.kill()
                raise
            finally:
                watchdog.cancel()
        if process.returncode or not last:
            raise GeneratorError(f"the generator ended with {process.returncode}: {said or 'it said nothing'}")
        return Outcome(**json.loads(last))


def _follow(lines: Iterable[str], at: At) -> str:
    """Call what belongs to each phase; the line that is none."""
    last = ""
    for line in lines:
        phase = line.strip()
        if phase not in PHASES:
            last = phase
        elif phase in at:
            at[phase]()
    return last


def arguments(target: Target, load: Load) -> list[str]:
    """The options of `wsload.c` for this."""
    options: dict[str, object] = {
        "wsport": target.ws_port,
        "wspath": target.ws_path + (f"&cursor={load.cursor}" if load.cursor else ""),
        "wshead": target.ws_head,
        "httpport": target.http_port,
        "httppath": target.http_path,
        "httphead": target.http_head,
        "body": target.body,
        "key": target.key,
        "unwanted": RESET,
        "agents": load.agents,
        "devices": load.devices,
        "from": load.first_agent,
        "window": load.window,
        "connectlimit": CONNECT_S,
        "catchup": load.catchup,
        "hold": load.hold_s,
        "publishers": load.publishers if load.seconds else 0,
        "rate": load.rate,
        "outstanding": load.outstanding,
        "batch": load.batch,
        "unique": int(load.unique_heads),
        "warmup": load.warmup_s,
        "duration": load.seconds,
        "drain": load.drain_s,
    }
    if target.subprotocol:
        options["subproto"] = target.subprotocol
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return given + [part for frame in target.first_frames for part in ("--wsfirst", frame)]
