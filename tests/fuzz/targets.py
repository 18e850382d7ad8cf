"""What is fuzzed: a function a target, from octets to nothing or to a finding.

The parts of the worker are the real ones (`tests/unit/worker_rig.py`), with real
sockets and a clock that is told. What they send is read by dnspython.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message

from dnsfront.config.load import load
from dnsfront.config.model import json_schema
from dnsfront.dns.rules.names import NameList
from dnsfront.dns.rules.text import read_list
from dnsfront.dns.zones.authority import Zone
from dnsfront.dns.zones.compiling import compile_zone
from dnsfront.dns.zones.image import Image
from dnsfront.errors import ConfigError, ListError, ZoneError
from dnsfront.ipc.stats import Counter
from tests.fuzz import messages, texts
from tests.fuzz.choices import Choices
from tests.unit.asking import message_of, question_of
from tests.unit.caching import flush
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.stub_client import Client
from tests.unit.worker_rig import NS, ZONE, Rig

_HEADER_OCTETS: Final = 12
_QR: Final = 0x80
_OPCODE: Final = 0x78
#: Answers over UDP are never longer, whatever a client says that it takes.
_MOST_OCTETS: Final = 1232
_TRIES: Final = 12
_MOST_STREAMS: Final = 3


class FindingError(AssertionError):
    """Something that must not be."""


@cache
def _rig() -> tuple[Rig, FakeUpstream, Client]:
    upstream = FakeUpstream()
    rig = Rig(upstreams=[upstream], zone=ZONE)
    return rig, upstream, rig.client()


def _without_faults(rig: Rig) -> None:
    if rig.count(Counter.EXCEPTIONS):
        rig.words[Counter.EXCEPTIONS] = 0
        raise FindingError("an exception was met: its log is above")


def _parsed(octets: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(octets, keyring=False)
    except (dns.exception.DNSException, ValueError) as exc:
        raise FindingError(f"malformed: {exc!r}: {octets.hex()}") from exc


def _taken(client: Client) -> list[bytes]:
    return client.receive()


def queries(data: bytes) -> None:
    """Send one datagram to a worker: it is answered once, as the protocol has it."""
    choices = Choices(data)
    rig, upstream, client = _rig()
    rig.now_ns += choices.pick((0, 0, 1, 400)) * NS
    query = messages.query(choices)
    is_answering = not choices.is_rare(8)
    responses = rig.ask(query, client)
    for _ in range(_TRIES):
        if responses:
            break
        for asked, sender in upstream.take_octets():
            # What is sent to upstreams is well formed, too.
            said = dns.message.make_response(_parsed(asked), recursion_available=True)
            if is_answering:
                upstream.send(said.to_wire(), sender)
        rig.round()
        responses = _taken(client)
        if not responses:
            rig.wait(0.5)
            responses = _taken(client)
    _without_faults(rig)
    if rig.pool is not None:
        rig.pool.sweep()
    is_ignored = len(query) < _HEADER_OCTETS or bool(query[2] & _QR)
    if len(responses) != (0 if is_ignored else 1):
        raise FindingError(f"{len(responses)} responses to {query.hex()}")
    for octets in responses:
        _check_response(query, octets)


def _check_response(query: bytes, octets: bytes) -> None:
    if octets[2] & _OPCODE:
        # dnspython reads those as updates and the like, whatever the rcode.
        if len(octets) < _HEADER_OCTETS or octets[:2] != query[:2]:
            raise FindingError(f"{octets.hex()} to {query.hex()}")
        return
    response = _parsed(octets)
    if octets[:2] != query[:2] or not octets[2] & _QR:
        raise FindingError(f"not its response: {octets.hex()} to {query.hex()}")
    if len(octets) > _MOST_OCTETS:
        raise FindingError(f"{len(octets)} octets to {query.hex()}")
    with contextlib.suppress(dns.exception.DNSException, ValueError):
        asked = dns.message.from_wire(query)
        if response.question and response.question != asked.question:
            raise FindingError(f"another question: {octets.hex()} to {query.hex()}")
        if response.edns >= 0 > asked.edns:
            raise FindingError(f"EDNS nobody asked for: {octets.hex()}")
        if asked.edns < 0 and len(octets) > 512:
            raise FindingError(f"{len(octets)} octets without EDNS")


#: Names that were asked for, so that each is new.
_ASKED: Final = iter(range(1 << 62))


def _new_query(choices: Choices) -> bytes:
    """Return a query for a name that was never asked for."""
    label = b"q%d" % next(_ASKED)
    question = bytes((len(label),)) + label + b"\2up\4test\0"
    question += choices.pick(messages.RTYPES).to_bytes(2, "big") + b"\0\1"
    flags = choices.pick((b"\1\0", b"\1\x10", b"\1\x20"))
    opt = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0" if choices.is_rare(2) else b""
    counts = b"\0\1\0\0\0\0" + (b"\0\1" if opt else b"\0\0")
    return b"\x12\x34" + flags + counts + question + opt


def upstream_udp(data: bytes) -> None:
    """Have an upstream say something: the client has one good response in the end."""
    _upstream(data, over_tcp=False)


def upstream_tcp(data: bytes) -> None:
    """Have an upstream say it over TCP, in pieces."""
    _upstream(data, over_tcp=True)


def _upstream(data: bytes, *, over_tcp: bool) -> None:
    choices = Choices(data)
    rig, upstream, client = _rig()
    query = _new_query(choices)
    responses = rig.ask(query, client)
    for _ in range(_TRIES):
        if responses:
            break
        for asked, sender in upstream.take_octets():
            if over_tcp:
                upstream.send(_truncated(asked), sender)
            else:
                for _ in range(choices.pick((1, 1, 2))):
                    said = messages.response(choices, asked, _question_of(asked))
                    upstream.send(said[:65000], sender)
        rig.round()
        if over_tcp:
            _serve_streams(choices, rig, upstream)
        responses = _taken(client)
        if not responses:
            rig.wait(0.5)
            responses = _taken(client)
    _without_faults(rig)
    if len(responses) != 1:
        raise FindingError(f"{len(responses)} responses to {query.hex()}")
    _check_response(query, responses[0])
    # Once more: from the cache, if it was kept, with the TTLs of another second.
    rig.now_ns += 2 * NS
    again = rig.ask(query, client)
    _without_faults(rig)
    for octets in again:
        _check_response(query, octets)
    _forget(rig, upstream, client)


def _question_of(asked: bytes) -> bytes:
    end = _HEADER_OCTETS
    while asked[end]:
        end += asked[end] + 1
    return asked[_HEADER_OCTETS : end + 5]


def _truncated(asked: bytes) -> bytes:
    return asked[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + _question_of(asked)


def _serve_streams(choices: Choices, rig: Rig, upstream: FakeUpstream) -> None:
    """Take what connected, and send something that may be a response."""
    for _ in range(_MOST_STREAMS):
        rig.round()
        try:
            stream = upstream.accept()
        except BlockingIOError:
            return
        with stream, contextlib.suppress(OSError):
            rig.round()
            stream.settimeout(0.2)
            asked = stream.recv(4096)[2:]
            if not asked:
                return
            said = messages.response(choices, asked, _question_of(asked))[:65535]
            length = len(said)
            if choices.is_rare(8):
                length = choices.number(65536)
            octets = length.to_bytes(2, "big") + said
            cut = choices.number(len(octets) + 1)
            for piece in (octets[:cut], octets[cut:]):
                stream.sendall(piece)
                rig.round()


def _forget(rig: Rig, upstream: FakeUpstream, client: Client) -> None:
    """Have nothing under way that the next input could meet."""
    pool = rig.pool
    if pool is not None:
        pool.sweep()
    for _ in range(_TRIES):
        if pool is None or not pool.pending:
            break
        rig.wait(1)
    upstream.take_octets()
    _taken(client)
    flush(rig.cache)
    rig.answering.failures.forget()


_PLACE: Final = re.compile(r"zone:\d+: |zone: ")


def zone_text(data: bytes) -> None:
    """Read a zone: it is refused at a line, or every name in it can be served."""
    text = texts.zone_text(Choices(data))
    try:
        pieces, _ = compile_zone("example.test", text, "zone")
    except ZoneError as exc:
        if not _PLACE.match(str(exc)) or "\n" in str(exc):
            raise FindingError(f"says not where, or not in a line: {exc}") from exc
        return
    image = Image(memoryview(b"".join(pieces)))
    zone = Zone(image)
    for name in image:
        for qname in (name, b"\1x" + name):
            for qtype in (1, 5, 16, 43, 65, 255):
                question = question_of(qname, qtype)
                try:
                    message_of(zone.respond(qname, qtype, 1, question), question)
                except (dns.exception.DNSException, ValueError) as exc:
                    raise FindingError(f"malformed: {exc!r} for {question!r}") from exc


def name_list(data: bytes) -> None:
    """Read a list: it is refused, or its image finds each of its names, and no more."""
    text = texts.name_list(Choices(data))
    try:
        read = read_list(text)
    except ListError as exc:
        if "\n" in str(exc):
            raise FindingError(f"not in a line: {exc}") from exc
        return
    names = NameList(memoryview(b"".join(read.writer.pieces())))
    asked = {bytes((1,)) + bytes((x,)) + b"\0" for x in range(97, 123)}
    asked |= {b"\3ads\7example\0", b"\1b\7example\0", b"\0", b"\1x\3ads\7example\0"}
    found = sum(bool(names.find(qname)) for qname in asked)
    if (found and not names.names) or read.left_out > text.count(b"\n") + 1:
        raise FindingError(f"{found} found, {read.left_out} left out of {text!r}")
    if any("\n" in told for told in read.told):
        raise FindingError(f"not in a line: {read.told}")


@cache
def _keys() -> dict[str, list[str]]:
    """Return the keys of each section of the config."""
    schema = json_schema()

    def names(part: dict[str, Any]) -> list[str]:
        for inner in (part, *part.get("allOf", ()), *part.get("anyOf", ())):
            if "$ref" in inner:
                name = inner["$ref"].rpartition("/")[2]
                return list(schema["$defs"][name].get("properties", {}))
        return []

    return {key: names(part) for key, part in schema["properties"].items()}


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dnsfront-fuzz-")


def config(data: bytes) -> None:
    """Read a config: it is taken, or every mistake has its line and a sentence."""
    path = Path(_folder().name) / "config.yaml"
    text = texts.config_text(Choices(data), _keys())
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load(path)
    except ConfigError as exc:
        lines = text.count("\n") + 2
        for mistake in exc.mistakes:
            if not 0 <= mistake.line <= lines or not mistake.text:
                raise FindingError(f"a mistake without a place: {mistake}") from exc
            if "\n" in mistake.text:
                raise FindingError(f"a mistake of several lines: {mistake}") from exc


def close() -> None:
    """Give up all that was opened on the way."""
    rig, upstream, _ = _rig()
    rig.close()
    upstream.close()
    _rig.cache_clear()
    _folder().cleanup()
    _folder.cache_clear()


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "queries": queries,
    "upstream_udp": upstream_udp,
    "upstream_tcp": upstream_tcp,
    "zone_text": zone_text,
    "name_list": name_list,
    "config": config,
}
