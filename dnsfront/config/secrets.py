"""The kinds of value that are secret: they may stand in files of their own."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from dnsfront.config.values import NOTICE, path_of

_SECRET: Final = re.compile(r"[0-9A-Fa-f]{32}")
_WANTED: Final = "want 32 hexadecimal digits, as openssl rand -hex 16 prints them"


def _cookie_secret(value: Any, info: ValidationInfo) -> str:  # noqa: ANN401 - YAML
    if isinstance(value, str) and _SECRET.fullmatch(value):
        return value.lower()
    path = path_of(value, info)
    context: dict[str, Any] = info.context or {}
    context[NOTICE](path)
    try:
        text = path.read_text("ascii", errors="replace").strip()
    except OSError as exc:
        raise ValueError(f"{_WANTED}, or a file; {path}: {exc.strerror}") from exc
    if not _SECRET.fullmatch(text):
        raise ValueError(f"{_WANTED}, which {path} does not have")
    return text.lower()


CookieSecret = Annotated[
    str,
    BeforeValidator(_cookie_secret),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
