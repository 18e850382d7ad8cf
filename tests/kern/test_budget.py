from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dnsfront.kernel.sources import kern_directory
from tests.kern.answering import MODES
from tests.kern.bpf import cost

if TYPE_CHECKING:
    from tests.kern.answering import AnswerLab
    from tests.kern.lab import Lab


def test_verifier_walks_no_more_than_the_budget_allows(lab: Lab) -> None:
    readme = (kern_directory() / "README.md").read_text(encoding="utf-8")
    row = re.search(r"\| verified instructions \| [\d,]+ \| ([\d,]+) \|\n", readme)
    assert row

    verified = cost(lab.steering._program_fd).verified_insns

    assert 0 < verified <= int(row[1].replace(",", ""))


def test_programs_that_answer_stay_within_their_budget(answering: AnswerLab) -> None:
    readme = (kern_directory() / "README.md").read_text(encoding="utf-8")
    row = re.search(
        r"\| verified instructions \|(?: [\d,]+ \|){3} ([\d,]+) \|\n", readme
    )
    assert row

    verified = [
        cost(answering.answers.program_fd(mode)).verified_insns for mode in MODES
    ]

    assert 0 < max(verified) <= int(row[1].replace(",", ""))
