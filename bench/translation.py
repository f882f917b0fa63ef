"""What a teacher's translations come to: `python bench/translation.py [--teacher NAME] [--draws 8] [--functions N]`.

The functions of `examples/translation` go through the recipe, and each program that it accepts is then run on inputs
that no test saw, against the function itself. JSON: functions with tests, functions with a program, causes of
rejection, and of the accepted programs those that are wrong on unseen inputs, by name. What the teacher answers is kept
in the response cache, so that a call that was stopped goes on. About an hour and a half with the 1.5B model and 8
draws, on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ethos.judging.adherence import Assessor
from ethos.progress import progress_for
from ethos.runs.models import ModelShelf
from ethos.runs.session import Session, open_session
from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.self_test import open_sandbox
from ethos.spec.parse import parse_spec
from ethos.store.config.run import RunConfig
from ethos.store.rows import DemonstrationRow
from ethos.synthesis.code_translation import CodeTranslation, functions_of
from ethos.synthesis.translation.candidates import program_in, rejection_of
from ethos.synthesis.translation.oracles import Oracle, oracle_of
from ethos.synthesis.translation.references import Reference
from ethos.synthesis.types import Cast, Job

ROOT = Path(__file__).resolve().parent.parent
UNSEEN = 300  # inputs of another seed, less those that were seen


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="embedded:qwen2.5-coder-1.5b")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--functions", type=int, help="the first so many; all if left out")
    options = parser.parse_args()
    config = RunConfig.model_validate(
        {
            "name": "translation",
            "spec": ROOT / "examples" / "quickstart" / "spec.md",
            "models": {"teacher": options.teacher, "judge": options.teacher},
            "synthesis": {
                "code_translation": {"functions": [ROOT / "examples" / "translation"], "draws": options.draws}
            },
        }
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        open_session(config, parse_spec(config.spec), Path(folder), progress_for()) as session,
    ):
        print(json.dumps(asyncio.run(measured(session, options.functions)), indent=1))


async def measured(session: Session, most: int | None) -> dict[str, Any]:
    """The figures of one teacher."""
    config, sandbox = session.config, await open_sandbox()
    references = functions_of(config.synthesis.code_translation)[:most]
    shelf = ModelShelf(config.models, ROOT, session.ui)
    teacher = await shelf.frozen(session, config.models.teacher, "teacher")
    job = Job(session.spec, (), (), config.synthesis, config.seed, len)
    cast = Cast(teacher, teacher, Assessor(session.spec))
    recipe = CodeTranslation(references, sandbox)
    with session.ui.stage("translating", recipe.size(job), "functions") as bar:
        found = [row async for row in recipe.rows(job, cast, bar.advance)]
    rows = [row for row in found if isinstance(row, DemonstrationRow)]
    named = {reference.name: reference for reference in references}
    wrong = await asyncio.gather(*(_wrong(sandbox, named[str(row.lineage.family)], row, config) for row in rows))
    untested = sum(count for cause, count in job.rejected.items() if "is left out" in cause)
    return {
        "teacher": config.models.teacher,
        "draws": config.synthesis.code_translation.draws,
        "functions": len(references),
        "with tests": len(references) - untested,
        "with an accepted program": len(rows),
        "rejected": dict(job.rejected.most_common()),
        "wrong on unseen inputs": {str(row.lineage.family): why for row, why in zip(rows, wrong, strict=True) if why},
    }


async def _wrong(sandbox: Sandbox, reference: Reference, row: DemonstrationRow, config: RunConfig) -> str | None:
    """How an accepted program differs from its function on inputs that it wasn't chosen by; None if it doesn't."""
    settings = config.synthesis.code_translation
    seen, unseen = await asyncio.gather(
        oracle_of(
            sandbox, reference, LANGUAGES[settings.to], config.seed, inputs=settings.inputs, coverage=0, killed=0
        ),
        oracle_of(sandbox, reference, LANGUAGES[settings.to], config.seed + 1, inputs=UNSEEN, coverage=0, killed=0),
    )
    assert isinstance(seen, Oracle)
    assert isinstance(unseen, Oracle)
    known = {repr(given) for given in seen.inputs}
    new = [pair for pair in zip(unseen.inputs, unseen.expected, strict=True) if repr(pair[0]) not in known]
    language = LANGUAGES[settings.to]
    program = program_in(row.conversation.messages[-1].content, language)
    assert program is not None, "its row holds one"
    held_to = replace(unseen, inputs=tuple(given for given, _ in new), expected=tuple(value for _, value in new))
    why = await rejection_of(sandbox, language, program, held_to)
    return None if why is None else f"{why.cause}: {why.detail}"


if __name__ == "__main__":
    main()
