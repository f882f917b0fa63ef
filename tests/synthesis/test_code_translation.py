"""Programs are drawn, run against the function, mended once, and kept if they return the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ethos.errors import EthosError
from ethos.judging.adherence import Assessor
from ethos.models.types import FinishReason, Sample, SamplingParams, Usage
from ethos.sandbox.bubblewrap import Sandbox
from ethos.spec.conversation import Conversation
from ethos.store.config.data import CodeTranslationConfig
from ethos.store.rows import DemonstrationRow
from ethos.synthesis.code_translation import CodeTranslation, functions_of
from ethos.synthesis.translation.references import references_in
from ethos.synthesis.types import Cast, Job

MakeJob = Callable[..., Job]
DOUBLED = '''\
def doubled(words: list[str], times: int) -> list[str]:
    """Each word that many times; none where that is below 1."""
    found = []
    for word in words:
        if times < 1:
            return []
        found.append(word * times)
    return found
'''
RIGHT = """\
<?php
function doubled($words, $times) {
    return $times < 1 ? [] : array_map(fn ($word) => str_repeat($word, $times), $words);
}"""
LONGER = RIGHT.replace(
    "fn ($word) => str_repeat($word, $times)", "function ($w) use ($times) { return str_repeat($w, $times); }"
)
WRONG = RIGHT.replace("$times < 1", "$times < 2")
UNREAD = RIGHT[:-1]


@dataclass
class Teacher:
    """Writes these programs, one a draw; told what is wrong with one, another."""

    programs: Sequence[str | None]
    mended: str = "I see nothing wrong."
    finish: FinishReason = "stop"
    name: str = "teacher"
    fingerprint: str = "teacher"
    revisions: list[Conversation] = field(default_factory=list)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`."""
        if len(prompt.messages) > 2:
            self.revisions.append(prompt)
            return [Sample(self.mended, "stop", Usage(30, 20), 0, call=f"revision {len(self.revisions)}")]
        said = [self.programs[draw % len(self.programs)] for draw in draws]
        texts = ["I can't." if program is None else f"Sure:\n```php\n{program}\n```" for program in said]
        return [
            Sample(
                text, self.finish, Usage(10, 5), draw, call=f"draw {draw}", refusal="no" * (self.finish == "refused")
            )
            for text, draw in zip(texts, draws, strict=True)
        ]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


Translated = Callable[..., tuple[list[DemonstrationRow], Job]]


@pytest.fixture
def translated(job: MakeJob, tmp_path: Path, sandbox: Sandbox) -> Translated:
    """The rows that come of a function, and the job with what was rejected."""

    def make(teacher: Teacher, text: str = DOUBLED, **settings: Any) -> tuple[list[DemonstrationRow], Job]:
        (tmp_path / "a.py").write_text(text)
        work = job(code_translation={"draws": len(teacher.programs), "inputs": 40, **settings})
        recipe = CodeTranslation(references_in(tmp_path / "a.py"), sandbox)
        units: list[None] = []

        async def gather() -> list[DemonstrationRow]:
            cast = Cast(teacher, teacher, Assessor(work.spec))
            rows = [row async for row in recipe.rows(work, cast, lambda: units.append(None))]
            return [row for row in rows if isinstance(row, DemonstrationRow)]

        rows = asyncio.run(gather())
        assert len(units) == recipe.size(work)
        return rows, work

    return make


def test_a_program_that_returns_the_same_becomes_a_row(translated: Translated) -> None:
    [row], work = translated(Teacher([WRONG, None, RIGHT]))
    asked, said = row.conversation.messages
    assert asked.content == (
        f"Translate this Python function to PHP, under the same name.\n\n```python\n{DOUBLED.rstrip()}\n```"
    )
    assert said.content == f"```php\n{RIGHT}\n```"
    assert work.rejected == {
        "code_translation: returns something else": 1,
        "code_translation: no program in the reply": 1,
    }


def test_its_lineage_says_how_it_was_proven_and_what_it_took(translated: Translated) -> None:
    [row], _ = translated(Teacher([WRONG, RIGHT]))
    assert row.lineage.capability_source == "Python functions translated to PHP, proven by running both"
    assert (row.lineage.recipe, row.lineage.family, row.lineage.clause_ids) == ("code_translation", "doubled", ())
    assert (row.lineage.calls, row.lineage.tokens) == (("draw 0", "draw 1"), 30)
    [verdict] = row.lineage.verdicts
    assert isinstance(verdict, dict)
    assert (verdict["judge"], verdict["score"]) == ("sandbox: php", 1.0)
    assert str(verdict["evidence"]).startswith("returns the same for 40 inputs, which come by 100% of the function's")


def test_of_several_the_shortest_distinct_ones_are_kept(translated: Translated) -> None:
    draws = [LONGER, RIGHT, RIGHT.replace(" ", "  "), RIGHT]
    for kept in (1, 2, 3):
        rows, _ = translated(Teacher(draws), kept=kept)
        programs = [row.conversation.messages[-1].content for row in rows]
        assert programs == [f"```php\n{program}\n```" for program in (RIGHT, LONGER)[:kept]]


def test_while_none_passes_each_distinct_program_is_mended_once_by_what_was_wrong(translated: Translated) -> None:
    teacher = Teacher([WRONG, UNREAD, WRONG, None], mended=f"```php\n{RIGHT}\n```")
    [row], work = translated(teacher)
    assert row.conversation.messages[-1].content == f"```php\n{RIGHT}\n```"
    by_reply = {revision.messages[2].content: revision.last_user for revision in teacher.revisions}
    assert by_reply.keys() == {f"Sure:\n```php\n{program}\n```" for program in (WRONG, UNREAD)}
    told = by_reply[f"Sure:\n```php\n{WRONG}\n```"]
    assert "it is wrong: it returns something else" in told
    assert "it should return ['" in told
    assert "but returns []" in told
    assert "ParseError" in by_reply[f"Sure:\n```php\n{UNREAD}\n```"]
    assert work.rejected["code_translation: returns something else"] == 2
    assert row.lineage.calls == ("draw 0", "draw 1", "draw 2", "draw 3", "revision 1", "revision 2")


def test_a_function_that_nobody_can_translate_is_told(translated: Translated) -> None:
    teacher = Teacher([WRONG])
    rows, work = translated(teacher)
    assert rows == []
    assert len(teacher.revisions) == 1
    assert work.rejected == {
        "code_translation: returns something else": 1,
        "code_translation: no program in the reply": 1,
        "code_translation: function without a program that passes": 1,
    }


def test_one_that_passed_makes_revisions_needless(translated: Translated) -> None:
    teacher = Teacher([WRONG, RIGHT])
    translated(teacher)
    assert teacher.revisions == []
    translated(teacher, kept=2)
    assert len(teacher.revisions) == 1


@pytest.mark.parametrize(("finish", "cause"), [("length", "cut off"), ("refused", "refused by the endpoint")])
def test_a_reply_that_did_not_end_by_itself_is_not_run(
    finish: FinishReason, cause: str, translated: Translated
) -> None:
    teacher = Teacher([RIGHT], finish=finish)
    rows, work = translated(teacher)
    assert rows == []
    assert teacher.revisions == []
    assert work.rejected[f"code_translation: {cause}"] == 1


def test_the_teacher_is_not_asked_about_a_function_without_tests(translated: Translated) -> None:
    teacher = Teacher([RIGHT])
    rows, work = translated(teacher, "def doubled(words: list[str], times: int) -> int:\n    return 1 // 0\n")
    assert rows == []
    [(reason, count)] = work.rejected.items()
    assert reason.startswith("code_translation: doubled is left out: too few inputs give a result (0 of 40: ZeroDiv")
    assert count == 1


def test_functions_are_those_of_all_files_and_every_name_is_one(tmp_path: Path) -> None:
    assert functions_of(CodeTranslationConfig()) == []
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(f"def {name}(x: int) -> int:\n    return x\n")
    both = CodeTranslationConfig(functions=(tmp_path / "b.py", tmp_path / "a.py"))
    assert [reference.name for reference in functions_of(both)] == ["b", "a"]
    with pytest.raises(EthosError, match=r"a\.py:1: a is a function of .*a\.py:1 too; rename one"):
        functions_of(CodeTranslationConfig(functions=(tmp_path, tmp_path / "a.py")))
    for to in ("cobol", "python"):
        with pytest.raises(EthosError, match=rf"code_translation\.to: '{to}' is no language to .*; name one of php$"):
            functions_of(CodeTranslationConfig(functions=(tmp_path,), to=to))
    (tmp_path / "a.py").write_text("def a(x: set[int]) -> int:\n    return x\n")
    with pytest.raises(EthosError, match=r"a takes set\[int\]"):
        functions_of(CodeTranslationConfig(functions=(tmp_path / "a.py",)))
