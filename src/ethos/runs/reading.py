"""Readings: looks while the student trains, the choice of a prompted arm, canaries, and the sealed scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ethos.judging.adherence import Assessor
from ethos.judging.recitation import Recitation
from ethos.models.types import BatchSampler, SamplingParams
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.frame import whole
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Json
from ethos.store.cache import cache_directory
from ethos.store.canonical import digest
from ethos.store.journal import MAIN, Draft
from ethos.store.sealed_readings import count_reading
from ethos.tasting.arms import VARIANTS, WHOLE_TOKENS, Variant, best_variant, comparable, prompts_for
from ethos.tasting.canaries import (
    CanaryReading,
    canary_prompts,
    canary_texts,
    measure_canaries,
    screen_families,
)
from ethos.tasting.look import (
    ANSWERS_A_READING,
    choose_scenarios,
    counts,
    overall,
    take_look,
    to_records,
)
from ethos.tasting.questions import Question, generate, screening_questions
from ethos.tasting.types import Student

TASTE, SEALED = "taste", "sealed"
LOOK_QUESTIONS, LOOK_PROMPTS = 60, 12  # of the canary in a look: some 15 s on two cores, with intervals of 0.12
LOOK_SECONDS = "seconds.look"
"""A metric, written once a look has ended."""

AskedArm = tuple[BatchSampler, Sequence[Conversation] | None]
"""Who answers, and what each scenario is put to it as; None means its prompt as it is."""


@dataclass(frozen=True, slots=True)
class Taster:
    """Takes looks, and writes them to the run's records."""

    session: Session
    assessor: Assessor
    recitation: Recitation

    @property
    def params(self) -> SamplingParams:
        """How every arm answers."""
        tasting = self.session.config.tasting
        return SamplingParams(tasting.max_tokens, tasting.temperature, seed=self.session.config.seed)

    async def look(
        self,
        model: BatchSampler,
        scenarios: Sequence[Scenario],
        conversations: Sequence[Conversation] | None,
        arm: str,
        step: int,
        purpose: str,
        advance: Callable[[], None],
    ) -> None:
        """One look; `conversations` None means the scenarios' prompts as they are."""
        shown = [s.prompt for s in scenarios] if conversations is None else conversations
        readings = await take_look(
            model, scenarios, shown, self.assessor, self.recitation, self.params, arm, step, advance
        )
        found = counts(readings)
        if unreached := found["not reached"]:
            self.session.note_failure(
                f"{unreached} of {len(readings)} {purpose} probes of {arm} at step {step} never reached the model"
            )
        self.session.records.add_replies(to_records(readings, MAIN, purpose))
        if purpose == TASTE:
            shares = {f"taste.{name.replace(' ', '_')}": count / len(readings) for name, count in found.items()}
            mean = overall(readings)
            self.session.records.add_metrics(MAIN, step, shares if mean is None else {**shares, "taste.overall": mean})

    def scenarios_at(self, scenarios: Sequence[Scenario], step: int) -> list[Scenario]:
        """The taste scenarios of the look at a step: they rotate from look to look."""
        earlier = [at for at, _ in self.session.records.metric(MAIN, LOOK_SECONDS) if at < step]
        looks = len(earlier) + (step > 0)  # the base's, before training, is no look of the trainer's
        return choose_scenarios(scenarios, self.session.journal.knobs(MAIN, step).taste_prompts, looks)


async def choose_prompting(
    taster: Taster, base: BatchSampler, scenarios: Sequence[Scenario], count_tokens: Any
) -> dict[str, Any]:
    """Reads every way of prompting on taste scenarios. Returns `chosen` and, for each, adherence, n and mean tokens."""
    session, frame_tokens = taster.session, taster.session.config.synthesis.frame_tokens

    async def make() -> Json:
        share = whole(session.spec, WHOLE_TOKENS, count_tokens).share
        if share < 1:
            session.warn(f"the spec is too long to stand whole in a prompt: that arm is shown {share:.0%} of it")
        scores: dict[Variant, list[float | None]] = {}
        tokens: dict[Variant, int] = {}
        total = ANSWERS_A_READING * len(VARIANTS) * len(scenarios)
        with session.ui.stage("tasting the prompted student", total, "answers") as bar:
            for variant in VARIANTS:
                prompted = prompts_for(variant, scenarios, session.spec, count_tokens, frame_tokens)
                readings = await take_look(
                    base,
                    scenarios,
                    [p.conversation for p in prompted],
                    taster.assessor,
                    taster.recitation,
                    taster.params,
                    f"prompted: {variant}",
                    0,
                    bar.advance,
                )
                session.records.add_replies(to_records(readings, MAIN, TASTE))
                scores[variant] = [reading.adherence for reading in readings]
                tokens[variant] = round(sum(p.tokens for p in prompted) / len(prompted))
        described: dict[str, Json] = {}
        for variant, compared in comparable(scores).items():
            mean = sum(compared) / len(compared) if compared else 0.0
            described[variant] = {"adherence": mean, "n": len(compared), "tokens": tokens[variant]}
        return {"chosen": best_variant(scores), "variants": described}

    return dict(await session.once("prompted variants", [s.id for s in scenarios], make))


async def canary_questions(session: Session, base: BatchSampler) -> list[Question]:
    """The questions of the canary: from families that the base answers right neither too rarely nor too often."""
    count = session.config.tasting.questions

    async def make() -> Json:
        seed = session.config.scenario_seed
        with session.ui.stage("choosing the canary's questions", len(screening_questions(seed)), "answers") as bar:
            choice = await screen_families(base, seed, bar.advance)
        if choice.warning:
            session.warn(choice.warning)
        return list(choice.families)

    families = await session.once("canary families", [count, session.config.scenario_seed], make)
    questions = generate(count, session.config.scenario_seed, families)
    if len(questions) < count:
        session.warn(f"the canary asks {len(questions)} questions and not {count}: its families hold no more")
    return questions


async def read_canaries(
    session: Session, name: str, model: Student, questions: Sequence[Question], step: int
) -> CanaryReading:
    """The whole canary of one model, kept as a stage."""

    async def make() -> Json:
        texts, prompts = canary_texts(), canary_prompts()
        total = len(questions) + len(texts) + len(prompts)
        with session.ui.stage(f"reading canaries ({name})", total, "answers") as bar:
            reading = await measure_canaries(model, questions, texts, prompts, bar.advance)
        session.records.add_metrics(MAIN, step, reading.metrics())
        return reading.to_dict()

    return CanaryReading.from_dict(await session.once(f"canary {name}", [q.id for q in questions], make))


async def taste(
    taster: Taster, model: Student, pool: Sequence[Scenario], questions: Sequence[Question], arm: str, step: int
) -> None:
    """A look, and a glance at the canaries: the first questions and prompts.

    The whole canary is read before and after training.
    """
    session, scenarios = taster.session, taster.scenarios_at(pool, step)
    asked, prompts, texts = questions[:LOOK_QUESTIONS], canary_prompts()[:LOOK_PROMPTS], canary_texts()
    total = ANSWERS_A_READING * len(scenarios) + len(asked) + len(prompts) + len(texts)
    with session.ui.stage(f"tasting at step {step}", total, "answers") as bar:
        await taster.look(model, scenarios, None, arm, step, TASTE, bar.advance)
        reading = await measure_canaries(model, asked, texts, prompts, bar.advance)
    session.records.add_metrics(MAIN, step, {f"look.{name}": value for name, value in reading.metrics().items()})


async def read_sealed(
    taster: Taster,
    scenarios: Sequence[Scenario],
    arms: Mapping[str, AskedArm],
    step: int,
) -> int:
    """Reads the sealed scenarios for a frozen list of arms, once a run. The reading is entered in the journal first.

    Returns how often the scenario that was read most has been so far, over all runs, this reading included.
    """
    session, ids = taster.session, [scenario.id for scenario in scenarios]
    pool_digest = digest(ids)

    async def make() -> Json:
        entry = next((e for e in session.journal.entries() if e.kind == "reading" and e.name == SEALED), None)
        if entry is None:
            entry = session.journal.append(
                Draft(
                    kind="reading",
                    name=SEALED,
                    step=step,
                    origin="rule",
                    author="ethos",
                    reason="the end of training",
                    new=list(arms),
                    evidence={"pool": pool_digest, "scenarios": len(scenarios)},
                )
            )
        times = count_reading(cache_directory(), ids, entry.hash, session.config.name)  # before anybody sees it
        total = ANSWERS_A_READING * len(arms) * len(scenarios)
        with session.ui.stage("reading sealed scenarios", total, "answers") as bar:
            for arm, (model, conversations) in arms.items():
                await taster.look(model, scenarios, conversations, arm, step, SEALED, bar.advance)
        return times

    return int(await session.once("sealed reading", [pool_digest, list(arms), step], make))
