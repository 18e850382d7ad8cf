"""Secrets of DNS cookies: what the config says of them, and who is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfront.config.load import load
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.front import Front
from tests.unit.mistaken import GOOD, mistakes
from tests.unit.supervisor_fakes import PlayedProcess, play, played, write_config

__all__ = ["played"]

FIRST, SECOND = "00112233445566778899aabbccddeeff", "f" * 32
WANTED = "want 32 hexadecimal digits, as openssl rand -hex 16 prints them"


def test_secrets_are_digits_or_files_of_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECOND.upper()}\n")
    path = tmp_path / "dnsfront.yaml"
    path.write_text(f"{GOOD}edns: {{cookie_secrets: ['{FIRST.upper()}', secret]}}\n")
    noticed: list[Path] = []

    config = load(path, notice=noticed.append)

    assert config.edns.cookie_secrets == (FIRST, SECOND)
    assert tmp_path / "secret" in noticed


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ("[empty]", f'edns.cookie_secrets[0]: got "empty", {WANTED}, which '),
        ("[none]", f'edns.cookie_secrets[0]: got "none", {WANTED}, or a file; '),
        (
            f"['{FIRST}', '{FIRST.upper()}']",
            "edns.cookie_secrets[1]: got the same secret again, want each once",
        ),
        (
            "[" + ", ".join(f"'{n:032x}'" for n in range(5)) + "]",
            "edns.cookie_secrets: got 5 secrets, want at most 4",
        ),
        ("[17]", "edns.cookie_secrets[0]: got 17, want text"),
    ],
    ids=["a file without", "no file", "one twice", "too many", "a number"],
)
def test_what_is_no_secret_is_a_mistake(
    tmp_path: Path, secrets: str, told: str
) -> None:
    (tmp_path / "empty").write_text("")

    [mistake] = mistakes(tmp_path, f"{GOOD}edns: {{cookie_secrets: {secrets}}}\n")

    assert mistake.partition(" ")[2].startswith(told)


def test_secrets_without_cookies_draw_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "dnsfront.yaml"
    path.write_text(f"{GOOD}edns: {{cookies: false, cookie_secrets: ['{FIRST}']}}\n")

    told = {warning.key: warning.text for warning in load(path).told}

    assert told["edns.cookie_secrets"] == "not used while edns.cookies is false"


def secrets_told(played: type[PlayedProcess]) -> set[tuple[str, ...]]:
    specs = [process.spec for process in played.by_name.values()]
    assert all(specs)
    return {spec.edns.cookie_secrets for spec in specs if spec is not None}


def test_secret_is_drawn_once_for_all_workers_where_the_config_has_none(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        [[drawn]] = secrets_told(played)
        assert drawn == front.settings.cookie_secret
        assert len(bytes.fromhex(drawn)) == 16

        more = f"edns: {{cookie_secrets: ['{FIRST}', '{SECOND}']}}\n"
        write_config(tmp_path, "3", more)
        await reloader.reload()
        assert secrets_told(played) == {(FIRST, SECOND)}

        write_config(tmp_path, "3")
        await reloader.reload()
        assert secrets_told(played) == {(drawn,)}

    play(write_config(tmp_path, "3"), story)
