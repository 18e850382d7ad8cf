"""The interfaces at which the kernel answers now, and why it does not at others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dnsfront.errors import DnsfrontError
from dnsfront.kernel.answers import KernelAnswers
from dnsfront.kernel.hook import Hook
from dnsfront.supervisor.host.interfaces import Interface
from dnsfront.supervisor.host.tasks import watched
from dnsfront.supervisor.kernel_cache.sites import Site

_LOG = logging.getLogger(__name__)


class Hooks:
    """What is attached, which is nothing until :meth:`open`."""

    def __init__(self, look_again: Callable[[], None]) -> None:
        """Call *look_again* to have the host looked at, and :meth:`place`."""
        self._look_again = look_again
        self._answers: KernelAnswers | None = None
        self._hooks: dict[str, Hook] = {}
        self._refusals: dict[str, str] = {}
        self._is_open = False
        self._attaching: asyncio.Task[None] | None = None
        self._is_due = False

    def open(self) -> None:
        """Attach where it is wanted, from now on."""
        self._is_open = True
        self._look_again()

    def suspend(self) -> None:
        """Attach nowhere until :meth:`open`: somebody else may be about to."""
        self._is_open = False
        self._detach()

    def retire(self, answers: KernelAnswers) -> None:
        """Detach everywhere, and close *answers*, to be placed no more."""
        self._detach()
        self._refusals.clear()
        self._answers = None
        # A program that is being made is waited for by the task that attaches it.
        if self._attaching is None:
            answers.close()

    def _detach(self) -> None:
        while self._hooks:
            self._hooks.popitem()[1].close()

    def place(
        self, answers: KernelAnswers, chosen: Sequence[Site], host: Iterable[Interface]
    ) -> None:
        """Detach where *answers* are not wanted; a task attaches where they are."""
        self._answers = answers
        if not self._is_open:
            return
        wanted = {site.interface: site for site in chosen if not site.refusal}
        indices = {interface.name: interface.index for interface in host}
        for name, hook in list(self._hooks.items()):
            is_same = indices.get(name) == hook.interface_index and hook.is_attached()
            if not is_same or name not in wanted or hook.mode not in wanted[name].modes:
                self._hooks.pop(name).close()
                _LOG.info("kernel_cache_detached interface=%s", name)
        here = {site.interface for site in chosen}
        self._refusals = {n: why for n, why in self._refusals.items() if n in here}
        for site in chosen:
            if site.refusal:
                self._refuse(site, site.refusal)
        missing = [site for name, site in wanted.items() if name not in self._hooks]
        self._is_due = self._attaching is not None
        if missing and self._attaching is None:
            attaching = self._attach(answers, missing)
            self._attaching = watched("attach kernel answers", attaching)

    async def _attach(self, answers: KernelAnswers, missing: Iterable[Site]) -> None:
        """Attach at each of *missing*; close *answers* if they were given up."""
        try:
            for site in missing:
                await self._attach_at(answers, site)
        finally:
            self._attaching = None
            if answers is not self._answers:
                answers.close()
            if self._is_due:
                self._look_again()

    async def _attach_at(self, answers: KernelAnswers, site: Site) -> None:
        refusal = ""
        for mode in site.modes:
            try:
                # Verifying, or even compiling, takes tenths of a second.
                await asyncio.to_thread(answers.program_fd, mode)
                if answers is not self._answers or not self._is_open:
                    return
                hook = answers.attach(site.interface, mode)
            except DnsfrontError as exc:
                refusal = refusal or str(exc)
                continue
            self._hooks[site.interface] = hook
            self._refusals.pop(site.interface, None)
            _LOG.info(
                "kernel_cache_attached interface=%s hook=%s", site.interface, mode
            )
            return
        self._refuse(site, refusal)

    def _refuse(self, site: Site, refusal: str) -> None:
        if self._refusals.get(site.interface) != refusal:
            self._refusals[site.interface] = refusal
            level = logging.WARNING if site.is_asked_for else logging.INFO
            _LOG.log(level, "kernel_cache_not_attached reason=%s", refusal)

    def report(self) -> list[dict[str, Any]]:
        """Return where the kernel answers, or cannot, and why."""
        return [
            {
                "name": name,
                "hook": self._hooks[name].mode if name in self._hooks else None,
                "reason": self._refusals.get(name),
            }
            for name in dict.fromkeys([*self._hooks, *self._refusals])
        ]
