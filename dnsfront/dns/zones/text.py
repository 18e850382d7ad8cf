r"""Master-file text (RFC 1035, 5) to records in wire form, each with its line.

dnspython takes a line apart and knows every type. Here is what it leaves to its caller
or reads in another way: where a record that spans lines ends, what an entry takes over
from the lines above it, and that names are ASCII.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.svcbbase
import dns.tokenizer

from dnsfront.dns.names import MAX_QNAME_OCTETS, labels, qname_from_text, qname_to_text
from dnsfront.dns.zones.plain import PlainLines
from dnsfront.errors import WireError, ZoneError

#: RFC 2181, 8.
MAX_TTL_S: Final = 0x7FFFFFFF

#: A line without parentheses, quotes and escapes: it ends where it seems to.
_SIMPLE: Final = re.compile(r'[^\n"();\\]*(?:;[^\n]*)?(?:\n|\Z)')
_LEXEME: Final = re.compile(
    r"""
      (?P<newline> \n )
    | (?P<comment> ;[^\n]* )
    | (?P<group>   [()] )
    | (?P<quoted>  " (?: [^"\\\n] | \\[^\n] )* " )
    | (?P<bare>    (?: [^\n;()"\\] | \\[^\n] )+ )
    """,
    re.VERBOSE,
)
_DURATION: Final = re.compile(r"(?:[0-9]+[wdhms])+|[0-9]+", re.IGNORECASE | re.ASCII)
_DURATION_PART: Final = re.compile(r"([0-9]+)([wdhms]?)", re.IGNORECASE | re.ASCII)
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_CLASSES: Final = frozenset({"IN", "CH", "HS", "CS"})
_CLASS_BY_NUMBER: Final = re.compile(r"CLASS[0-9]+", re.ASCII)
_GOOD_ESCAPES: Final = re.compile(r"(?:[^\\]|\\\D|\\[01]\d\d|\\2[0-4]\d|\\25[0-5])*")

#: Served as plain data these would make other answers bogus, or leave some out.
_NOT_SERVED: Final = frozenset(
    {"DNAME", "DNSKEY", "KEY", "NSEC", "NSEC3", "NSEC3PARAM", "NXT", "RRSIG", "SIG"}
)
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
_FORMS: Final = {
    "A": "an IPv4 address",
    "AAAA": "an IPv6 address without a zone index",
    "CAA": "FLAGS TAG VALUE",
    "CNAME": "a name",
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
#: 65535 octets of data, each written as an escape, twice over for blanks and comments.
_MAX_ENTRY_OCTETS: Final = 1 << 19


class Record(NamedTuple):
    """One record: names in lower case and written out, data as they are served."""

    line: int
    owner: bytes
    ttl_s: int
    rtype: int
    rdata: bytes


def type_text(rtype: int) -> str:
    """Return the mnemonic of a type, or TYPE and its number."""
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))


def read_records(
    origin: bytes, text: str, path: str, *, is_plain_fast: bool = True
) -> Iterator[Record]:
    """Yield the records of *text* in their order; *path* is for messages only.

    Plain lines take a way of their own, ten times as fast, unless that is switched off.

    Raises:
        ZoneError: with path and line, while iterating.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    reader = _Reader(origin)
    plain = PlainLines(text) if is_plain_fast else None
    at, number, size = 0, 1, len(text)
    while at < size:
        if plain is not None:
            found = plain.read(at, reader.origin, reader.owner, reader.usual_ttl_s)
            if found is not None:
                at, owner, ttl_s, is_ttl_given, rtype, rdata = found
                reader.owner = owner
                if is_ttl_given:
                    reader.last_ttl_s = ttl_s
                yield Record(number, owner, ttl_s, rtype, rdata)
                number += 1
                continue
        where = f"{path}:{number}"
        line_end = text.find("\n", at)
        _check_size((size if line_end < 0 else line_end) - at, where)
        end = _end_of_entry(text, at, where)
        _check_size(end - at, where)
        try:
            record = reader.read(_Tokens(text[at:end]), number)
        except ValueError as exc:
            raise ZoneError(f"{path}:{number}: {exc}") from exc
        if record is not None:
            yield record
        number += text.count("\n", at, end)
        at = end


def _check_size(octets: int, where: str) -> None:
    """Refuse text that no record needs, ahead of all that looks at each character."""
    if octets > _MAX_ENTRY_OCTETS:
        raise ZoneError(
            f"{where}: the record has {octets} octets of text, want at most "
            f"{_MAX_ENTRY_OCTETS}"
        )


def _end_of_entry(text: str, at: int, where: str) -> int:
    """Return where the entry that begins at *at* ends, behind its last newline."""
    simple = _SIMPLE.match(text, at)
    if simple is not None:
        return simple.end()
    line, depth = where.rpartition(":")[2], 0
    number = int(line)
    path = where.removesuffix(line)
    while at < len(text):
        lexeme = _LEXEME.match(text, at)
        if lexeme is None:
            reason = (
                "the quoted text is not closed on its line"
                if text[at] == '"'
                else "nothing follows the backslash"
            )
            raise ZoneError(f"{path}{number}: {reason}")
        at = lexeme.end()
        if lexeme.lastgroup == "group":
            depth += 1 if lexeme[0] == "(" else -1
            if depth < 0:
                raise ZoneError(f"{path}{number}: ')' closes nothing")
        elif lexeme.lastgroup == "newline":
            if not depth:
                return at
            number += 1
    if depth:
        raise ZoneError(f"{where}: '(' is not closed")
    return at


class _Tokens(dns.tokenizer.Tokenizer):
    """The words of one entry; names are ours, and absolute."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.seen: list[dns.tokenizer.Token] = []
        self.origin = b"\0"

    def get(
        self,
        want_leading: bool = False,  # noqa: FBT001, FBT002 - its signature
        want_comment: bool = False,  # noqa: FBT001, FBT002
    ) -> dns.tokenizer.Token:
        token = super().get(want_leading, want_comment)
        self.seen.append(token)
        return token

    def as_name(
        self,
        token: dns.tokenizer.Token,
        origin: dns.name.Name | None = None,
        relativize: bool = False,  # noqa: FBT001, FBT002
        relativize_to: dns.name.Name | None = None,
    ) -> dns.name.Name:
        # dnspython takes what is not ASCII through IDNA, and keeps the case.
        del origin, relativize, relativize_to
        if not token.is_identifier():
            raise ValueError("want it without quotes")
        return dns.name.Name((*labels(_name(token.value, self.origin)), b""))


class _Reader:
    """What an entry takes over from the lines above it."""

    def __init__(self, origin: bytes) -> None:
        self.origin = origin
        self.owner: bytes | None = None
        self.last_ttl_s: int | None = None
        self._default_ttl_s: int | None = None

    @property
    def usual_ttl_s(self) -> int | None:
        """The TTL of a record without one (RFC 2308, 4; RFC 1035, 5.1)."""
        if self._default_ttl_s is not None:
            return self._default_ttl_s
        return self.last_ttl_s

    def read(self, tokens: _Tokens, line: int) -> Record | None:
        """Return the record in *tokens*, or None for a directive or a blank line.

        Raises:
            ValueError: what is wrong.
        """
        tokens.origin = self.origin
        try:
            token = tokens.get(want_leading=True)
            if token.is_whitespace():
                token = tokens.get()
                if token.is_eol_or_eof():
                    return None
            elif token.is_eol_or_eof():
                return None
            elif token.value.startswith("$") and token.is_identifier():
                self._directive(token.value.upper(), tokens)
                return None
            else:
                self.owner = _name(token.value, self.origin)
                token = tokens.get()
        except dns.exception.DNSException as exc:
            raise ValueError(str(exc)) from exc
        if self.owner is None:
            raise ValueError("the record has no owner, and there is none above it")
        ttl_s, token = self._ttl_and_class(token, tokens)
        mnemonic = token.value.upper()
        try:
            rtype, rdata = _rdata(mnemonic, tokens)
        except (dns.exception.DNSException, ValueError) as exc:
            owner = qname_to_text(self.owner)
            reason = _reason(exc, tokens)
            form = _FORMS.get(mnemonic)
            if form and "want" not in reason and " here" not in reason:
                reason += f", want {form}"
            raise ValueError(f"{owner} {mnemonic}: {reason}") from exc
        return Record(line, self.owner, ttl_s, rtype, rdata)

    def _ttl_and_class(
        self, token: dns.tokenizer.Token, tokens: _Tokens
    ) -> tuple[int, dns.tokenizer.Token]:
        """Return the TTL of the record and the word behind it, which is the type."""
        ttl_s: int | None = None
        has_class = False
        while not token.is_eol_or_eof():
            word = token.value.upper()
            if ttl_s is None and _DURATION.fullmatch(word):
                self.last_ttl_s = ttl_s = _seconds(token)
            elif not has_class and (word in _CLASSES or _CLASS_BY_NUMBER.match(word)):
                has_class = True
                if word not in {"IN", "CLASS1"}:
                    raise ValueError(f"got class {word}, want IN")
            else:
                break
            token = tokens.get()
        if token.is_eol_or_eof():
            raise ValueError("the record has no type")
        if ttl_s is None:
            ttl_s = self.usual_ttl_s
        if ttl_s is None:
            raise ValueError("the record has no TTL, and there is no $TTL above it")
        return ttl_s, token

    def _directive(self, name: str, tokens: _Tokens) -> None:
        arguments = tokens.get_remaining()
        if name not in {"$ORIGIN", "$TTL"}:
            raise ValueError(f"{name} is not supported; write its records out")
        if len(arguments) != 1:
            raise ValueError(f"got {len(arguments)} values after {name}, want one")
        if name == "$ORIGIN":
            self.origin = _name(arguments[0].value, self.origin)
        else:
            self._default_ttl_s = _seconds(arguments[0])


def _rdata(mnemonic: str, tokens: _Tokens) -> tuple[int, bytes]:
    """Return type and data of a record whose type was read last.

    Raises:
        ValueError: or a DNSException.
    """
    rtype = dns.rdatatype.from_text(mnemonic)
    name = dns.rdatatype.to_text(rtype)  # TYPE1 is A too
    if name in _NOT_SERVED:
        raise ValueError("this type is not served from zones here")
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


def _generic_rdata(rtype: dns.rdatatype.RdataType, tokens: _Tokens) -> bytes:
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


def _reason(exc: Exception, tokens: _Tokens) -> str:  # noqa: PLR0911 - one a case
    """Return what *exc* says, with what was found, in one line."""
    text = str(exc).splitlines()[0] if str(exc) else ""
    if "want" in text or "not served" in text:
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


def _name(text: str, origin: bytes) -> bytes:
    """Return the lower-case wire form of the name that *text* means.

    Raises:
        ValueError: not a name, or too long with *origin* behind it.
    """
    if text == "@":
        return origin
    try:
        name = qname_from_text(text)
    except WireError as exc:
        raise ValueError(str(exc)) from exc
    if _is_absolute(text):
        return name
    name = name[:-1] + origin
    if len(name) > MAX_QNAME_OCTETS:
        raise ValueError(
            f"{text!r} has {len(name)} octets with the origin behind it, "
            f"want at most {MAX_QNAME_OCTETS}"
        )
    return name


def _is_absolute(text: str) -> bool:
    """Tell whether *text* ends in a dot that no backslash takes the meaning from."""
    if not text.endswith("."):
        return False
    stem = text[:-1]
    return (len(stem) - len(stem.rstrip("\\"))) % 2 == 0


def _seconds(token: dns.tokenizer.Token) -> int:
    """Return a TTL or another span of time; units as in ``1h30m`` are understood.

    Raises:
        ValueError: not a span, or more than 31 bits.
    """
    text = token.value
    if not token.is_identifier() or not _DURATION.fullmatch(text):
        raise ValueError(f"got {text!r}, want seconds, or a span such as 1h30m")
    seconds = sum(
        int(number[:12]) * _UNIT_S[unit.lower()]
        for number, unit in _DURATION_PART.findall(text)
    )
    if seconds > MAX_TTL_S:
        raise ValueError(f"got {text!r}, want at most {MAX_TTL_S} s")
    return seconds
