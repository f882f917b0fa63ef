"""Writes the prompts: topics of each clause first, dealt to the pools by the scenario seed, then a message a family.

What is written depends on the spec, the scenario seed, the teacher and the texts to keep apart from (replay, canaries,
the calibration file), never on a run's own seed. Messages of one pool that come too close to another pool's are written
anew, so that nothing tasted or sealed was trained on; so are those that haven't the form of their context, or that the
teacher itself doesn't take for a case of their clause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ethos.errors import EthosError
from ethos.judging.cases import CLEARLY_A_CASE, MAY_BE_A_CASE, case_of, odds_of_case
from ethos.models.types import Sampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.language import language_name
from ethos.spec.scenarios import POOLS, Context, Family, Pool, Scenario, deal_topics, families_of_pool
from ethos.spec.types import Clause, Spec
from ethos.store.config.data import ScenariosConfig
from ethos.synthesis.messages import LONGEST_MESSAGE_TOKENS, clean_message
from ethos.synthesis.nearness import Taken, near_topics
from ethos.synthesis.sizes import contexts_of, plan_scenarios
from ethos.synthesis.subjects import TooFew, name_contrasts, name_subjects
from ethos.synthesis.types import few_shot, in_order

MESSAGE_TRIES = 6
DRAWS_A_RETRY = 2
_ANY_TOPIC, _ANY_FORM = "anything", "a message"  # stand for those of a message which the spec gives


async def name_families(
    spec: Spec,
    clauses: Sequence[Clause],
    config: ScenariosConfig,
    seed: int,
    teacher: Sampler,
    pools: Sequence[Pool],
    advance: Callable[[], None],
    note_failure: Callable[[str], None],
    taken_texts: Sequence[str] = (),
) -> list[Family]:
    """What the scenarios of these pools will be about, in a fixed order; `advance` is called after each clause.

    Of two topics with the same content words one is taken. No contrast comes close to another, to one of `taken_texts`
    or to what the spec says. A clause for which the teacher can't find enough subjects gets no scenario, one for which
    it can't find enough contrasts gets none of these; `note_failure` is told of both.

    Raises EthosError if no clause has enough subjects, or none enough contrasts.
    """
    plans = {clause.id: plan_scenarios(clause, config) for clause in clauses}
    too_few: list[TooFew] = []

    async def subjects_of(clause: Clause) -> list[str]:
        try:
            return await name_subjects(spec, clause, sum(plans[clause.id].topics.values()), seed, teacher)
        except TooFew as error:
            too_few.append(error)
            return []
        finally:
            advance()

    needed = {clause_id: sum(plan.contrasts.values()) for clause_id, plan in plans.items()}
    contrasts, subjects = await asyncio.gather(
        name_contrasts(spec, needed, seed, teacher, _taken(spec, taken_texts)),
        asyncio.gather(*map(subjects_of, clauses)),
    )
    if len(too_few) == len(clauses):
        raise too_few[0]
    for error in sorted(too_few, key=str):
        note_failure(f"{error}: it gets no scenario")
    families: list[Family] = []
    for clause, topics in zip(clauses, subjects, strict=True):
        if not topics:
            continue
        contexts, plan = contexts_of(clause, config), plans[clause.id]
        dealt = deal_topics(topics, plan.topics, seed, clause.id, near_topics(topics, spec.language))
        try:
            own = [families_of_pool(clause.id, p, dealt[p], contexts, plan.prompts[p]) for p in POOLS]
        except EthosError as error:
            note_failure(f"{error}: it gets no scenario")
            continue
        families += [family for of_pool in own for family in of_pool]
        if plan.contrasts and clause.id not in contrasts:
            note_failure(f"clause {clause.id}: too few plain questions can stand as its contrasts, and it gets none")
        elif plan.contrasts:
            dealt = deal_topics(contrasts[clause.id], plan.contrasts, seed, f"{clause.id}/contrast")
            plain = [context for context in contexts if not context.reserved][:1]
            for pool, count in plan.contrasts.items():
                families += families_of_pool(clause.id, pool, dealt[pool], plain, count, contrast=True)
    return [family for family in families if family.pool in pools]


async def write_scenarios(
    spec: Spec,
    families: Sequence[Family],
    config: ScenariosConfig,
    seed: int,
    teacher: Sampler,
    advance: Callable[[], None],
    taken_texts: Sequence[str] = (),
) -> list[Scenario]:
    """A scenario for each family, in their order; `advance` is called for each one written.

    None comes close to another, to one of `taken_texts` (prompts that rows, canaries or calibrations are made of
    elsewhere), or to what the spec says, its examples included. Each is a case of its clause as the teacher sees it,
    and has the form of its context; for a context that isn't reserved, the last draws may have another.

    A family without a usable message is left out. Raises EthosError if more than half of them are.
    """
    taken = _taken(spec, taken_texts)
    contexts = {context.name: context.to_context() for context in config.contexts}
    writer = _Writer(spec, config, contexts, seed, teacher, taken)
    scenarios: dict[Family, Scenario] = {}
    written: dict[Family, list[_Message]] = {family: [] for family in families}
    waiting = sorted(families, key=lambda family: not family.contrast)  # contrasts first: no other can be drawn
    for attempt in range(MESSAGE_TRIES):
        # in the families' order, so that which of two messages alike is kept doesn't depend on who was faster
        async for family, messages in in_order(partial(writer.write, attempt), waiting):
            written[family] = sorted((*written[family], *messages), key=lambda m: (not m.fits, -m.odds))
            wanted = CLEARLY_A_CASE if attempt == 0 else MAY_BE_A_CASE
            clear = [message for message in written[family] if message.odds > wanted]
            text = next((message.text for message in clear if taken.add(message.text)), None)
            if text is not None:
                scenarios[family] = Scenario(family, Conversation.user(text))
                advance()
        waiting = [family for family in waiting if family not in scenarios]
    if len(waiting) > len(families) // 2:
        raise EthosError(
            f"the teacher {teacher.name} wrote no usable message for {len(waiting)} of {len(families)} scenarios; "
            "name a stronger teacher, or add `when:` to the clauses"
        )
    return [scenarios[family] for family in families if family in scenarios]


def _taken(spec: Spec, texts: Sequence[str]) -> Taken:
    """These texts, and what the spec says itself, its examples included."""
    given = [example for clause in spec.clauses for example in (*clause.good, *clause.bad)]
    said = [spec.preamble, *(part for clause in spec.clauses for part in (clause.text, clause.reason))]
    said += [part for example in given for part in (example.message, example.reply)]
    return Taken([*texts, *filter(None, said)])


@dataclass(frozen=True, slots=True)
class _Message:
    text: str
    odds: float  # of being a case of its clause
    fits: bool  # whether it has the form of its context


def message_prompt(spec: Spec, clause: Clause, config: ScenariosConfig, context: Context, topic: str) -> Conversation:
    """Asks the teacher for one message.

    The spec's own messages stand as turns before what is asked: shown in any other way, they are copied. Each is shown
    with the form that it has, for a teacher follows what it seems to have done.
    """
    case = {"case": case_of(clause), "language": language_name(spec.language)}
    given = [
        ({**case, "topic": _ANY_TOPIC, "form": _form_of(example.message, config)}, example.message)
        for example in clause.good
        if example.message
    ]
    return few_shot("message").fill({**case, "topic": topic, "form": context.instruction}, given)


def _form_of(message: str, config: ScenariosConfig) -> str:
    """What a teacher would have been told that wrote this message: the instruction of the narrowest form it has."""
    contexts = [context.to_context() for context in config.contexts]
    fitting = [context for context in contexts if context.demands and context.fits(message)]
    return max(fitting, key=lambda context: context.demands).instruction if fitting else _ANY_FORM


@dataclass(frozen=True, slots=True)
class _Writer:
    spec: Spec
    config: ScenariosConfig
    contexts: Mapping[str, Context]
    seed: int
    teacher: Sampler
    taken: Taken  # only looked at: what is taken already need not be judged

    async def write(self, attempt: int, family: Family) -> tuple[Family, list[_Message]]:
        """Messages that can be used; the first attempt draws one, later ones several. A contrast is its own message."""
        if family.contrast:
            return family, [_Message(family.topic, 1.0, True)]
        clause, context = self.spec.clause(family.clause_id), self.contexts[family.context]
        asked = message_prompt(self.spec, clause, self.config, context, family.topic)
        params = SamplingParams(LONGEST_MESSAGE_TOKENS, self.config.temperature, top_p=0.95, seed=self.seed)
        first = 1 + (attempt - 1) * DRAWS_A_RETRY
        draws = (0,) if attempt == 0 else range(first, first + DRAWS_A_RETRY)
        samples = await self.teacher.sample(asked, params, draws)
        cleaned = [clean_message(sample.text) for sample in samples if sample.finish_reason == "stop"]
        formed = dict.fromkeys(context.form(text) for text in cleaned if text is not None)
        may_differ = attempt == MESSAGE_TRIES - 1 and not context.reserved
        texts = [text for text in formed if (may_differ or context.fits(text)) and not self.taken.has(text)]
        odds = await asyncio.gather(*(odds_of_case(self.teacher, clause, text) for text in texts))
        return family, [_Message(text, odd, context.fits(text)) for text, odd in zip(texts, odds, strict=True)]
