"""What people ask of a run while it trains: taken up before a step, and entered in the journal first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ethos.errors import EthosError
from ethos.store.journal import Draft, Journal
from ethos.store.knobs import apply_change, knob_value
from ethos.store.requests import Request, answer, pending
from ethos.store.run_directory import RunDirectory

_POLL_S = 0.2


@dataclass(slots=True)
class Controls:
    """Takes up requests for one branch of one run."""

    run: RunDirectory
    journal: Journal
    branch: str
    paused: bool = False

    async def boundary(self, step: int) -> None:
        """Applies what waits, with effect from `step`; while the run is paused, waits for more."""
        while True:
            for request in pending(self.run, self.journal):
                self._take(request, step)
            if not self.paused:
                return
            await asyncio.sleep(_POLL_S)

    def _take(self, request: Request, step: int) -> None:
        try:
            drafts = self._drafts(request, step)
            entries = self.journal.append_all(drafts)
        except EthosError as error:
            answer(self.run, request.id, "refused", str(error), None)
            return
        if request.kind in ("pause", "resume"):
            self.paused = request.kind == "pause"
        told = "; ".join(_told(draft) for draft in drafts)
        answer(self.run, request.id, "applied", f"{told}, from step {step}", entries[0].sequence)

    def _drafts(self, request: Request, step: int) -> list[Draft]:
        if request.kind == "adjust":
            return knob_drafts(self.journal, self.branch, step, request)
        if request.kind == "pause" and self.paused:
            raise EthosError("the run is paused already; ask it to resume")
        if request.kind == "resume" and not self.paused:
            raise EthosError("the run is not paused, so there is nothing to resume")
        kind = "note" if request.kind == "note" else "control"
        return [_draft(request, self.branch, step, kind, request.kind)]


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


def _draft(request: Request, branch: str, step: int, kind: str, name: str, **values: float) -> Draft:
    return Draft(
        kind=kind,  # type: ignore[arg-type]
        name=name,
        step=step,
        origin="person",
        author=request.author,
        reason=request.reason,
        branch=branch,
        request=request.id,
        **values,  # type: ignore[arg-type]
    )


def _told(draft: Draft) -> str:
    return f"{draft.name}: {draft.old} → {draft.new}" if draft.kind == "knob" else draft.name
