"""What people ask of a run while it works: taken up at a boundary, and entered in the journal first."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ethos.errors import EthosError
from ethos.spec.types import Json
from ethos.store.journal import MAIN, Draft, Journal, Kind
from ethos.store.knobs import apply_change, knob_value
from ethos.store.records import Records
from ethos.store.requests import Request, answer, pending
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages

_POLL_S = 0.2
_HOLDS = ("pause", "resume")

T = TypeVar("T")


@dataclass(slots=True)
class Controls:
    """Takes up requests for one branch of one run: before each step that is drawn, and at any moment between."""

    run: RunDirectory
    journal: Journal
    records: Records
    stages: Stages
    branch: str
    steps: int
    gate: asyncio.Event  # set while work may go on
    untrainable: Mapping[str, str] = field(default_factory=dict)  # objectives and why, known once rows are prepared

    def restore(self) -> None:
        """Takes up where the last sitting was left: a run that was paused stays paused until it is resumed."""
        self.gate.clear()
        asked = [e.name for e in self.journal.entries(self.branch) if e.kind == "control" and e.name in _HOLDS]
        if not asked or asked[-1] == "resume":
            self.gate.set()

    async def boundary(self, step: int) -> None:
        """Applies what waits, with effect from `step`; while the run is paused, waits for more."""
        self._take_all(step)
        while not self.gate.is_set():
            await asyncio.sleep(_POLL_S)
            self._take_all(step)

    def take_pending(self) -> None:
        """Applies what waits, with effect from the first step that no batch was drawn for."""
        if pending(self.run, self.journal):
            self._take_all(self._next_step())

    def _next_step(self) -> int:
        return next_step(self.records, self.steps, self.branch, self.journal.forked_at(self.branch))

    async def attend_during(self, job: Coroutine[Any, Any, T]) -> T:
        """Awaits the job. Meanwhile requests are taken up a few times a second, whatever the run is at.

        What goes wrong with that ends the job at once and is raised: a paused run could not be resumed any more.
        """
        working, attending = asyncio.create_task(job), asyncio.create_task(self._attend())
        both = (working, attending)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)  # the job may have something to bring to its end
        failure = None if attending.cancelled() else attending.exception()
        if failure is not None and working.cancelled():
            raise failure
        return working.result()

    async def _attend(self) -> None:
        while True:
            self.take_pending()
            await asyncio.sleep(_POLL_S)

    def _take_all(self, step: int) -> None:
        for request in pending(self.run, self.journal):
            self._take(request, step)

    def _hold(self, paused: bool) -> None:
        if paused:
            self.gate.clear()
        else:
            self.gate.set()
        status = self.stages.status()
        if status is not None and status.state in ("running", "paused"):
            self.stages.set_status(replace(status, state="paused" if paused else "running"))

    def _take(self, request: Request, step: int) -> None:
        try:
            drafts = self._drafts(request, step)
            entries = self.journal.append_all(drafts)
        except EthosError as error:
            answer(self.run, request.id, "refused", str(error), None)
            return
        if request.kind in _HOLDS:
            self._hold(request.kind == "pause")
        told = "; ".join(_told(draft) for draft in drafts)
        answer(self.run, request.id, "applied", f"{told}, from step {step}", entries[0].sequence)

    def _drafts(self, request: Request, step: int) -> list[Draft]:
        if request.kind == "adjust":
            if self.records.is_trained(self.branch, self.steps):
                raise EthosError(f"all of the {self.steps} steps are trained, so nothing would change")
            drafts = knob_drafts(self.journal, self.branch, step, request)
            self._require_trainable(drafts)
            return drafts
        if request.kind == "pause" and not self.gate.is_set():
            raise EthosError("the run is paused already; ask it to resume")
        if request.kind == "resume" and self.gate.is_set():
            raise EthosError("the run is not paused, so there is nothing to resume")
        kind: Kind = "note" if request.kind == "note" else "control"
        return [_draft(request, self.branch, step, kind, request.kind)]

    def require_trainable_now(self) -> None:
        """Raises EthosError for a weight that was given while nobody knew yet what the run can't train."""
        weights = self.journal.knobs(self.branch, self._next_step()).mixture.model_dump()
        for name, why in self.untrainable.items():
            if weights[name] > 0:
                raise EthosError(
                    f"mixture.{name} is {weights[name]:g}: {why}; "
                    f'`ethos adjust {self.run.path} mixture.{name}=0 --why "…"` takes it back'
                )

    def _require_trainable(self, changes: list[Draft]) -> None:
        for change in changes:
            why = self.untrainable.get(change.name.removeprefix("mixture."))
            if change.name.startswith("mixture.") and why is not None and change.new != 0:
                raise EthosError(f"{change.name} can't be {change.new}: {why}")


def next_step(records: Records, steps: int, branch: str = MAIN, forked_at: int = 0) -> int:
    """The first step whose draw was not begun: those before it are repeated as they were. steps + 1 at the end.

    A branch has those of its parent up to the step at which it was forked.
    """
    own = range(forked_at + 1, steps + 1)
    return forked_at + 1 + bisect_left(own, True, key=lambda step: not records.is_begun(branch, step))


def knob_drafts(journal: Journal, branch: str, step: int, request: Request) -> list[Draft]:
    """Entries for the changes of one `adjust`. Raises EthosError if one of them is not allowed, or changes nothing."""
    knobs = journal.knobs(branch, step)
    drafts = []
    changes = request.payload["changes"]
    assert isinstance(changes, dict)
    for path, value in changes.items():
        changed = apply_change(knobs, path, value)
        draft = _draft(request, branch, step, "knob", path, old=knob_value(knobs, path), new=knob_value(changed, path))
        drafts.append(draft)
        knobs = changed
    return drafts


def _draft(
    request: Request, branch: str, step: int, kind: Kind, name: str, old: Json = None, new: Json = None
) -> Draft:
    return Draft(
        kind=kind,
        name=name,
        step=step,
        origin="person",
        author=request.author,
        reason=request.reason,
        branch=branch,
        request=request.id,
        old=old,
        new=new,
    )


def _told(draft: Draft) -> str:
    return f"{draft.name}: {draft.old} → {draft.new}" if draft.kind == "knob" else draft.name
