"""What is in force: the config that serves, and what an operator took out of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dnsfront.supervisor.change.candidate import Candidate


@dataclass
class InForce:
    """The *candidate* that serves, and the workers that are *drained*.

    Drained workers stay out, whatever the config says, until they are put back.
    """

    candidate: Candidate
    drained: set[str] = field(default_factory=set)
