"""What is built, installed and deployed: the parts that no other test would miss."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from msgspec.structs import fields

from server import __version__
from server.settings import Settings, load

ROOT = Path(__file__).parent.parent
LOCKS = sorted(ROOT.glob("requirements*.lock"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


# the locks


def requirements(lock: Path) -> list[str]:
    """Each requirement of a lock on one line, comments removed."""
    text = re.sub(r"(?m)^\s*#.*\n", "", lock.read_text(encoding="utf-8"))
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_exact_versions_and_hashes_and_no_place(lock: Path) -> None:
    assert requirements(lock)
    for requirement in requirements(lock):
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", requirement)
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|index|find-links|@ ", text)


def test_the_tests_run_on_the_locked_versions() -> None:
    locked = {requirement.split(" ")[0] for requirement in requirements(ROOT / "requirements-dev.lock")}
    for name in ("requirements.lock", "requirements-build.lock"):
        assert {requirement.split(" ")[0] for requirement in requirements(ROOT / name)} <= locked


def test_every_direct_dependency_is_locked() -> None:
    locked = {requirement.partition("==")[0] for requirement in requirements(ROOT / "requirements.lock")}
    direct = {re.split(r"[<>=;\[ ]", text)[0].lower() for text in project()["project"]["dependencies"]}
    assert direct <= locked


@pytest.mark.parametrize(
    ("folder", "wanted"), [("vendor", "@superoffice/webapi"), ("browser", "axe-core"), ("conformance", "ws")]
)
def test_an_npm_lock_has_hashes_and_no_place(folder: str, wanted: str) -> None:
    packages = json.loads(read(f"tests/{folder}/package-lock.json"))["packages"]
    assert f"node_modules/{wanted}" in packages
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name


# the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources: a build in the checkout would take what an earlier one left there."""
    there = tmp_path_factory.mktemp("wheel")
    source = there / "source"
    without = shutil.ignore_patterns("__pycache__", "node_modules")
    for folder in ("server", "clients/js"):  # as the image has it: links stay links
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=without)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(there), str(source))
    [built] = there.glob("*.whl")
    return built


def run(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_carries_every_module_and_data_file(wheel: Path) -> None:
    assert wheel.name == f"clearsync-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        script = archive.read("server/console/static/clearsync.js").decode()
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
        [commands] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/entry_points.txt")]
    there = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("server/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert carried == there
    assert script == read("clients/js/clearsync.js")
    assert "License-Expression: Apache-2.0" in metadata
    assert "clearsync = server.cli:main" in commands


def test_the_installed_wheel_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are lent from this environment; a folder named in a .pth file brings no editable install."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    python, command = home / "bin" / "python", home / "bin" / "clearsync"
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    [packages] = home.glob("lib/python*/site-packages")
    lent = dict.fromkeys(path for path in sys.path if path.endswith("site-packages"))
    (packages / "lent.pth").write_text("".join(f"{path}\n" for path in lent), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CLEARSYNC_", "PYTHON"))}

    assert __version__ in run(str(command), "--version", cwd=tmp_path, env=env)
    where = run(str(python), "-c", "import server; print(server.__file__)", cwd=tmp_path, env=env)
    assert Path(where.strip()).is_relative_to(home)
    dumped = run(
        str(command), "check-config", "--dump", "--dev", "--data-dir", str(tmp_path / "data"), cwd=tmp_path, env=env
    )
    assert set(tomllib.loads(dumped)) >= {"server", "store", "gateway"}


# the image and the compose file


def docker_steps() -> Iterator[tuple[str, str]]:
    """The Dockerfile's instructions, as (name, rest)."""
    text = re.sub(r"(?m)^#.*\n", "", read("Dockerfile")).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        yield name, rest


def test_the_image_copies_what_is_there_and_not_ignored() -> None:
    copied = [
        source
        for name, rest in docker_steps()
        if name == "COPY" and not rest.startswith("--from=")
        for source in rest.split()[:-1]
    ]
    kept = [line.removeprefix("!") for line in read(".dockerignore").splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(kept)
    for source in copied:
        assert (ROOT / source).exists(), source


def test_the_image_serves_as_nobody_special_and_says_how_it_is() -> None:
    steps = list(docker_steps())
    last = steps[max(index for index, (name, _) in enumerate(steps) if name == "FROM") :]
    final = dict(last)
    assert final["USER"] not in ("root", "0")
    assert final["EXPOSE"] == "8080"
    assert final["VOLUME"] == "/data"
    assert json.loads(final["ENTRYPOINT"]) == ["clearsync"]
    assert json.loads(final["CMD"])[0] == "serve"
    check = json.loads(final["HEALTHCHECK"].partition(" CMD ")[2])
    compile(check[2], "HEALTHCHECK", "exec")
    assert "127.0.0.1" in check[2]
    assert "/ready" in check[2]
    known_settings(dict(re.findall(r"(CLEARSYNC_\w+)=(\S+)", final["ENV"])))


def known_settings(environment: Mapping[str, str]) -> Settings:
    """Every name is a setting of `Settings`, every value a good one."""
    known = {
        f"CLEARSYNC_{section.name}__{key.name}".upper()
        for section in fields(Settings)
        if section.type is not bool
        for key in fields(section.type)
    }
    ours = {name for name in environment if name.startswith("CLEARSYNC_")}
    assert ours
    assert ours <= known
    return load(None, environment, {})


def compose() -> dict[str, Any]:
    parsed = yaml.safe_load(read("docker-compose.yml"))
    assert isinstance(parsed, dict)
    return parsed


def test_compose_runs_two_replicas_on_one_durable_redis() -> None:
    services = compose()["services"]
    replicas = {name: service for name, service in services.items() if service["image"] == "clearsync"}
    assert sorted(replicas) == ["clearsync-1", "clearsync-2"]
    for replica in replicas.values():
        settings = known_settings(replica["environment"])
        assert settings.store.url == "redis://redis:6379/0"
        assert settings.auth.users_file == "/run/secrets/users"
        assert "ports" not in replica
    assert services["redis"]["image"].startswith("redis:7")
    assert "ports" not in services["redis"]
    for option in ("--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"):
        assert option in services["redis"]["command"]


def test_compose_believes_its_nginx_and_nobody_else() -> None:
    parsed = compose()
    services = parsed["services"]
    [front] = parsed["networks"]["front"]["ipam"]["config"]
    addresses = {
        name: service["networks"]["front"]["ipv4_address"]
        for name, service in services.items()
        if "front" in service["networks"]
    }
    assert len(set(addresses.values())) == len(addresses) == 3
    for address in addresses.values():
        assert ip_address(address) in ip_network(front["subnet"])
    for name in ("clearsync-1", "clearsync-2"):
        settings = known_settings(services[name]["environment"])
        assert settings.server.trusted_proxies == (addresses["nginx"],)


def test_compose_takes_its_users_from_the_reader() -> None:
    parsed = compose()
    assert parsed["secrets"] == {"users": {"file": "./users.toml"}}
    assert "/users.toml" in read(".gitignore").splitlines()
    for service in parsed["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in parsed["volumes"] or (ROOT / source).is_file(), volume


def test_nginx_passes_websockets_and_repeats_what_is_safe_to_repeat() -> None:
    text = re.sub(r"(?m)#.*$", "", read("config/nginx.conf"))
    directives = {" ".join(part.split()) for part in re.split(r"[;{}]", text)}
    assert {
        "server clearsync-1:8080 max_fails=0",
        "server clearsync-2:8080 max_fails=0",
        "proxy_http_version 1.1",
        "proxy_set_header Upgrade $http_upgrade",
        "proxy_set_header Connection $clearsync_connection",
        "proxy_set_header Host $http_host",
        "proxy_set_header X-Forwarded-For $remote_addr",
        "proxy_set_header X-Forwarded-Proto $scheme",
        "proxy_next_upstream error timeout http_503 non_idempotent",
    } <= directives
    assert any(directive.startswith("keepalive ") for directive in directives)

    defaults = Settings()
    timeouts = [float(seconds) for seconds in re.findall(r"proxy_read_timeout (\d+)s", text)]
    assert max(timeouts) > defaults.gateway.ping_interval_s + defaults.gateway.ping_timeout_s
    assert min(timeouts) > defaults.store.timeout_s
    [size] = re.findall(r"client_max_body_size (\d+)m", text)
    assert int(size) * 2**20 > defaults.limits.body_bytes


# what no file may say


def repository_files() -> list[Path]:
    """The files of the checkout that git has or would take."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git checkout, or no git to ask")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT)
    paths = (ROOT / name for name in listed.split("\0") if name)
    return [path for path in paths if path.is_file()]


def package_hosts() -> set[str]:
    """The hosts of the package registries that this machine's clients use, asked of the clients."""
    asked = "from pip._internal.models.index import PyPI as i; print(i.url, 'https://' + i.file_storage_domain)"
    said = [
        subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False).stdout
        for arguments in (["-c", asked], ["-m", "pip", "config", "list"])
    ]
    said += [value for name, value in os.environ.items() if re.search(r"index|registry", name, re.IGNORECASE)]
    urls = re.findall(r"https?://[^\s'\",]+", "\n".join(said))
    return {host for url in urls if (host := urlsplit(url).hostname) and host not in ("localhost", "127.0.0.1")}


def test_no_file_names_a_package_registry_or_a_place_on_this_machine() -> None:
    home = str(Path.home())
    places = [str(ROOT)] if len(ROOT.parts) > 2 else []
    places += [home] if home != "/" else []
    words = [re.escape(host) for host in package_hosts()]
    words += [rf"(?<![\w.-]){re.escape(place)}(?![\w-])" for place in places]
    forbidden = re.compile("|".join(words).encode())
    found = [
        f"{path.relative_to(ROOT)}: {match[0].decode()}"
        for path in repository_files()
        if (match := forbidden.search(path.read_bytes()))
    ]
    assert words
    assert not found
