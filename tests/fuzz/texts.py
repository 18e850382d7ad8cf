"""Zone files and configs that are nearly right."""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

from tests.fuzz.choices import Choices

_OWNERS: Final = (
    *("@", "www", "", "*.wild", "a.b.c", "child", "ns1", "WWW", r"a\.b", r"\065\255"),
    *("example.test.", "other.test.", "*", "x" * 63, "x" * 64, "_sip._udp", '"q"', "-"),
)
_TTLS: Final = ("", "", "60", "1h30m", "0", "2147483648", "-1", "1w2d", "60s60", "IN")
_CLASSES: Final = ("", "IN", "CH", "in", "CLASS1")
_RECORDS: Final = (
    *("A 192.0.2.1", "A 192.0.2.256", "A", "AAAA 2001:db8::1", "AAAA ::ffff:1.2.3.4"),
    *("CNAME www", "CNAME .", "NS ns1", "NS ns.child", "MX 10 mail", "MX 65536 mail"),
    *('TXT "one" two', 'TXT "a\\;b"', 'TXT "', "TXT", r"TXT \# 2 0161", "TXT \\"),
    *("SRV 1 2 3 sip", "SRV 1 2 3", "PTR host.example.", "CAA 0 issue ca.test"),
    *("SOA ns1 hostmaster 1 2 3 4 5", "SOA ns1 host (1 2 3", ") 4 5", "LOC 1 N 2 E 3m"),
    *('HTTPS 1 . alpn="h2,h3" port=8443', "SVCB 0 www", "HTTPS 1 . mandatory=alpn"),
    *(r"SVCB 1 . key667=hello\210qoo", "HTTPS 1 . ipv4hint=1.2.3.4,5.6.7.8"),
    *(r"TYPE65280 \# 3 010203", r"A \# 4 C0000201", r"A \# 3 C00002", "TYPE1 1.2.3.4"),
    *("DS 1 8 2 " + "ab" * 32, "SSHFP 1 1 " + "cd" * 20, "TLSA 3 1 1 " + "ef" * 32),
    *("NAPTR 1 2 s x y .", "DNAME www", "RRSIG A 8", "HINFO a b", "NSEC www A", "X 1"),
)
_LINES: Final = (
    *("$TTL 1h", "$TTL", "$ORIGIN sub", "$ORIGIN .", "$ORIGIN", "$INCLUDE x", "; only"),
    *("$GENERATE 1-3 h$ A 192.0.2.$", "(", ")", "", "\t", '"', "\0", "\xe4 A 1.2.3.4"),
)
_HEAD: Final = "$TTL 300\n@ SOA ns1 hostmaster 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.53\n"


def zone_text(choices: Choices) -> str:
    """Return a zone file."""
    lines = [] if choices.is_rare(10) else [_HEAD.rstrip("\n")]
    for _ in range(choices.number(12)):
        if choices.is_rare(6):
            lines.append(choices.pick(_LINES))
            continue
        fields = [choices.pick(_OWNERS), choices.pick(_TTLS), choices.pick(_CLASSES)]
        line = " ".join((*fields, choices.pick(_RECORDS)))
        if choices.is_rare(10):
            at = choices.number(len(line) + 1)
            line = line[:at] + choices.octets(3).decode("latin-1") + line[at:]
        lines.append(line)
    ending = choices.pick(("\n", "\n", "\r\n", "\n\n"))
    return ending.join(lines) + choices.pick(("\n", ""))


_LISTED: Final = (
    *("ads.example", "ADS.Example.", "*.ads.example", "zip", "a..b", "-", "_x._y", "."),
    *("0.0.0.0 ads.example b.example", ":: a", "127.0.0.1", "1.2.3.4 localhost", "0 a"),
    *("||ads.example^", "@@||good.ads.example^", "||a^$third-party", "||*.a^", "||^"),
    *(
        "# x",
        "! x",
        "[Adblock]",
        "a.example # x",
        "a ## b",
        "@@",
        "",
        "\0",
        "\xe4.example",
    ),
    *(
        "$TTL 60",
        "$ORIGIN rpz",
        "$ORIGIN",
        "@ SOA a b 1 2 3 4 5",
        "x. SOA a b (1 2",
        ")",
    ),
    *(
        "ads.example CNAME .",
        "*.a 60 IN CNAME *.",
        "b.x. CNAME rpz-passthru.",
        " CNAME .",
    ),
    *(
        "c CNAME rpz-drop.",
        "d A 192.0.2.1",
        "8.0.0.0.10.rpz-ip CNAME .",
        "e CNAME",
        "f",
    ),
    *("x" * 63 + ".example", "x" * 64 + ".example", "a." * 127, "a." * 126 + "b"),
)


def name_list(choices: Choices) -> bytes:
    """Return a list of names."""
    lines = []
    for _ in range(choices.number(12)):
        line = choices.pick(_LISTED).encode("latin-1")
        if choices.is_rare(5):
            at = choices.number(len(line) + 1)
            line = line[:at] + choices.octets(3) + line[at:]
        lines.append(line)
    return choices.pick((b"\n", b"\r\n")).join(lines)


_VALUES: Final[tuple[Any, ...]] = (
    *(0, 1, -1, 4, 2**31, 2**70, 1.5, float("inf"), True, None, "", "x", "1s", "-1s"),
    *("1d", "800ms", "64MiB", "1e3", "127.0.0.1:53", "[::1]:53", "127.0.0.1", "::"),
    *("10.0.0.0/8", "::/0", "off", "ring", "exact", "chash", "/x/y", "a/../b", "\0"),
    *("example.test", "ä.test", "." * 300, "0.0.0.0:5353", [], {}, [[]], [None], [1]),
    *([{"name": "w1"}], [{"name": "w1"}, {"name": "w1"}], [{"address": "1.2.3.4:53"}]),
    *([{"origin": "example.test", "file": "x"}], ["127.0.0.1:53"] * 2, {"a": {"b": 1}}),
)
_BASE: Final[dict[str, Any]] = {"listen": ["127.0.0.1:5353"]}


def config_text(choices: Choices, keys: dict[str, list[str]]) -> str:
    """Return a config; *keys* are those of every section that exists."""
    document: dict[Any, Any] = dict(_BASE)
    for _ in range(choices.number(8)):
        section = choices.pick([*keys, "nonsense"])
        names = keys.get(section) or []
        if not names or choices.is_rare(6):
            document[section] = choices.pick(_VALUES)
            continue
        fields = document.get(section)
        fields = dict(fields) if isinstance(fields, dict) else {}
        fields[choices.pick([*names, "nonsens"])] = choices.pick(_VALUES)
        document[section] = fields
    text = (
        json.dumps(document, indent=1)
        if choices.is_rare(3)
        else yaml.safe_dump(document, allow_unicode=True)
    )
    for _ in range(choices.pick((0, 0, 0, 1, 3))):
        at = choices.number(len(text) + 1)
        middle = choices.pick(("\n", ": ", "\t", "- ", "&a ", "*a", "!!x ", "{", '"'))
        text = text[:at] + middle + text[at + choices.number(4) :]
    return text
