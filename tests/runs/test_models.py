"""The shelf: what is loaded, fetched, opened and stopped, and that a run keeps to what it began with."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from endpoint_server import EndpointServer
from ethos.errors import EthosError
from ethos.models.catalogue import ANTHROPIC_KEY, ANTHROPIC_URL, Entry
from ethos.models.engine import Engine
from ethos.models.loading import Precision
from ethos.models.local import local_directory
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.progress import Bar, Progress, QuietProgress
from ethos.runs.models import ModelShelf
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.store.config.models import ModelsConfig
from ethos.store.config.training import TrainingConfig

PARAMS = SamplingParams()
HELLO, BYE = Conversation.user("Hello?"), Conversation.user("Bye?")


class Says:
    """Always the same."""

    name, fingerprint = "says", "says"

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        return [Sample("Yes.", "stop", Usage(1, 1), draw) for draw in draws]


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


def test_adapters_share_weights_with_the_student_before_training(session: Session, folder: Path) -> None:
    here = shelf(folder, "fp32")

    async def loaded(system_message: str | None) -> tuple[int, int]:
        """Where one of its weights lies, and one of the policy's."""
        base = await here.engine("tiny", None, "fp32")
        policy = await here.policy(TrainingConfig(precision="fp32", method="lora"), system_message, 0)
        assert base.forward is not None
        assert policy.forward is not None
        return base.forward.embedding_VE.data_ptr(), policy.forward.embedding_VE.data_ptr()

    student, policys = asyncio.run(loaded(None))
    assert policys == student
    student, policys = asyncio.run(loaded("Be brief."))  # for which there is no engine
    assert policys != student


def test_a_teacher_of_distillation_with_another_tokenizer_is_refused(session: Session, folder: Path) -> None:
    other = folder / "other"
    shutil.copytree(folder / "tiny", other)
    path = other / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"<|im_start|>"', '"<|turn|>"'), encoding="utf-8")
    names = ModelsConfig(student="tiny", teacher="tiny", judge="tiny", distillation_teacher="other")
    here = ModelShelf(names, folder, QuietProgress())

    async def teacher() -> Engine:
        return await here.distillation_teacher(await here.base_student(session))

    with pytest.raises(EthosError, match=r"distillation_teacher: other has another tokenizer .* same family"):
        asyncio.run(teacher())
