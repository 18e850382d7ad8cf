"""The config of one host: its sections, and what must hold between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import Field
from pydantic.json_schema import GenerateJsonSchema

from dnsfront.config.document import KeyPath
from dnsfront.config.sections.cache import Cache, KernelCache
from dnsfront.config.sections.clients import Access, Limits
from dnsfront.config.sections.forward import forward_mistakes, forward_warnings
from dnsfront.config.sections.operators import Admin, Log
from dnsfront.config.sections.protocol import Edns, Identity
from dnsfront.config.sections.ring import Ring
from dnsfront.config.sections.rules import Rule
from dnsfront.config.sections.section import Fault, Section, as_written, repeated
from dnsfront.config.sections.upstreams import Upstreams
from dnsfront.config.sections.zones import SpecialNames, Zone
from dnsfront.config.values import Address, PoolName, Suffix
from dnsfront.dns.names import qname_from_text, qname_to_text
from dnsfront.errors import Mistake
from dnsfront.ipc.spec import DEFAULT_POOL, MAX_RULES

#: The kernel passes 253 descriptors at once, one for each transport of an address; old
#: and new listeners together share the 256 entries of the program's groups.
MAX_LISTEN: Final = 60


class Config(Section):
    """The whole config of one dnsfront host."""

    listen: tuple[Address, ...] = Field(
        description="Addresses to serve, as IP:port, each over UDP and TCP; 0.0.0.0 "
        "and [::] stand for every address of their family.",
        json_schema_extra={"minItems": 1, "maxItems": MAX_LISTEN},
    )
    ring: Ring = Field(as_written({}), description="Which worker owns which names.")
    upstreams: Upstreams = Field(
        as_written({}), description="Where misses are forwarded to."
    )
    pools: dict[PoolName, Upstreams] = Field(
        as_written({}),
        description="Other resolvers, for names that forward sends there: by name, "
        "with the keys of upstreams.",
    )
    forward: dict[Suffix, str] = Field(
        as_written({}),
        description="Where a name and all below it go to; the longest that fits wins. "
        "A name of pools; default: upstreams. Or a word. refuse: REFUSED. nxdomain: "
        "no such name. local: what zones here do not have does not exist.",
    )
    zones: tuple[Zone, ...] = Field((), description="Zones answered from files.")
    special_names: SpecialNames = Field(
        as_written({}), description="Names that no upstream is asked for."
    )
    rules: tuple[Rule, ...] = Field(
        (),
        description="Queries that are answered otherwise; the first rule that matches "
        "decides.",
        json_schema_extra={"maxItems": MAX_RULES},
    )
    cache: Cache = Field(as_written({}), description="The cache of each worker.")
    kernel_cache: KernelCache = Field(
        as_written({}), description="Answers inside the kernel."
    )
    edns: Edns = Field(as_written({}), description="Extension mechanisms.")
    identity: Identity = Field(
        as_written({}), description="What is told to who asks which server this is."
    )
    limits: Limits = Field(
        as_written({}), description="What strangers may cost each worker."
    )
    access: Access = Field(as_written({}), description="Who may ask.")
    admin: Admin = Field(
        as_written({}), description="Metrics, health and the control socket."
    )
    log: Log = Field(as_written({}), description="What is written to stderr.")

    _path: Path
    _told: tuple[Mistake, ...] = ()

    def model_post_init(self, context: Any) -> None:  # noqa: ANN401 - pydantic's type
        """Remember the file that the loader names in the context."""
        self._path = context["path"]

    @property
    def path(self) -> Path:
        """The absolute path of the file that this was read from."""
        return self._path

    @property
    def told(self) -> tuple[Mistake, ...]:
        """The warnings, at their lines, that the loader found in the file."""
        return self._told

    def tell(self, warnings: Iterable[Mistake]) -> None:
        """Remember *warnings*, which only the loader can give their lines."""
        self._told = tuple(warnings)

    def _sections(self) -> Iterator[tuple[KeyPath, Section]]:
        for name, field in type(self).model_fields.items():
            section = getattr(self, name)
            if isinstance(section, Section):
                yield (field.alias or name,), section
        for name, pool in self.pools.items():
            yield ("pools", name), pool

    @property
    def used_pools(self) -> dict[str, Upstreams]:
        """The default pool, and those with names that something goes to."""
        used = set(self.forward.values())
        named = {name: pool for name, pool in self.pools.items() if name in used}
        return {DEFAULT_POOL: self.upstreams, **named}

    @property
    def destinations(self) -> dict[str, str]:
        """What `forward` says, by names in lower case and in order."""
        return {
            qname_to_text(qname_from_text(suffix)): destination
            for suffix, destination in sorted(self.forward.items())
        }

    @property
    def destinations_digest(self) -> str:
        """What tells that names go elsewhere under another config."""
        text = json.dumps(list(self.destinations.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def list_files(self) -> Iterator[tuple[int, Path]]:
        """Yield each file that rules have names from, with the first such rule."""
        seen: set[Path] = set()
        for index, rule in enumerate(self.rules):
            suffixes = rule.match.suffixes
            path = None if suffixes is None else suffixes.file
            if path is not None and path not in seen:
                seen.add(path)
                yield index, path

    def warnings(self) -> Iterator[Fault]:
        """Yield what is allowed and hardly ever meant."""
        for key, section in self._sections():
            for path, text, _ in section.warnings():
                yield Fault((*key, *path), text)
        origins = [zone.origin for zone in self.zones]
        yield from forward_warnings(self.pools, self.forward, origins)

    def mistakes(self) -> Iterator[Fault]:
        """Yield what is wrong inside sections, and then between them."""
        for key, section in self._sections():
            for path, text, depends_on in section.mistakes():
                paths = tuple((*key, *other) for other in depends_on)
                yield Fault((*key, *path), text, paths)
        yield from self._address_mistakes()
        yield from forward_mistakes(self.upstreams, self.pools, self.forward)
        yield from self._rule_mistakes()
        for index, zone in enumerate(self.zones):
            for path, text, _ in zone.mistakes():
                yield Fault(("zones", index, *path), text)
        origins = [zone.origin for zone in self.zones]
        for index in repeated(origins):
            text = f"got {origins[index]} again, want each zone once"
            yield Fault(("zones", index, "origin"), text)
        if not self.zones and not any(x.servers for x in self.used_pools.values()):
            # It would start, and refuse every query that it was started for.
            text = (
                "got none and no zones either, want a server or a zone to answer from"
            )
            others = (("zones",), ("upstreams",), ("forward",))
            yield Fault(("upstreams", "servers"), text, others)

    def _address_mistakes(self) -> Iterator[Fault]:
        if not self.listen:
            yield Fault(("listen",), "got an empty list, want at least one IP:port")
        if len(self.listen) > MAX_LISTEN:
            text = f"got {len(self.listen)} addresses, want at most {MAX_LISTEN}"
            yield Fault(("listen",), text)
        for index in repeated(self.listen):
            text = f"got {self.listen[index]} again, want it once"
            yield Fault(("listen", index), text)
        yield from self._server_mistakes(("upstreams",), self.upstreams)
        for name, pool in self.pools.items():
            yield from self._server_mistakes(("pools", name), pool)
        if any(own.overlaps(self.admin.listen) for own in self.listen):
            text = f"got {self.admin.listen}, which listen serves, want another port"
            yield Fault(("admin", "listen"), text)

    def _server_mistakes(self, key: KeyPath, pool: Upstreams) -> Iterator[Fault]:
        for index, server in enumerate(pool.servers):
            path = (*key, "servers", index, "address")
            if any(own.reaches(server.socket_address) for own in self.listen):
                text = f"got {server.text}, where we listen ourselves, want another"
                yield Fault(path, f"{text} resolver (queries would go in circles)")
            elif server.socket_address.is_wildcard:
                yield Fault(path, f"got {server.text}, want the address of one host")

    def _rule_mistakes(self) -> Iterator[Fault]:
        if len(self.rules) > MAX_RULES:
            text = f"got {len(self.rules)} rules, want at most {MAX_RULES}"
            yield Fault(("rules",), text)
        names = [rule.name or number for number, rule in enumerate(self.rules)]
        for index in repeated(names):
            text = f'got "{names[index]}" again, want a name for one rule only'
            yield Fault(("rules", index, "name"), text)
        for index, rule in enumerate(self.rules):
            for path, text, depends_on in rule.mistakes():
                paths = tuple(("rules", index, *other) for other in depends_on)
                yield Fault(("rules", index, *path), text, paths)


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        """Leave out titles made of attribute names; keys speak for themselves."""
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the YAML file, as users write it."""
    schema = Config.model_json_schema(by_alias=True, schema_generator=_Schema)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}
