"""detect-secrets over the files that git has or would take; what known-secrets.toml does not explain fails.

Known are single values (their SHA-1) of single files, so that a new secret in the same file is found. What is found is
not tried out at its service, which detect-secrets would do by itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

KNOWN = "known-secrets.toml"


def main(root: Path, known_file: Path) -> int:
    """Exit code 1 for a secret that is not known, and for a known one that is gone."""
    if not (root / ".git").exists() or not shutil.which("git"):
        print("detect-secrets: not run (no git checkout, or no git)")
        return 0
    known = {
        (entry["file"], entry["hash"]): entry["why"]
        for entry in tomllib.loads(known_file.read_text(encoding="utf-8"))["known"]
    }
    files = listed(root)
    found = {(secret["filename"], secret["hashed_secret"]): secret for secret in scanned(root, files)}
    for key in found.keys() - known.keys():
        secret = found[key]
        print(f"detect-secrets: {key[0]}:{secret['line_number']}: {secret['type']}; if it is none, say so in {KNOWN}:")
        print(f'[[known]]\nfile = "{key[0]}"\nhash = "{key[1]}"\nwhy = ""')
    for file, digest in known.keys() - found.keys():
        print(f"detect-secrets: {file} has no such value any more, take it out of {KNOWN}: {digest}")
    if found.keys() != known.keys():
        return 1
    print(f"detect-secrets: {len(files)} files, {len(known)} values that are known to be no secrets")
    return 0


def listed(root: Path) -> list[str]:
    """The files of the checkout, but not the one that holds hashes of what is known."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({name for name in names if name and (root / name).is_file() and Path(name).name != KNOWN})


def scanned(root: Path, files: list[str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-P", "-m", "detect_secrets", "scan", "--no-verify", "--all-files", *files]
    scan = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return [secret for secrets in json.loads(scan.stdout)["results"].values() for secret in secrets]


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.exit(main(here.parent, here / KNOWN))
