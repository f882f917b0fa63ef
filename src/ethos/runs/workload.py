"""What each role of a run is asked, stage by stage: the calls that are made if the response cache holds none.

Prompts are filled as their stages fill them, with words of the usual length where nothing is written yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ethos.judging import near_misses
from ethos.judging.cases import case_of
from ethos.judging.clause_reading import (
    LIST_TOKENS,
    LISTS,
    QUESTIONS,
    READING_TOKENS,
    READINGS,
    questions_prompt,
    reading_prompt,
    rule_of,
    wants_case,
    wants_questions,
)
from ethos.judging.few_shot import load_few_shot
from ethos.models.catalogue import Entry
from ethos.models.estimates import estimated_tokens
from ethos.runs.placebo_draws import MOST_DRAWS, PAGE_TOKENS, SUBJECTS
from ethos.runs.reading import LOOK_PROMPTS, LOOK_QUESTIONS
from ethos.spec.conversation import Conversation
from ethos.spec.language import language_name
from ethos.spec.scenarios import Family, Pool, Scenario
from ethos.spec.types import Clause, Spec
from ethos.store.config.run import RunConfig
from ethos.synthesis import scenarios, subjects
from ethos.synthesis.expected import (
    FRESH_MESSAGE,
    FRESH_REPLY,
    JUDGED,
    TYPICAL_MESSAGE,
    TYPICAL_PROBE,
    USABLE,
    Calls,
    PlannedCast,
    Role,
    case_calls,
    expected_draws,
    expected_lists,
    pairwise_calls,
    prompt_tokens,
    rubric_calls,
    text_tokens,
)
from ethos.synthesis.messages import LONGEST_MESSAGE_TOKENS
from ethos.synthesis.revisions import first_prompts
from ethos.synthesis.sizes import ScenarioPlan, plan_scenarios
from ethos.synthesis.types import Job, Recipe, few_shot
from ethos.tasting.arms import VARIANTS, Variant, prompt_for
from ethos.tasting.canaries import ANSWER_PARAMS, REPLY_PARAMS, canary_prompts, canary_texts, replay_prompts
from ethos.tasting.language_probe import PROBE_PARAMS, probes_in
from ethos.tasting.questions import generate, screening_questions

_MESSAGE_TOKENS, _READING_REPLY_TOKENS, _LIST_REPLY_TOKENS, _CALIBRATION_REPLY_TOKENS = 20, 40, 60, 35  # as they come


@dataclass(frozen=True)
class Workload:
    """A run to come."""

    config: RunConfig
    spec: Spec
    clauses: Sequence[Clause]  # those that it works on
    models: Mapping[str, Entry]  # by role: teacher, judge, sealed judge
    labelled: Mapping[str, int]  # replies of the calibration file by clause id
    recipes: Sequence[Recipe] = ()

    def teacher(self) -> Iterator[Calls]:
        """Reads clauses, names subjects, writes messages, documents and replies, and says what is a case of what."""
        yield from self._lists()
        for clause in self.clauses:
            yield from self._readings(clause)
            yield from self._messages(clause)
            if clause.judged and not self.labelled.get(clause.id):
                yield from self._labelled_replies(clause)
        yield from self._for_rows("teacher")
        if not self.config.models.chorus:
            yield from self._for_rows("writer")

    def voice(self, name: str) -> Iterator[Calls]:
        """Draws its share of the rows."""
        weights = {voice.name: voice.weight for voice in self.config.models.chorus}
        yield from (calls.share(weights[name] / sum(weights.values())) for calls in self._for_rows("writer"))

    def judge(self) -> Iterator[Calls]:
        """Is calibrated, chooses rows and judges looks."""
        scenarios_of, knobs = self.config.scenarios, self.config.knobs
        a_look = min(knobs.taste_prompts, scenarios_of.taste_per_clause)
        probes = (1 + self.looks) * a_look + len(VARIANTS) * scenarios_of.taste_per_clause
        for clause in (clause for clause in self.clauses if clause.judged):
            yield self._calibration("judge", clause)
            if self.pairs:
                yield self._pair_calibration(clause)
            yield self._verdicts("judge", clause, probes * JUDGED, probes, self.config.tasting.max_tokens)
        yield from self._for_rows("judge")

    def sealed_judge(self) -> Iterator[Calls]:
        """Is calibrated, and judges the sealed scenarios of every arm."""
        arms = 4 if self.config.placebo else 3
        for clause in (clause for clause in self.clauses if clause.judged):
            yield self._calibration("sealed judge", clause)
            replies = arms * self._prompts_of(clause, "sealed")
            yield self._verdicts("sealed judge", clause, replies * JUDGED, replies, self.config.tasting.max_tokens)

    def student(self) -> Iterator[Calls]:
        """Answers before it is trained: as itself, with the spec in its prompt, and for rows and the placebo."""
        screening = screening_questions(0)
        if self.spec.language != "en":
            yield self._answers(len(probes_in(self.spec.language)), TYPICAL_MESSAGE, PROBE_PARAMS.max_tokens)
        yield from self._for_rows("student")
        yield self._answers(len(screening), screening[0].prompt, ANSWER_PARAMS.max_tokens)
        yield from self._canary(self._questions, len(canary_prompts()))
        yield self._look
        yield from self._prompted(len(VARIANTS), "taste")
        yield self._answers(self.prompts("sealed"), TYPICAL_MESSAGE, self.config.tasting.max_tokens)
        yield from self._prompted(1, "sealed")
        if self.config.placebo:
            yield from self._placebo_rows()

    def policy(self) -> Iterator[Calls]:
        """Answers while and after it is trained, and so does the placebo after it."""
        arms = 2 if self.config.placebo else 1
        for _ in range(self.looks):
            yield self._look
            yield from self._canary(min(LOOK_QUESTIONS, self._questions), LOOK_PROMPTS)
        yield from self._canary(self._questions, len(canary_prompts()))
        yield self._answers(arms * self.prompts("sealed"), TYPICAL_MESSAGE, self.config.tasting.max_tokens)

    @property
    def looks(self) -> int:
        """While it trains; the one before is the base's."""
        return -(-self.config.training.steps // self.config.knobs.taste_every)

    @cached_property
    def plans(self) -> dict[str, ScenarioPlan]:
        """By clause id."""
        return {clause.id: plan_scenarios(clause, self.config.scenarios) for clause in self.clauses}

    def _prompts_of(self, clause: Clause, pool: Pool) -> int:
        plan = self.plans[clause.id]
        return plan.prompts[pool] + plan.contrasts.get(pool, 0)

    def prompts(self, pool: Pool) -> int:
        """Scenarios of a pool, contrasts included."""
        return sum(self._prompts_of(clause, pool) for clause in self.clauses)

    @property
    def pairs(self) -> int:
        """That the recipe `preferences` writes, if each of its prompts gives one from every source."""
        settings = self.config.synthesis.preferences
        return len(first_prompts(self._job, settings.per_clause)) * len(settings.sources)

    def _for_rows(self, role: Role) -> Iterator[Calls]:
        """What the recipes ask of a role."""
        for recipe in self.recipes:
            yield from (calls for asked, calls in recipe.expected(self._job, self._cast) if asked == role)

    def _lists(self) -> Iterator[Calls]:
        """Subjects of each clause, plain questions for all, and which of these are least a case of a clause."""
        language = {"count": str(subjects.LINES_A_LIST), "language": language_name(self.spec.language)}
        for clause in self.clauses:
            asked = few_shot("topics").fill({**language, "case": case_of(clause)})
            needed = sum(self.plans[clause.id].topics.values())
            count = expected_lists(needed, subjects.LINES_A_LIST, subjects.LISTS_AT_FIRST, subjects.MOST_LISTS)
            longest = subjects.SUBJECT_TOKENS * subjects.LINES_A_LIST
            yield Calls(count, subjects.MOST_LISTS, prompt_tokens(asked), longest, longest, longest)
        chosen_from = {c.id: subjects.CONTRAST_CHOICE * sum(self.plans[c.id].contrasts.values()) for c in self.clauses}
        if wanted := sum(chosen_from.values()):
            lists = -(-wanted // subjects.LINES_A_LIST)
            first, most = subjects.LISTS_DRAWN * lists, subjects.LISTS_TRIED * lists
            longest = subjects.QUESTION_TOKENS * subjects.LINES_A_LIST
            asked = few_shot("plain_questions").fill(language)
            count = expected_lists(wanted, subjects.LINES_A_LIST, first, most)
            yield Calls(count, most, prompt_tokens(asked), longest, longest, longest)
        for clause in self.clauses:
            yield case_calls(self.models["teacher"], clause, chosen_from[clause.id], chosen_from[clause.id])

    def _readings(self, clause: Clause) -> Iterator[Calls]:
        if wants_case(clause) or wants_questions(clause):
            asked, reply = prompt_tokens(reading_prompt(clause, self.spec)), _READING_REPLY_TOKENS
            yield Calls(1, 1 + READINGS * wants_case(clause), asked, reply, READING_TOKENS, reply)
        if wants_questions(clause):
            asked = prompt_tokens(questions_prompt(clause, self.spec))
            yield Calls(LISTS, LISTS, asked, _LIST_REPLY_TOKENS, LIST_TOKENS, _LIST_REPLY_TOKENS)

    def _messages(self, clause: Clause) -> Iterator[Calls]:
        """Drawn until one can be used; whether each is a case of its clause is asked of all of them."""
        contexts = [context.to_context() for context in self.config.scenarios.contexts]
        longest_form = max(contexts, key=lambda context: len(context.instruction))
        asked = scenarios.message_prompt(self.spec, clause, self.config.scenarios, longest_form, TYPICAL_MESSAGE[:30])
        messages = sum(count for pool, count in self.plans[clause.id].prompts.items() if pool != "gate")
        most = 1 + (scenarios.MESSAGE_TRIES - 1) * scenarios.DRAWS_A_RETRY
        count = messages * expected_draws(1, scenarios.DRAWS_A_RETRY, most, 1)
        computed = FRESH_MESSAGE + _MESSAGE_TOKENS
        longest = LONGEST_MESSAGE_TOKENS
        yield Calls(count, messages * most, prompt_tokens(asked), _MESSAGE_TOKENS, longest, computed)
        yield case_calls(self.models["teacher"], clause, count, messages * most)

    def _labelled_replies(self, clause: Clause) -> Iterator[Calls]:
        """Replies with the rule in sight and without; a teacher in this process scores each both ways."""
        given = {"rule": rule_of(clause, self.spec), "message": TYPICAL_MESSAGE}
        drawn = near_misses.DRAWS * min(near_misses.SCENARIOS, self.plans[clause.id].prompts["train"])
        reply, longest = _CALIBRATION_REPLY_TOKENS, near_misses.PARAMS.max_tokens
        for name in ("rule_reply", "plain_reply"):
            asked = load_few_shot(name, self.spec.language).fill(given)
            yield Calls(drawn, drawn, prompt_tokens(asked), reply, longest, reply)
            if self.models["teacher"].kind == "local":
                yield Calls(2 * drawn, 2 * drawn, estimated_tokens(asked), reply, longest, reply)

    def _calibration(self, role: Role, clause: Clause) -> Calls:
        """Every question on half of the labelled replies, the chosen one on the other half."""
        most, written = near_misses.PAIRS, near_misses.SCENARIOS * near_misses.PAIRS_PER_SCENARIO
        expected = min(most, USABLE * written)
        given = self.labelled.get(clause.id)
        tries = (1 + QUESTIONS) / 2 if wants_questions(clause) else 1
        return self._verdicts(
            role, clause, (given or 2 * expected) * tries, (given or 2 * most) * tries, _CALIBRATION_REPLY_TOKENS
        )

    def _pair_calibration(self, clause: Clause) -> Calls:
        """Each good reply beside a bad one."""
        most = (self.labelled.get(clause.id) or 2 * near_misses.PAIRS) / 2
        expected = self.labelled.get(clause.id, 2 * USABLE * near_misses.PAIRS) / 2
        return pairwise_calls(self.models["judge"], self.spec, clause, expected, most, _CALIBRATION_REPLY_TOKENS)

    def _verdicts(self, role: Role, clause: Clause, count: float, most: float, longest_reply: int) -> Calls:
        wording = "rubric" if role == "judge" else "rubric_sealed"
        return rubric_calls(self.models[role], wording, self.spec, clause, count, most, longest_reply)

    @cached_property
    def _questions(self) -> int:
        return len(generate(self.config.tasting.questions, self.config.scenario_seed))

    def _canary(self, questions: int, prompts: int) -> Iterator[Calls]:
        yield self._answers(questions, screening_questions(0)[0].prompt, ANSWER_PARAMS.max_tokens)
        yield self._answers(prompts, TYPICAL_MESSAGE, REPLY_PARAMS.max_tokens)
        texts = list(canary_texts().values())
        tokens = sum(map(text_tokens, texts)) / len(texts)
        yield Calls(len(texts), len(texts), tokens, 0, 0, tokens)

    @property
    def _look(self) -> Calls:
        shown = [min(self.config.knobs.taste_prompts, plan.prompts["taste"]) for plan in self.plans.values()]
        return self._answers(sum(shown), TYPICAL_MESSAGE, self.config.tasting.max_tokens)

    def _answers(self, count: float, message: str, longest: int, most: float | None = None) -> Calls:
        return self._cast.answers(count, message, longest, most)

    def _prompted(self, variants: int, pool: Pool) -> Iterator[Calls]:
        """Replies with the spec in the prompt: in every way, or in the one that isn't known yet, by the middle one."""
        longest = self.config.tasting.max_tokens
        reply = longest * TYPICAL_PROBE
        for clause in self.clauses:
            shown = self._shown[clause.id]
            for prompt in shown if variants == len(VARIANTS) else shown[1:2]:
                count = self._prompts_of(clause, pool)
                yield Calls(count, count, prompt, reply, longest, FRESH_REPLY + reply)

    @cached_property
    def _shown(self) -> dict[str, list[int]]:
        """By clause id the tokens of its prompt with the spec in it, in every way, the shortest first."""
        frame_tokens = self.config.synthesis.frame_tokens

        def tokens(variant: Variant, clause: Clause) -> int:
            prompted = prompt_for(variant, _scenario(clause), self.spec, text_tokens, frame_tokens)
            return prompt_tokens(prompted.conversation)

        whole, *of_clauses = VARIANTS
        of_spec = tokens(whole, self.clauses[0])
        return {c.id: sorted([of_spec, *(tokens(variant, c) for variant in of_clauses)]) for c in self.clauses}

    def _placebo_rows(self) -> Iterator[Calls]:
        """Draws of plain prompts until each row has a shadow, and pages until they hold as much as the documents."""
        settings, prompts = self.config.synthesis, len(replay_prompts())
        rows = self.prompts("train") * settings.demonstrations.kept
        others = (
            recipe for recipe in self.recipes if recipe.name not in ("documents", "demonstrations", "preferences")
        )
        rows += sum(recipe.size(self._job) for recipe in others)  # demonstrations all the same, about one a unit
        documents = settings.documents.count * settings.documents.max_tokens
        documents += text_tokens(self.spec.text) * settings.documents.spec_text
        draws = min(MOST_DRAWS, -(-rows // prompts))
        pages = min(MOST_DRAWS, -(-documents // (len(SUBJECTS) * PAGE_TOKENS)))
        longest = max(settings.demonstrations.max_tokens, self.config.tasting.max_tokens)
        yield self._answers(draws * prompts, TYPICAL_MESSAGE, longest, MOST_DRAWS * prompts)
        yield self._answers(pages * len(SUBJECTS), TYPICAL_MESSAGE[:30], PAGE_TOKENS, MOST_DRAWS * len(SUBJECTS))

    @property
    def _cast(self) -> PlannedCast:
        return PlannedCast(self.models["teacher"], self.models["judge"], self.config.system_message)

    @cached_property
    def _job(self) -> Job:
        contrasts = [(clause, contrast) for clause in self.clauses for contrast in (False, True)]
        asked = [
            _scenario(clause, contrast)
            for clause, contrast in contrasts
            for _ in range(
                (self.plans[clause.id].contrasts if contrast else self.plans[clause.id].prompts).get("train", 0)
            )
        ]
        return Job(self.spec, tuple(self.clauses), tuple(asked), self.config.synthesis, self.config.seed, text_tokens)


def _scenario(clause: Clause, contrast: bool = False) -> Scenario:
    family = Family(clause.id, TYPICAL_MESSAGE, "chat", "train", contrast)
    return Scenario(family, Conversation.user(TYPICAL_MESSAGE))
