"""A YAML file as plain data that still knows the line of every key.

The only user of PyYAML. Scalars follow the core schema of YAML 1.2, not the defaults of
PyYAML: `off` and `yes` are text, `53:20` is no base-60 number, dates stay text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from dnsfront.errors import ConfigError, Mistake

KeyPath = tuple[str | int, ...]

#: Where mistakes of the file as a whole are reported, in place of a key.
_WHOLE_FILE: Final = "YAML"
#: Aliases can make a small file stand for a huge or an endless tree. No config of ours
#: comes near these.
_MAX_NODES: Final = 100_000
_MAX_DEPTH: Final = 16


class UnreadableError(ConfigError):
    """The config file cannot be read, so there is no line to name."""

    def __init__(self, path: str, reason: str) -> None:
        self.reason = reason
        super().__init__(path, [Mistake(0, "", reason)])

    def lines(self) -> list[str]:
        """Return ``FILE: cannot read: REASON``, the only line."""
        return [f"{self.path}: cannot read: {self.reason}"]


_TAG: Final = "tag:yaml.org,2002:"

_SCALARS: Final[dict[str, Callable[[str], Any]]] = {
    "str": str,
    "null": lambda _text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": float,
}


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name and type


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(
        _TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first
    )


def key_text(path: KeyPath) -> str:
    """Return *path* as users write it: ``upstreams.servers[1].address``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class Document:
    """One config file: its data, the lines of its keys and what is wrong as YAML.

    *mistakes* holds duplicate keys and unknown tags, which leave the rest of the file
    usable; what does not is raised by :func:`read`.
    """

    def __init__(self, path: Path, root: yaml.MappingNode | None) -> None:
        self.path = path
        self.mistakes: list[Mistake] = []
        self._root = root
        self._nodes_left = _MAX_NODES
        self.data: dict[str, Any] = {} if root is None else self._mapping((), root)

    def line(self, path: KeyPath) -> int:
        """Return the line of the key or list entry at *path*, or of what is nearest.

        A missing key stands where its parent does.
        """
        node: yaml.Node | None = self._root
        line = 1 if node is None else node.start_mark.line + 1
        for part in path:
            if isinstance(part, str) and isinstance(node, yaml.MappingNode):
                entries = [pair for pair in node.value if pair[0].value == part]
                if not entries:
                    return line
                key, node = entries[-1]
                line = key.start_mark.line + 1
            elif (
                isinstance(part, int)
                and isinstance(node, yaml.SequenceNode)
                and part < len(node.value)
            ):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                return line
        return line

    def mistake(self, path: KeyPath, text: str) -> Mistake:
        """Return the mistake *text* at the key at *path*, with its line."""
        return Mistake(self.line(path), key_text(path), text)

    def _note(self, path: KeyPath, node: yaml.Node, text: str) -> None:
        line = node.start_mark.line + 1
        self.mistakes.append(Mistake(line, key_text(path) or _WHOLE_FILE, text))

    def _value(self, path: KeyPath, node: yaml.Node) -> Any:  # noqa: ANN401 - YAML holds anything
        self._nodes_left -= 1
        if self._nodes_left < 0 or len(path) > _MAX_DEPTH:
            line = node.start_mark.line + 1
            text = "got lists and mappings without end, want none so deep"
            raise ConfigError(str(self.path), [Mistake(line, key_text(path[:2]), text)])
        if isinstance(node, yaml.MappingNode):
            return self._mapping(path, node)
        if isinstance(node, yaml.SequenceNode):
            return [
                self._value((*path, index), entry)
                for index, entry in enumerate(node.value)
            ]
        return self._scalar(path, node)

    def _mapping(self, path: KeyPath, node: yaml.MappingNode) -> dict[str, Any]:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(path, key_node, "got a list or mapping as key, want text")
                continue
            key = key_node.value
            key_path = (*path, key)
            if key in lines:
                text = f"given twice, first in line {lines[key]}, want it once"
                self._note(key_path, key_node, text)
            lines.setdefault(key, key_node.start_mark.line + 1)
            data[key] = self._value(key_path, value_node)
        return data

    def _scalar(self, path: KeyPath, node: yaml.Node) -> Any:  # noqa: ANN401 - as above
        text: str = node.value
        construct = _SCALARS.get(node.tag.removeprefix(_TAG))
        if construct is None:
            self._note(path, node, f"got the tag {node.tag}, want none")
            return text
        try:
            return construct(text)
        except (KeyError, ValueError):
            self._note(path, node, f"got {text!r}, which its tag {node.tag} forbids")
            return text


def read(path: str | Path) -> Document:
    """Return the file at *path*, which need not be a valid config.

    Raises:
        ConfigError: it cannot be read, or is no YAML mapping in UTF-8.
    """
    path = Path(path)
    try:
        octets = path.read_bytes()
    except OSError as exc:
        raise UnreadableError(str(path), exc.strerror or str(exc)) from exc
    try:
        root = yaml.compose(octets.decode("utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError as exc:
        line = octets.count(b"\n", 0, exc.start) + 1
        raise _no_yaml(path, line, "got octets that are not UTF-8") from exc
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        reason = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise _no_yaml(path, mark.line + 1 if mark else 1, reason) from exc
    except yaml.reader.ReaderError as exc:
        line = octets.decode("utf-8-sig").count("\n", 0, exc.position) + 1
        text = f"got the control character {exc.character!r}, want text"
        raise _no_yaml(path, line, text) from exc
    except RecursionError as exc:
        raise _no_yaml(path, 1, "got lists nested without end") from exc
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise _no_yaml(
            path, root.start_mark.line + 1, "got no mapping, want keys such as listen"
        )
    return Document(path, root)


def _no_yaml(path: Path, line: int, text: str) -> ConfigError:
    return ConfigError(str(path), [Mistake(line, _WHOLE_FILE, text)])
