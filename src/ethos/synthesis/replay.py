"""`replay`: the student's own replies to plain prompts, kept in the mixture against forgetting.

They come from a declared capability source, not from a clause, and still must not break a `must` that applies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from ethos.judging.hollow import degenerate_reason
from ethos.models.types import SamplingParams
from ethos.spec.conversation import Conversation
from ethos.store.rows import DemonstrationRow, Lineage, Row
from ethos.synthesis.expected import TYPICAL_MESSAGE, Calls, PlannedCast, Role
from ethos.synthesis.identity import TAKEN, ForeignIdentity
from ethos.synthesis.types import Cast, Job, Recipe, in_order

SOURCE = "the student's own replies to plain prompts"


class Replay(Recipe):
    """One row for each plain prompt whose likeliest reply ends by itself and breaks nothing.

    Greedy, since what is to be kept is what the student would say: a small one's draws at a temperature are often wrong
    where its likeliest reply is right.
    """

    name = "replay"

    def __init__(self, prompts: Sequence[str]) -> None:
        """`prompts` are plain messages that call on no clause."""
        self._prompts = tuple(prompts)

    def size(self, job: Job) -> int:
        """Prompts."""
        return min(len(self._prompts), job.config.demonstrations.replay_rows)

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """The student's replies, and what holds them against the `must` clauses."""
        rows, longest = self.size(job), job.config.demonstrations.max_tokens
        yield "student", cast.answers(rows, TYPICAL_MESSAGE, longest)
        yield from cast.vetoes(job.spec, rows, {}, rows, rows, longest)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Rows in the prompts' order."""
        params = SamplingParams(max_tokens=job.config.demonstrations.max_tokens, temperature=0.0, seed=job.seed)

        foreign = ForeignIdentity(job.spec)

        async def work(text: str) -> Row | None:
            prompt = Conversation.user(text)
            (sample,) = await cast.student.sample(prompt, params, range(1))
            advance()
            if sample.finish_reason != "stop" or degenerate_reason(prompt, sample.text) is not None:
                job.rejected["replay: cut off or hollow"] += 1
            elif foreign.found(sample.text) is not None:
                job.rejected[f"replay: {TAKEN}"] += 1
            elif broken := await cast.assessor.broken_musts(prompt, sample.text):
                job.rejected[f"replay: breaks {broken[0]}"] += 1
            else:
                taken = sample.usage.prompt_tokens + sample.usage.completion_tokens
                lineage = Lineage(recipe="replay", capability_source=SOURCE, calls=(sample.call,), tokens=taken)
                return DemonstrationRow(prompt.then("assistant", sample.text), lineage)
            return None

        async for row in in_order(work, self._prompts[: job.config.demonstrations.replay_rows]):
            if row is not None:
                yield row
