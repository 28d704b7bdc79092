"""Settings: what wins, what is refused and in which words, and that `config/clearsync.toml` tells the truth."""

from __future__ import annotations

import itertools
import pickle
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SettingsError
from server.settings import KEYS, Key, Settings, check, describe, dump, is_loopback, load
from server.settings.rules import RULES

SAMPLE = Path(__file__).parents[2] / "config" / "clearsync.toml"
DEV: Mapping[str, object] = {"dev": True}


def refused(config: Path | None = None, environ: Mapping[str, str] | None = None, **flags: object) -> str:
    """The one line that loading or checking ends with; `flags` are dotted names with __ for the dot."""
    with pytest.raises(SettingsError) as caught:
        check(load(config, environ or {}, {name.replace("__", "."): value for name, value in flags.items()}))
    line = str(caught.value)
    assert line
    assert "\n" not in line
    return line


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clearsync.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- the sample file ---


def test_the_sample_has_every_key_its_default_and_its_line() -> None:
    sample = tomllib.loads(SAMPLE.read_text(encoding="utf-8"))
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    given_keys = [f"{section}.{key}" for section, table in sample.items() for key in table]
    assert given_keys == [key.name for key in describe()]
    section = ""
    for above, line in itertools.pairwise(lines):
        section = line.strip("[]") if line.startswith("[") else section
        if " = " in line and not line.startswith("#"):
            key = KEYS[f"{section}.{line.partition(' = ')[0]}"]
            assert above == f"# {key.doc[0].upper()}{key.doc[1:]}."


def test_the_sample_is_the_default() -> None:
    assert load(SAMPLE, {}, {}) == load(None, {}, {}) == Settings()


def test_a_key_too_many_in_the_sample_would_be_refused(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8").replace("port = 8080", "port = 8080\nporte = 1")
    assert "unknown setting server.porte" in refused(file(tmp_path, text))


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_default_obeys_its_own_rule(key: Key) -> None:
    rule = RULES.get(key.name)
    assert rule is None or rule(key.default) == key.default
    assert key.doc
    assert key.doc[0].islower()
    assert not key.doc.endswith(".")


# --- what wins ---


def test_flags_over_environment_over_file_over_default(tmp_path: Path) -> None:
    config = file(tmp_path, "[server]\nport = 1\nworkers = 2\nhost = '127.0.0.2'\n[gateway]\nping_interval_s = 60\n")
    environ = {"CLEARSYNC_SERVER__PORT": "3", "CLEARSYNC_SERVER__WORKERS": "4"}
    settings = load(config, environ, {"server.port": "5", "server.workers": None})
    assert (settings.server.port, settings.server.workers, settings.server.host) == (5, 4, "127.0.0.2")
    assert settings.gateway.ping_interval_s == 60.0
    assert settings.log.level == "info"


def test_a_bad_value_is_refused_though_another_wins() -> None:
    assert "CLEARSYNC_SERVER__PORT" in refused(None, {"CLEARSYNC_SERVER__PORT": "x"}, server__port=1)


def test_environment_lists_and_truths() -> None:
    environ = {
        "CLEARSYNC_SERVER__TRUSTED_PROXIES": "10.0.0.0/8, 192.168.1.1,",
        "CLEARSYNC_GATEWAY__ALLOWED_ORIGINS": "",
        "CLEARSYNC_CONSOLE__ENABLED": "true",
        "CLEARSYNC_SERVER__DRAIN_S": "2.5",
    }
    settings = load(None, environ, {})
    assert settings.server.trusted_proxies == ("10.0.0.0/8", "192.168.1.1")
    assert settings.gateway.allowed_origins == ()
    assert settings.console.enabled is True
    assert settings.server.drain_s == 2.5


def test_names_of_the_client_and_of_others_are_no_settings() -> None:
    environ = dict.fromkeys(("CLEARSYNC_URL", "CLEARSYNC_USER", "CLEARSYNC_PASSWORD", "CLEARSYNC_CONFIG"), "x")
    assert load(None, environ | {"SERVER__PORT": "x", "clearsync_x": "y"}, {}) == Settings()


def test_only_flags_weaken() -> None:
    settings = load(None, {}, {"dev": True, "insecure_http": True})
    assert settings.dev
    assert settings.insecure_http
    assert refused(None, {"CLEARSYNC_DEV": "1"}) == "CLEARSYNC_DEV (environment) is not a setting, only the flag --dev"


def test_settings_cross_to_a_worker() -> None:
    settings = load(None, {"CLEARSYNC_GATEWAY__ALLOWED_ORIGINS": "https://a.example"}, DEV)
    assert pickle.loads(pickle.dumps(settings)) == settings
    with pytest.raises(AttributeError):
        settings.dev = False  # type: ignore[misc]  # that it is frozen is what is tested


# --- what is refused, and how it is said ---


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("SERVER__PORT", "99999", "server.port is 99999 (environment {}), it must be from 0 to 65535"),
        ("SERVER__PORT", "-1", "server.port is -1 (environment {}), it must be from 0 to 65535"),
        ("SERVER__PORT", "http", "server.port is http (environment {}), it must be a whole number from 0 to 65535"),
        ("SERVER__PORT", "", "server.port is '' (environment {}), it must be a whole number from 0 to 65535"),
        ("SERVER__WORKERS", "65", "server.workers is 65 (environment {}), it must be from 1 to 64"),
        ("STORE__TIMEOUT_S", "0", "store.timeout_s is 0 (environment {}), it must be from 0.01 to 86400"),
        ("STORE__TIMEOUT_S", "nan", "store.timeout_s is nan (environment {}), it must be from 0.01 to 86400"),
        ("STORE__TIMEOUT_S", "2s", "store.timeout_s is 2s (environment {}), it must be a number from 0.01 to 86400"),
        ("CONSOLE__ENABLED", "yes", "console.enabled is yes (environment {}), it must be true or false"),
        ("LOG__LEVEL", "loud", "log.level is loud (environment {}), it must be one of debug, info, warning, error"),
        ("STORE__PREFIX", "a b", "store.prefix is 'a b' (environment {}), it must be 1 to 32 of A-Z a-z 0-9 _ . -"),
        ("STORE__DATA_DIR", "a\nb", "store.data_dir is 'a\\nb' (environment {}), it must be printable text"),
        ("SERVER__HOST", "h/x", "server.host is h/x (environment {}), it must be an IP address or a host name"),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_rule(name: str, value: str, line: str) -> None:
    name = f"CLEARSYNC_{name}"
    assert refused(None, {name: value}) == line.format(name)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport = true", "server.port is true (file {}), it must be a whole number from 0 to 65535"),
        ("[server]\nport = '1'", "server.port is 1 (file {}), it must be a whole number from 0 to 65535"),
        ("[server]\nprot = 1", "unknown setting server.prot (file {}), did you mean server.port?"),
        ("[server]\ntrusted_proxies = [1]", "server.trusted_proxies is [1] (file {}), it must be a list of texts"),
        ("[store]\nurl = 5", "store.url is 5 (file {}), it must be text"),
        ("[servr]\nport = 1", "unknown section servr (file {}), did you mean server?"),
        ("server = 3", "server is 3 (file {}), it must be a section, [server]"),
        ("store = 'redis://:hunter2@h'", "store is 'redis://:***@h' (file {}), it must be a section, [store]"),
        ("dev = true", "dev (file {}) is not a setting, only the flag --dev"),
        ("port = = 1", "config file {} is not TOML: Invalid value (at line 1, column 8)"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    config = file(tmp_path, text)
    assert refused(config) == line.format(config)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.toml").endswith("none.toml can't be read: No such file or directory")
    assert "can't be read" in refused(tmp_path)
    config = tmp_path / "latin.toml"
    config.write_bytes(b"a = '\xe9'")
    assert "is not TOML" in refused(config)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    environ = {"CLEARSYNC_STORE__RETENTION_DAY": "1"}
    assert refused(None, environ).endswith("did you mean CLEARSYNC_STORE__RETENTION_DAYS?")
    assert refused(None, {"CLEARSYNC_QUX": "1"}) == "unknown setting CLEARSYNC_QUX (environment)"
    assert refused(server__prot=1) == "unknown setting server.prot (flag), did you mean server.port?"
    assert "(flag --store)" in refused(store__url="x")


@pytest.mark.parametrize(
    "url",
    [
        "reddis://:hunter2@h",
        "redis://:hunter2@",
        "redis://:hun#ter2@h",
        "redis://u:hunter2@h:99999",
        "redis://u:hunter2@h:0",
        "redis://u/x:hunter2@h",
        "redis:u:hunter2@h",
        "u:hunter2@h:6379",
        "redis://h/db?password=hunter2",
        "unix://rel/path?password=hunter2",
        "redis://[::1:hunter2@h",
    ],
)
def test_a_store_url_is_refused_without_its_password(url: str) -> None:
    line = refused(store__url=url)
    assert line.startswith("store.url is ")
    assert "it must be embedded, memory, redis://" in line
    assert "hunter2" not in line
    assert "ter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        "embedded",
        "memory",
        "redis://h",
        "redis://u:p%40@h:6380/1",
        "rediss://[::1]:1/?ssl_cert_reqs=none",
        "unix:///run/valkey.sock",
        "unix://u:p@/run/valkey.sock?db=1",
    ],
)
def test_store_urls(url: str) -> None:
    assert load(None, {}, {"store.url": url}).store.url == url


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("server.base_path", "/", ""),
        ("server.base_path", "clear/sync/", "/clear/sync"),
        ("server.base_path", "/a/../b", None),
        ("server.base_path", "/a?b", None),
        ("server.host", "[::1]", "::1"),
        ("server.host", "-x", None),
        ("server.trusted_proxies", "10.0.0.1/8", None),
        ("server.trusted_proxies", "*", None),
        ("gateway.allowed_origins", "https://CRM.example.com:443", ("https://crm.example.com",)),
        ("gateway.allowed_origins", "http://[::1]:8080", ("http://[::1]:8080",)),
        ("gateway.allowed_origins", "https://crm.example.com/", None),
        ("gateway.allowed_origins", "*", None),
        ("gateway.allowed_origins", "null", None),
        ("admin.listen", "", ""),
        ("admin.listen", "[::1]:0", "[::1]:0"),
        ("admin.listen", "::1:80", None),
        ("admin.listen", "0.0.0.0:9180", None),
        ("admin.listen", "127.0.0.1", None),
        ("admin.listen", "127.0.0.1:70000", None),
        ("store.data_dir", "~/x", str(Path("~/x").expanduser())),
    ],
)
def test_single_rules(key: str, value: str, kept: object) -> None:
    environ = {KEYS[key].environment: value}
    if kept is None:
        assert refused(None, environ).startswith(f"{key} is ")
    else:
        section, _, name = key.partition(".")
        assert getattr(getattr(load(None, environ, {}), section), name) == kept


def test_derived_values() -> None:
    settings = load(None, {"CLEARSYNC_ADMIN__LISTEN": "[::1]:1"}, {"store.data_dir": "x"})
    assert settings.admin.address == ("::1", 1)
    assert settings.store.data_dir_path == Path.cwd() / "x"
    assert Settings().store.data_dir_path.is_absolute()
    assert Settings().store.data_dir_path.name == "clearsync"
    assert load(None, {"CLEARSYNC_ADMIN__LISTEN": ""}, {}).admin.address is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("0", False),
        ("", False),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# --- settings together ---


def test_a_start_without_authentication_says_what_to_configure() -> None:
    line = refused()
    assert "auth.users_file" in line
    assert "clearsync hash-password" in line
    assert "--dev" in line


def test_dev_is_for_loopback() -> None:
    check(load(None, {}, DEV))
    assert "loopback" in refused(dev=True, server__host="0.0.0.0")
    assert "loopback" in refused(dev=True, server__host="0.0.0.0", insecure_http=True)


def test_plain_http_beyond_loopback_wants_a_reason(tmp_path: Path) -> None:
    users = {"CLEARSYNC_AUTH__USERS_FILE": str(file(tmp_path, ""))}
    check(load(None, users, {}))
    assert "server.trusted_proxies" in refused(None, users, server__host="0.0.0.0")
    check(load(None, users, {"server.host": "0.0.0.0", "insecure_http": True}))
    check(load(None, users | {"CLEARSYNC_SERVER__TRUSTED_PROXIES": "10.0.0.1"}, {"server.host": "0.0.0.0"}))


def test_combinations(tmp_path: Path) -> None:
    assert "server.workers is 2" in refused(dev=True, store__url="memory", server__workers=2)
    line = refused(None, {"CLEARSYNC_GATEWAY__PING_TIMEOUT_S": "25"}, dev=True)
    assert line.startswith("gateway.ping_timeout_s is 25, it must be less than gateway.ping_interval_s")
    users = {"CLEARSYNC_AUTH__USERS_FILE": str(tmp_path / "none")}
    assert refused(None, users).endswith("none, which can't be read: No such file or directory")


def test_tls_wants_a_pair_that_can_be_read(tmp_path: Path) -> None:
    garbage = str(file(tmp_path, "garbage"))
    assert "go together" in refused(None, {"CLEARSYNC_SERVER__TLS_CERTIFICATE": garbage}, dev=True)
    assert "server.tls_certificate is missing" in refused(None, {"CLEARSYNC_SERVER__TLS_KEY": garbage}, dev=True)
    both = {"CLEARSYNC_SERVER__TLS_CERTIFICATE": garbage, "CLEARSYNC_SERVER__TLS_KEY": str(tmp_path / "none")}
    assert refused(None, both, dev=True).startswith("server.tls_key is ")
    both["CLEARSYNC_SERVER__TLS_KEY"] = garbage
    assert "are not a certificate and its key" in refused(None, both, dev=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with the openssl command")
def test_tls_wants_the_key_of_the_certificate(tmp_path: Path) -> None:
    def pair(name: str, *options: str) -> dict[str, str]:
        certificate, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        made = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=x",
        ]
        subprocess.run([*made, *options, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        return {"CLEARSYNC_SERVER__TLS_CERTIFICATE": str(certificate), "CLEARSYNC_SERVER__TLS_KEY": str(key)}

    mine, other = pair("mine", "-nodes"), pair("other", "-nodes")
    users = {"CLEARSYNC_AUTH__USERS_FILE": str(file(tmp_path, ""))}
    check(load(None, mine | users, {"server.host": "0.0.0.0"}))
    crossed = mine | {"CLEARSYNC_SERVER__TLS_KEY": other["CLEARSYNC_SERVER__TLS_KEY"]}
    assert "KEY_VALUES_MISMATCH" in refused(None, crossed, dev=True)
    assert "not encrypted" in refused(None, pair("locked", "-passout", "pass:secret"), dev=True)


# --- the dump ---


def test_the_dump_masks_and_is_in_order() -> None:
    settings = load(None, {"CLEARSYNC_STORE__URL": "redis://u:hunter2@h/1?password=hunter3"}, DEV)
    text = dump(settings)
    assert "hunter" not in text
    assert text.startswith("# --dev\n\n[server]\n")
    parsed = tomllib.loads(text)
    assert parsed["store"]["url"] == "redis://u:***@h/1?password=***"
    assert [f"{section}.{key}" for section in parsed for key in parsed[section]] == list(KEYS)
    assert str(settings.store.data_dir_path) in text


@given(
    path=st.text(st.characters(exclude_categories=("C", "Z")), max_size=20).filter(lambda text: text[:1] != "~"),
    port=st.integers(0, 65535),
    drain=st.floats(0, 3600, allow_subnormal=False),
    proxies=st.lists(st.ip_addresses().map(str), max_size=3),
)
def test_a_dump_loads_as_what_it_shows(
    tmp_path_factory: pytest.TempPathFactory, path: str, port: int, drain: float, proxies: list[str]
) -> None:
    environ = {
        "CLEARSYNC_STORE__DATA_DIR": path,
        "CLEARSYNC_SERVER__PORT": str(port),
        "CLEARSYNC_SERVER__DRAIN_S": repr(drain),
        "CLEARSYNC_SERVER__TRUSTED_PROXIES": ",".join(proxies),
    }
    settings = load(None, environ, {})
    assert load(file(tmp_path_factory.getbasetemp(), dump(settings)), {}, {}) == settings
