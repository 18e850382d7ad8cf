"""DNS cookies as RFC 9018 has them in its appendix, and as BIND makes them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dnsfront.dns.cookies import ServerCookies

SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
OTHER = bytes.fromhex("445536bcd2513298075a5d379663c962")
CLIENT = bytes.fromhex("2464c4abcf10c957")
HERE = ip_address("198.51.100.100").packed
NOW = 1_600_000_000


def cookies(*secrets: bytes, at: int = NOW) -> ServerCookies:
    return ServerCookies(secrets or (SECRET,), lambda: at + 0.9)


def made(cookie: bytes, address: bytes = HERE, *, by: ServerCookies) -> bytes:
    option = by.option(cookie, address)
    assert option[:4] == b"\0\x0a\0\x18"
    return option[4:]


@pytest.mark.parametrize(
    ("secret", "at", "address", "sent", "ours"),
    [
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            1559731985,
            "198.51.100.100",
            "2464c4abcf10c957",
            "010000005cf79f111f8130c3eee29480",
            id="RFC 9018, A.1: a new client",
        ),
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            1559734385,
            "198.51.100.100",
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            "010000005cf7a871d4a564a1442aca77",
            id="RFC 9018, A.2: it comes back",
        ),
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            1559734700,
            "203.0.113.203",
            "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            "010000005cf7a9acf73a7810aca2381e",
            id="RFC 9018, A.3: octets in reserve",
        ),
        pytest.param(
            "445536bcd2513298075a5d379663c962",
            1559741961,
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
            "010000005cf7c609a6bb79d16625507a",
            id="RFC 9018, A.4: IPv6, after the secret changed",
        ),
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            0x6B071B2D,
            "127.0.0.1",
            "2464c4abcf10c957",
            "010000006b071b2da0f2ca4f4a013650",
            id="what BIND 9.18.49 said",
        ),
    ],
)
def test_cookies_are_those_of_every_other_server(
    secret: str, at: int, address: str, sent: str, ours: str
) -> None:
    own = ServerCookies([bytes.fromhex(secret)], lambda: at)
    cookie = bytes.fromhex(sent)

    option = own.option(cookie, ip_address(address).packed)

    assert option.hex() == "000a0018" + cookie[:8].hex() + ours


@pytest.mark.parametrize(
    ("age_s", "is_good", "comes_back"),
    [
        (-301, False, False),
        (-300, True, True),
        (0, True, True),
        (1500, True, True),
        (1501, True, False),
        (3600, True, False),
        (3601, False, False),
    ],
)
def test_cookie_is_good_for_an_hour_and_then_there_is_another(
    *, age_s: int, is_good: bool, comes_back: bool
) -> None:
    cookie = made(CLIENT, by=cookies(at=NOW - age_s))
    own = cookies()

    assert own.is_good(cookie, HERE) == is_good
    assert (made(cookie, by=own) == cookie) == comes_back
    assert own.is_good(made(cookie, by=own), HERE)


def test_time_goes_on_when_its_32_bits_are_over() -> None:
    cookie = made(CLIENT, by=cookies(at=(1 << 32) - 10))
    own = cookies(at=(1 << 32) + 10)

    assert own.is_good(cookie, HERE)
    assert made(cookie, by=own) == cookie


@pytest.mark.parametrize("at", range(24))
def test_no_octet_of_a_cookie_may_change(at: int) -> None:
    cookie = made(CLIENT, by=cookies())
    changed = cookie[:at] + bytes([cookie[at] ^ 1]) + cookie[at + 1 :]

    assert not cookies().is_good(changed, HERE)


def test_cookie_is_for_one_address() -> None:
    cookie = made(CLIENT, by=cookies())

    assert cookies().is_good(cookie, HERE)
    assert not cookies().is_good(cookie, ip_address("198.51.100.101").packed)


@pytest.mark.parametrize("size", [8, 16, 23, 25, 40])
def test_cookies_of_another_length_are_none_of_ours(size: int) -> None:
    cookie = (made(CLIENT, by=cookies()) + bytes(16))[:size]

    assert not cookies().is_good(cookie, HERE)
    assert made(cookie, by=cookies()) == made(CLIENT, by=cookies())


def test_secret_changes_host_by_host_and_no_client_is_turned_away() -> None:
    """Hosts learn the new secret, then use it, then forget the old one."""
    old = cookies(SECRET)
    both, turned, new = cookies(SECRET, OTHER), cookies(OTHER, SECRET), cookies(OTHER)
    first = made(CLIENT, by=old)

    assert made(first, by=both) == first
    assert turned.is_good(first, HERE)
    second = made(first, by=turned)
    assert second != first
    assert both.is_good(second, HERE)
    assert made(second, by=new) == second
    assert not new.is_good(first, HERE)
