"""Samples of the changing policy: drawn once, and read from the records ever after."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from endpoint_server import EndpointServer
from ethos.errors import EthosError
from ethos.models.cached import CachedModel
from ethos.models.catalogue import ANTHROPIC_KEY, ANTHROPIC_URL, Entry
from ethos.models.engine import Engine
from ethos.models.loading import Precision
from ethos.models.local import local_directory
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.progress import Bar, Progress, QuietProgress
from ethos.runs.models import FrozenStudent, ModelShelf, RecordedPolicy
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.store.config.models import ModelsConfig
from ethos.store.config.training import TrainingConfig
from ethos.store.ledger import Totals

PARAMS = SamplingParams()
HELLO, BYE = Conversation.user("Hello?"), Conversation.user("Bye?")


class Says:
    """Always the same."""

    name, fingerprint = "says", "says"

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        return [Sample("Yes.", "stop", Usage(1, 1), draw) for draw in draws]


@dataclass
class Changing:
    """Never says the same twice."""

    name = "changing"
    asked: list[tuple[Conversation, ...]] = field(default_factory=list)

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        self.asked.append(tuple(prompts))
        for _ in prompts:
            advance()
        said = f"answer {len(self.asked)} to "
        return [
            [Sample(f"{said}{p.last_user}", "stop", Usage(2, 3), d, (1, 2), (-0.5, -0.25)) for d in draws]
            for p in prompts
        ]


def drawn(policy: Changing, session: Session, prompts: list[Conversation], step: int = 4, **where: Any) -> list[Any]:
    recorded = RecordedPolicy(policy, session, "main", step, where.get("purpose", "taste"))  # type: ignore[arg-type]
    return asyncio.run(recorded.sample_batch(prompts, where.get("params", PARAMS), where.get("draws", (0,))))


def test_what_was_answered_once_is_read_back(session: Session) -> None:
    policy = Changing()
    first = drawn(policy, session, [HELLO, BYE])
    assert drawn(policy, session, [HELLO, BYE]) == first
    assert first[0][0] == Sample("answer 1 to Hello?", "stop", Usage(2, 3), 0, (1, 2), (-0.5, -0.25))
    assert policy.asked == [(HELLO, BYE)]


def test_only_what_is_missing_is_sampled(session: Session) -> None:
    policy = Changing()
    drawn(policy, session, [HELLO])
    drawn(policy, session, [HELLO, BYE])
    assert policy.asked == [(HELLO,), (BYE,)]


def test_a_prompt_that_comes_twice_is_sampled_once(session: Session) -> None:
    policy = Changing()
    one, other = drawn(policy, session, [HELLO, HELLO])
    assert one == other
    assert policy.asked == [(HELLO,)]


def test_another_step_purpose_draw_or_length_is_another_sample(session: Session) -> None:
    policy = Changing()
    drawn(policy, session, [HELLO])
    drawn(policy, session, [HELLO], step=5)
    drawn(policy, session, [HELLO], purpose="sealed")
    drawn(policy, session, [HELLO], draws=(1,))
    drawn(policy, session, [HELLO], params=SamplingParams(max_tokens=16))
    assert len(policy.asked) == 5


def test_each_prompt_counts_once_whether_it_was_answered_before_comes_twice_or_is_new(session: Session) -> None:
    policy, bar = Changing(), Bar("looking", None, "answers", 0, 0.0, lambda bar: None)
    drawn(policy, session, [HELLO])
    recorded = RecordedPolicy(policy, session, "main", 4, "taste")  # type: ignore[arg-type]
    asyncio.run(recorded.sample_batch([HELLO, BYE, BYE], PARAMS, advance=bar.advance))
    assert bar.done == 3


def test_what_the_policy_draws_is_in_the_ledger_once(session: Session) -> None:
    policy = Changing()
    drawn(policy, session, [HELLO, BYE, BYE], draws=(0, 1))
    drawn(policy, session, [HELLO, BYE], draws=(0, 1))
    assert session.ledger.totals() == {"policy": Totals(calls=4, prompt_tokens=8, completion_tokens=12)}


def test_a_text_is_scored_by_the_base_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from models import tiny

    def base() -> FrozenStudent:
        engine = tiny.engine(tiny.loaded())
        return FrozenStudent(engine, CachedModel(engine, session.cache, session.ledger, "student"))

    first = asyncio.run(base().score_text("A text"))
    again = base()
    monkeypatch.setattr(again.engine, "score_text", None)
    assert asyncio.run(again.score_text("A text")) == first
    assert len(first.token_ids) == len(" text")
    assert session.ledger.totals() == {
        "student": Totals(calls=2, cached=1, prompt_tokens=1, completion_tokens=len(" text"))
    }


def shelf(folder: Path, precision: Precision = "auto") -> ModelShelf:
    return ModelShelf(ModelsConfig(student="tiny", teacher="tiny", judge="tiny"), folder, QuietProgress(), precision)


def kept_prompts_of(engine: Engine) -> int:
    """Bytes at most."""
    assert engine._decoding is not None
    return engine._decoding._prefixes._limit_bytes


def test_only_an_engine_that_is_the_students_alone_keeps_fewer_prompts(folder: Path, tiny: Path) -> None:
    (folder / "other").symlink_to(tiny)
    few, many = 2**28, 2**30

    async def kept(names: ModelsConfig, system_message: str | None) -> tuple[int, int]:
        here = ModelShelf(names, folder, QuietProgress())
        await here.load(system_message)
        student, helper = await here.engine("tiny", system_message), await here.engine(names.judge)
        return kept_prompts_of(student), kept_prompts_of(helper)

    alone = ModelsConfig(student="tiny", teacher="other", judge="other")
    several = ModelsConfig(student="tiny", teacher="tiny", judge="tiny")
    assert asyncio.run(kept(alone, None)) == asyncio.run(kept(alone, "template")) == (few, many)
    assert asyncio.run(kept(several, None)) == (few, many)
    assert asyncio.run(kept(several, "template")) == (many, many)


def test_what_an_endpoint_can_not_ask_for_is_among_the_warnings_of_the_report(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ANTHROPIC_KEY, "sk-none")
    with EndpointServer(Says()) as server:
        monkeypatch.setenv(ANTHROPIC_URL, server.address)
        here = ModelShelf(ModelsConfig(student="tiny", teacher="anthropic:m", judge="tiny"), folder, QuietProgress())

        async def ask() -> None:
            teacher = await here.frozen(session, "anthropic:m", "teacher")
            await teacher.sample(HELLO, SamplingParams(temperature=0.5), (0, 1))
            await here.close()

        asyncio.run(ask())
    [warning] = session.stages.notices("warning")
    assert warning.startswith("anthropic:m: takes no temperature, top_p or top_k")


def test_stopped_it_drops_the_work_of_all_local_models_the_policys_included(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shelf(folder)

    async def story() -> list[object]:
        policy = await here.policy(TrainingConfig(precision="fp32"), None, 0)
        engines = (await here.engine("tiny"), here.policy_engine(policy))
        monkeypatch.setattr(here.worker, "gate", asyncio.Event())
        calls = [asyncio.create_task(engine.sample(HELLO, PARAMS)) for engine in engines]
        await asyncio.sleep(0)
        assert here.stop() == 0
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), timeout=30)

    assert [type(ended) for ended in asyncio.run(story())] == [asyncio.CancelledError] * 2


def test_weights_that_changed_after_the_launch_are_refused(session: Session, folder: Path, tiny: Path) -> None:
    asyncio.run(shelf(folder).keep_to_launch(session))
    asyncio.run(shelf(folder).keep_to_launch(session))
    (folder / "tiny").unlink()
    shutil.copytree(tiny, folder / "tiny")
    (folder / "tiny" / "generation_config.json").write_text('{"eos_token_id": 1}')
    with pytest.raises(EthosError, match=r"the weights of tiny changed after this run was launched.*another name"):
        asyncio.run(shelf(folder).keep_to_launch(session))


def test_a_name_that_leads_to_another_server_after_the_launch_is_refused(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ANTHROPIC_KEY, "none")
    names = ModelsConfig(student="tiny", teacher="tiny", judge="anthropic:claude")

    def sitting() -> None:
        asyncio.run(ModelShelf(names, folder, QuietProgress()).keep_to_launch(session))

    sitting()
    sitting()
    monkeypatch.setenv(ANTHROPIC_URL, "http://localhost:1")
    with pytest.raises(EthosError, match=r"the address of anthropic:claude changed after this run was launched"):
        sitting()


def test_an_endpoints_key_is_looked_for_where_the_config_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECOND_KEY", raising=False)
    name = "openai:http://localhost:1/v1#m"
    given = {"student": "tiny", "teacher": "tiny", "judge": name}
    ModelShelf(ModelsConfig.model_validate(given), folder, QuietProgress())
    names = ModelsConfig.model_validate({**given, "endpoints": [{"name": name, "key_variable": "SECOND_KEY"}]})
    with pytest.raises(EthosError, match="SECOND_KEY isn't set"):
        ModelShelf(names, folder, QuietProgress())


def test_checking_the_weights_is_a_stage_that_counts_the_local_models(
    session: Session, folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where each lies is asked for once a sitting."""
    (folder / "other").symlink_to(tiny)
    bars, asked = list[Bar](), list[str]()

    class Watched(QuietProgress):
        def _begin(self, bar: Bar) -> None:
            bars.append(bar)

    def asked_for(entry: Entry, ui: Progress | None = None) -> Path:
        asked.append(entry.name)
        return local_directory(entry, ui)

    monkeypatch.setattr("ethos.runs.models.local_directory", asked_for)
    names = ModelsConfig(student="tiny", teacher="other", judge="openai:http://localhost:1/v1#m")
    here = ModelShelf(names, folder, Watched())
    here.fetch()
    asyncio.run(here.keep_to_launch(session))
    assert [(bar.name, bar.done, bar.total, bar.unit) for bar in bars] == [("checking weights", 2, 2, "models")]
    assert sorted(asked) == ["other", "tiny"]


def test_a_run_goes_on_in_the_precision_that_it_began_in(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(precision: Precision = "auto") -> tuple[torch.dtype, torch.dtype, torch.dtype]:
        here = shelf(folder, precision)
        await here.keep_to_launch(session)
        policy = await here.policy(TrainingConfig(precision=precision), None, 0)
        base, helper = await here.base_student(session), await here.engine("tiny")
        return base.engine.loaded.model.dtype, policy.model.dtype, helper.loaded.model.dtype

    for here in (torch.bfloat16, torch.float32):  # a second sitting, on a machine that is slow in bf16
        monkeypatch.setattr("ethos.runs.models.compute_dtype", lambda here=here: here)
        assert asyncio.run(found()) == (torch.bfloat16, torch.bfloat16, torch.bfloat16)
    assert asyncio.run(found("fp32")) == (torch.float32, torch.float32, torch.bfloat16)
