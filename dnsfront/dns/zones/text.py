r"""Master-file text (RFC 1035, 5) to records in wire form, each with its line.

dnspython takes a line apart and knows every type. Here is what it leaves to its caller
or reads in another way: where a record that spans lines ends, what an entry takes over
from the lines above it, and that names are ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import dns.exception
import dns.rdatatype
import dns.tokenizer

from dnsfront.dns.names import qname_to_text
from dnsfront.dns.zones.data import FORMS, read_data, reason_of
from dnsfront.dns.zones.generate import Generation, generation
from dnsfront.dns.zones.plain import PlainLines
from dnsfront.dns.zones.tokens import DURATION, Tokens, name_in, seconds_in
from dnsfront.errors import ZoneError

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
_CLASSES: Final = frozenset({"IN", "CH", "HS", "CS"})
_CLASS_BY_NUMBER: Final = re.compile(r"CLASS[0-9]+", re.ASCII)
#: 65535 octets of data, each written as an escape, twice over for blanks and comments.
_MAX_ENTRY_OCTETS: Final = 1 << 19


#: Files that include each other; nsd has the same bound.
_MAX_DEPTH: Final = 10
#: How many values each directive has at most.
_ARGUMENTS: Final = {"$ORIGIN": 1, "$TTL": 1, "$INCLUDE": 2, "$GENERATE": 99}

#: Returns path and text of a file to be included, by its name as it was written.
Include = Callable[[str], tuple[str, str]]


class Inclusion(NamedTuple):
    """A file to be read in place of the line, under *origin* unless that is empty."""

    name: str
    origin: bytes


class Record(NamedTuple):
    """One record: its owner in lower case, data as they are served, names in full.

    *path* is the file that it stands in.
    """

    path: str
    line: int
    owner: bytes
    ttl_s: int
    rtype: int
    rdata: bytes


def type_text(rtype: int) -> str:
    """Return the mnemonic of a type, or TYPE and its number."""
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))


def read_records(
    origin: bytes,
    text: str,
    path: str,
    include: Include | None = None,
    *,
    is_plain_fast: bool = True,
) -> Iterator[Record]:
    """Yield the records of *text* in their order; *path* is for messages only.

    *include* returns path and text of a file that is to be read in place of $INCLUDE;
    it raises ValueError where it must not be, and without it none may. Plain lines take
    a way of their own, ten times as fast, unless that is switched off.

    Raises:
        ZoneError: with path and line, while iterating.
    """
    reader = _Reader(origin)
    yield from _records(reader, path, text, include, 0, is_plain_fast=is_plain_fast)


def _records(
    reader: _Reader,
    path: str,
    text: str,
    include: Include | None,
    depth: int,
    *,
    is_plain_fast: bool,
) -> Iterator[Record]:
    """Yield the records of a file that *depth* others include."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
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
                yield Record(path, number, owner, ttl_s, rtype, rdata)
                number += 1
                continue
        where = f"{path}:{number}"
        line_end = text.find("\n", at)
        _check_size((size if line_end < 0 else line_end) - at, where)
        end = _end_of_entry(text, at, where)
        _check_size(end - at, where)
        try:
            entry = reader.read(Tokens(text[at:end]), path, number)
            if isinstance(entry, Record):
                yield entry
            elif isinstance(entry, Generation):
                yield from _generated(reader, entry, path, number)
            elif entry is not None:
                path_and_text = _included(entry, include, depth)
                # RFC 1035, 5.1: the origin is as it was behind it; so is the owner.
                before = reader.origin, reader.owner
                reader.origin, reader.owner = entry.origin or reader.origin, None
                yield from _records(
                    reader, *path_and_text, include, depth + 1, is_plain_fast=True
                )
                reader.origin, reader.owner = before
        except ValueError as exc:
            raise ZoneError(f"{where}: {exc}") from exc
        number += text.count("\n", at, end)
        at = end


def _included(
    inclusion: Inclusion, include: Include | None, depth: int
) -> tuple[str, str]:
    """Return path and text of a file that is to be included."""
    if include is None:
        raise ValueError("$INCLUDE: no file can be included here")
    if depth >= _MAX_DEPTH:
        raise ValueError(
            f"$INCLUDE: got a file included by {depth} others, want at most "
            f"{_MAX_DEPTH}; does it include itself?"
        )
    return include(inclusion.name)


def _generated(
    reader: _Reader, generation: Generation, path: str, number: int
) -> Iterator[Record]:
    """Yield the records that a $GENERATE stands for."""
    for line in generation.lines():
        record = None
        try:
            if not line.startswith("$"):
                record = reader.read(Tokens(line), path, number)
        except ValueError as exc:
            raise ValueError(f"$GENERATE: {exc}") from exc
        if isinstance(record, Record):
            yield record
            continue
        raise ValueError(f"$GENERATE: got {line.strip()!r}, want a record")


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

    def read(
        self, tokens: Tokens, path: str, line: int
    ) -> Record | Inclusion | Generation | None:
        """Return the record in *tokens*, or what else there is to be read.

        That is None for other directives and blank lines.

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
                return self._directive(token.value.upper(), tokens)
            else:
                self.owner = name_in(token.value, self.origin).lower()
                token = tokens.get()
        except dns.exception.DNSException as exc:
            raise ValueError(str(exc)) from exc
        if self.owner is None:
            raise ValueError("the record has no owner, and there is none above it")
        ttl_s, token = self._ttl_and_class(token, tokens)
        mnemonic = token.value.upper()
        try:
            rtype, rdata = read_data(mnemonic, tokens)
        except (dns.exception.DNSException, ValueError) as exc:
            owner = qname_to_text(self.owner)
            reason = reason_of(exc, tokens)
            form = FORMS.get(mnemonic)
            if form and "want" not in reason and " here" not in reason:
                reason += f", want {form}"
            raise ValueError(f"{owner} {mnemonic}: {reason}") from exc
        return Record(path, line, self.owner, ttl_s, rtype, rdata)

    def _ttl_and_class(
        self, token: dns.tokenizer.Token, tokens: Tokens
    ) -> tuple[int, dns.tokenizer.Token]:
        """Return the TTL of the record and the word behind it, which is the type."""
        ttl_s: int | None = None
        has_class = False
        while not token.is_eol_or_eof():
            word = token.value.upper()
            if ttl_s is None and DURATION.fullmatch(word):
                self.last_ttl_s = ttl_s = seconds_in(token)
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

    def _directive(self, name: str, tokens: Tokens) -> Inclusion | Generation | None:
        arguments = tokens.get_remaining()
        most = _ARGUMENTS.get(name, 0)
        if not most:
            raise ValueError(f"got {name}, want {', '.join(_ARGUMENTS)} or a record")
        least = 4 if name == "$GENERATE" else 1
        if not least <= len(arguments) <= most:
            want = (
                "one"
                if most == 1
                else f"{least} or more"
                if least > 1
                else "one or two"
            )
            raise ValueError(f"got {len(arguments)} values after {name}, want {want}")
        first = arguments[0]
        if name == "$ORIGIN":
            self.origin = name_in(first.value, self.origin)
        elif name == "$TTL":
            self._default_ttl_s = seconds_in(first)
        elif name == "$GENERATE":
            return generation([_written(argument) for argument in arguments])
        else:
            origin = b""
            if len(arguments) > 1:
                origin = name_in(arguments[1].value, self.origin)
            octets = first.unescape_to_bytes().value
            return Inclusion(octets.decode("utf-8", "surrogateescape"), origin)
        return None


def _written(value: dns.tokenizer.Token) -> str:
    """Return a value as it was written, for it is read again."""
    return f'"{value.value}"' if value.is_quoted_string() else value.value
