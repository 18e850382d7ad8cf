"""The data of one record as text to wire form, and in words what is wrong with them."""

from __future__ import annotations

import io
import itertools
import re
from typing import Final

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.svcbbase
import dns.tokenizer

from dnsfront.dns.zones.tokens import Tokens

_GOOD_ESCAPES: Final = re.compile(r"(?:[^\\]|\\\D|\\[01]\d\d|\\2[0-4]\d|\\25[0-5])*")
#: What dnspython says, in the words of an operator; the rest stays as it is.
_REASONS: Final = (
    ("expecting an integer", "want a number"),
    ("invalid literal for int", "want a number"),
    ("expecting an identifier", "want it without quotes"),
    ("expecting another identifier", "the data end too early"),
    ("tag is not alphanumeric", "want letters and digits in the tag"),
    ("duplicate key", "the parameter is given twice"),
    ("whitespace after =", "a value is missing behind the ="),
    (
        "generic rdata does not start",
        r"this type is not known here; write its data as \# LENGTH HEX",
    ),
    ("Text input is malformed", ""),
    ("DNS message is malformed", ""),
)
#: What the data of the common types look like.
FORMS: Final = {
    "A": "an IPv4 address",
    "AAAA": "an IPv6 address without a zone index",
    "CAA": "FLAGS TAG VALUE",
    "CNAME": "a name",
    "DNAME": "a name",
    "DS": "TAG ALGORITHM DIGEST-TYPE DIGEST",
    "HTTPS": "PRIORITY TARGET KEY=VALUE...",
    "MX": "PREFERENCE HOST",
    "NS": "a name",
    "SOA": "MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM",
    "SRV": "PRIORITY WEIGHT PORT TARGET",
    "SSHFP": "ALGORITHM TYPE FINGERPRINT",
    "SVCB": "PRIORITY TARGET KEY=VALUE...",
    "TLSA": "USAGE SELECTOR MATCHING DATA",
    "TXT": "strings of at most 255 octets",
}


#: A service parameter by its number (RFC 9460, 2.1); a quoted value follows.
_GENERIC_KEY: Final = re.compile(r"key([0-9]+)=(.*)", re.DOTALL)


def read_data(mnemonic: str, tokens: Tokens) -> tuple[int, bytes]:
    """Return type and data of a record whose type was read last.

    Raises:
        ValueError: or a DNSException.
    """
    rtype = dns.rdatatype.from_text(mnemonic)
    # Meta types and OPT are no data (RFC 6895, 3.1).
    if rtype == 0 or 128 <= rtype <= 255 or rtype == dns.rdatatype.OPT:
        raise ValueError("this type cannot stand in a zone")
    token = tokens.get()
    if token.is_identifier() and token.value == r"\#":
        return int(rtype), _generic_rdata(rtype, tokens)
    tokens.unget(token)
    rdata = dns.rdata.from_text(dns.rdataclass.IN, rtype, tokens, relativize=False)
    if isinstance(rdata, dns.rdtypes.svcbbase.SVCBBase):
        _check_parameters(rdata, tokens.seen)
    return int(rtype), rdata.to_wire() or b""


def _check_parameters(
    rdata: dns.rdtypes.svcbbase.SVCBBase, seen: list[dns.tokenizer.Token]
) -> None:
    """Refuse parameters in their generic form, keyN=, of which something was left out.

    dnspython reads such octets as those of the key, and passes over what follows.

    Raises:
        ValueError: with the key, and how many octets there were.
    """
    for token, following in itertools.pairwise(seen):
        match = _GENERIC_KEY.fullmatch(token.value) if token.is_identifier() else None
        if match is None:
            continue
        value = token
        value.value = match[2]
        if not match[2] and following.is_quoted_string():
            value = following
        octets = len(value.unescape_to_bytes().value)
        form = io.BytesIO()
        if (parameter := rdata.params.get(int(match[1]))) is not None:
            parameter.to_wire(form)
        if octets != form.tell():
            raise ValueError(
                f"key{match[1]}: got {octets} octets, want {form.tell()} for this key"
            )


def _generic_rdata(rtype: dns.rdatatype.RdataType, tokens: Tokens) -> bytes:
    r"""Return data that are written as ``\# LENGTH HEX``, of any type (RFC 3597, 5)."""
    length = tokens.get_uint16()
    octets = bytes.fromhex(tokens.concatenate_remaining_identifiers(allow_empty=True))
    if len(octets) != length:
        raise ValueError(f"got {len(octets)} octets of data, want {length}")
    try:
        rdata = dns.rdata.from_wire(dns.rdataclass.IN, rtype, octets, 0, length)
    except (dns.exception.DNSException, ValueError) as exc:
        raise ValueError(
            f"got \\# {length} {octets.hex()}, want the data of this type ({exc})"
        ) from exc
    if rdata.to_wire() != octets:
        raise ValueError(f"got \\# {length} {octets.hex()}, want no compression")
    return octets


def reason_of(exc: Exception, tokens: Tokens) -> str:  # noqa: PLR0911 - one a case
    """Return what *exc* says, with what was found, in one line."""
    text = str(exc).splitlines()[0] if str(exc) else ""
    if "want" in text:
        return text
    if isinstance(exc, dns.rdatatype.UnknownRdatatype):
        return "this type is not known here; write it as TYPE and its number"
    for token in tokens.seen:
        escapes = _GOOD_ESCAPES.match(token.value)
        if escapes is not None and escapes.end() != len(token.value):
            escape = token.value[escapes.end() : escapes.end() + 4]
            return f"got the escape {escape}, want at most \\255"
    if text == "string too long":
        size = max(len(token.unescape_to_bytes().value) for token in tokens.seen)
        return f"got a string of {size} octets, want at most 255"
    last = tokens.seen[-1]
    if text.startswith("expected EOL or EOF"):
        return f"got {last.value!r} behind the data"
    is_early = text.startswith(("expecting", "Text input", "invalid literal"))
    if last.is_eol_or_eof() and (is_early or not text):
        return "the data end too early"
    text = next((ours for start, ours in _REASONS if text.startswith(start)), text)
    if last.is_eol_or_eof():
        return text
    return f"got {last.value!r}" + (f", {text}" if text else "")
