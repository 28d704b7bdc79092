"""pip-audit over the packages of a lock file: clean, findings, or not run; never clean where nothing was looked up.

pip-audit itself says "no known vulnerabilities" and exits 0 where it found none of the packages at its service, unless
it is strict; and strict it breaks off at the first of them, whatever there is to say of the others. So it is strict
first, and where that breaks off a second run tells findings from silence.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

WITHIN_S = 25.0
IGNORED: dict[str, str] = {}
"""Findings that do not concern us, by id, each with the reason."""


class Run(NamedTuple):
    """One run of pip-audit. `status` is None where it did not end in time."""

    status: int | None
    out: str
    err: str

    @property
    def packages(self) -> list[dict[str, Any]]:
        """What it has to say of each; nothing where it broke off."""
        try:
            return list(json.loads(self.out)["dependencies"])
        except (ValueError, KeyError):
            return []


def main(lock: Path, *options: str) -> int:
    """Exit code 1 for findings, and for packages that a service which answers does not know."""
    told = run(lock, "--strict", *options)
    if told.status and not told.packages:
        told = run(lock, *options)
    for each in told.packages:
        for finding in each.get("vulns", ()):
            fixed = ", ".join(finding["fix_versions"]) or "no version"
            print(f"pip-audit: {each['name']} {each['version']}: {finding['id']}, fixed in {fixed}")
    vulnerable = [each for each in told.packages if each.get("vulns")]
    unknown = [each["name"] for each in told.packages if "skip_reason" in each]
    if len(unknown) == len(told.packages):
        print(f"pip-audit: not run ({reason_of(told)})")
        return 0
    if unknown:
        print(f"pip-audit: the audit service does not know {', '.join(unknown)}")
    if unknown or vulnerable:
        return 1
    print(f"pip-audit: clean, {len(told.packages)} packages of {lock.name}")
    for finding, reason in IGNORED.items():
        print(f"pip-audit: {finding} does not count: {reason}")
    return 0


def run(lock: Path, *options: str) -> Run:
    """pip-audit on exactly what the lock says: nothing is resolved, installed or asked of pip."""
    ignored = [argument for finding in IGNORED for argument in ("--ignore-vuln", finding)]
    fixed = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "10")
    command = [sys.executable, "-P", "-m", "pip_audit", "--requirement", str(lock), *fixed, *ignored, *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        return Run(None, "", "")
    return Run(done.returncode, done.stdout, done.stderr)


def reason_of(run: Run) -> str:
    if run.status is None:
        return f"the audit service gave no answer in {WITHIN_S:g} s"
    if run.packages:
        return f"the audit service knows none of the {len(run.packages)} packages"
    lines = run.err.strip().splitlines()
    return lines[-1][:300] if lines else f"it ended with {run.status} and no word"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
