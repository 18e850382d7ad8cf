"""What the config says of upstreams that are asked over TLS."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest

from dnsfront.config.load import load
from dnsfront.errors import ConfigError
from dnsfront.ipc.records import MAX_TEXT
from dnsfront.ipc.spec import UpstreamTls
from dnsfront.tls.authorities import system_authorities
from tests.unit.authority import NAME, Authority

_AUTHORITY = Authority()
_IDENTITY = _AUTHORITY.identity(NAME)
_TEXT = """\
listen: ["127.0.0.1:5353"]
upstreams:
  servers:
    - address: "192.0.2.1:853"
      tls: {}
"""


def record(folder: Path, tls: str) -> UpstreamTls | None:
    (folder / "ca.pem").write_text(f"Ours.\n\n{_AUTHORITY.pem}", encoding="ascii")
    (folder / "server.key").write_text(_IDENTITY.key, encoding="ascii")
    (folder / "broken.pem").write_text(
        _AUTHORITY.pem.replace("\nMII", "\nQQQ"), encoding="ascii"
    )
    path = folder / "dnsfront.yaml"
    path.write_text(_TEXT.replace("tls: {}", f"tls: {tls}"), encoding="utf-8")
    noticed: list[Path] = []
    config = load(path, notice=noticed.append)
    if "ca.pem" in tls:
        assert folder / "ca.pem" in noticed
    return config.upstreams.servers[0].tls_record


def test_authorities_are_read_with_the_config(tmp_path: Path) -> None:
    found = record(tmp_path, "{name: Dns.Example., ca: ca.pem}")

    assert found == UpstreamTls(NAME, (_AUTHORITY.pem,))


def test_certificate_may_be_that_of_an_address(tmp_path: Path) -> None:
    found = record(tmp_path, '{name: "2001:DB8::1", ca: ca.pem}')

    assert found is not None
    assert found.name == "2001:db8::1"


@pytest.mark.parametrize("form", ['"{}"', '["{}"]'])
def test_pins_are_one_or_a_list(tmp_path: Path, form: str) -> None:
    pin = form.format(_IDENTITY.pin)

    found = record(tmp_path, f"{{name: dns.example, ca: ca.pem, pin: {pin}}}")

    assert found is not None
    assert found.pins == (_IDENTITY.pin,)


@pytest.mark.skipif(system_authorities() is None, reason="the host trusts nobody")
def test_those_that_the_host_trusts_are_the_default(tmp_path: Path) -> None:
    found = record(tmp_path, "{name: dns.example}")

    assert found is not None
    assert len(found.authorities) > 1
    assert max(map(len, found.authorities)) <= MAX_TEXT
    assert found is not record(tmp_path, "{name: dns.example, ca: system}")
    assert found == record(tmp_path, "{name: dns.example, ca: system}")


_SHORT = "sha256/" + b64encode(hashlib.sha1(b"").digest()).decode()  # noqa: S324


@pytest.mark.parametrize(
    ("tls", "mistake"),
    [
        ("", "tls.name: missing, want: The name, or the IP address, that"),
        ("{}", "tls.name: missing, want: The name, or the IP address, that"),
        ("{name: 7}", "tls.name: got 7, want a domain name or an IP address"),
        ("{name: .}", 'tls.name: got ".", want a domain name or an IP address'),
        ("{name: a.test, ca: no.pem}", "{}/no.pem: No such file or directory"),
        ("{name: a.test, ca: .}", "want certificates in PEM, {}: Is a directory"),
        ("{name: a.test, ca: server.key}", "as {}/server.key does not have"),
        ("{name: a.test, ca: broken.pem}", "as {}/broken.pem does not have"),
        ("{name: a.test, ca: ca.pem, pin: []}", "tls.pin: got a list of 0, want at"),
        (
            f"{{name: a.test, ca: ca.pem, pin: {_SHORT}}}",
            f'tls.pin: got "{_SHORT}", want sha256/ and 44 characters of base64',
        ),
        ("{name: a.test, ca: ca.pem, names: 1}", "tls.names: unknown key, want name"),
        ("yes", 'tls: got "yes", want a mapping of keys'),
    ],
)
def test_mistakes_are_told_at_their_line(
    tmp_path: Path, tls: str, mistake: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        record(tmp_path, tls)

    [line] = caught.value.lines()
    assert "dnsfront.yaml:5: upstreams.servers[0].tls" in line
    assert mistake.format(tmp_path) in line
