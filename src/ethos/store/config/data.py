"""What data is made: scenarios, their contexts, and the recipes' sizes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ethos.spec.scenarios import Context, Pool
from ethos.store.config.section import FilePath, Section


class ContextConfig(Section):
    """A setting in which a message reaches the character."""

    name: str
    """What a clause's `contexts:` call it."""
    instruction: str
    """Tells the teacher how such a message is written."""
    reserved: bool = False
    """Met in the sealed pool only; two contexts are reserved."""
    fewest_lines: Annotated[int, Field(ge=1)] = 1
    """Lines that a message has at least, empty ones not counted."""
    most_lines: Annotated[int, Field(ge=1)] | None = None
    """Lines that it has at most. None: any number."""
    fewest_sentences: Annotated[int, Field(ge=1)] = 1
    """Sentences that it has at least."""
    most_sentences: Annotated[int, Field(ge=1)] | None = None
    """Sentences that it has at most. None: any number."""
    lower_case: bool = False
    """A message is put in lower case, however the teacher wrote it."""

    def to_context(self) -> Context:
        """As `spec/` knows it."""
        return Context(**self.model_dump())


DEFAULT_CONTEXTS = (
    ContextConfig(
        name="chat", instruction="a short chat message of one or two sentences", most_lines=1, most_sentences=2
    ),
    ContextConfig(name="email", instruction="a short email with a greeting and a sign-off", fewest_lines=3),
    ContextConfig(
        name="forum",
        instruction="a post of two or three sentences in an online forum, with some background",
        most_lines=2,
        fewest_sentences=2,
    ),
    ContextConfig(
        name="phone",
        instruction="a hurried text message from a phone, all lower case",
        reserved=True,
        most_lines=1,
        lower_case=True,
    ),
    ContextConfig(
        name="story",
        instruction="a message from someone who tells first what happened today, then asks",
        reserved=True,
        most_lines=2,
        fewest_sentences=2,
    ),
)


class ScenariosConfig(Section):
    """How many prompts each clause gets in each pool. A pool needs 20 prompts over all clauses, and has to be planned
    with at least 24: some may fail to be written.
    """

    contexts: tuple[ContextConfig, ...] = DEFAULT_CONTEXTS
    """The settings that messages are written for."""
    train_per_clause: Annotated[int, Field(ge=1)] = 16
    """Prompts of a clause that rows are made for."""
    taste_per_clause: Annotated[int, Field(ge=1)] = 5
    """Prompts of a clause that looks choose from."""
    gate_per_clause: Annotated[int, Field(ge=1)] = 5
    """Topics are put by for them; nothing asks for the prompts yet."""
    sealed_per_checked_clause: Annotated[int, Field(ge=1)] = 20
    """Prompts that the report's figures rest on, of a clause that checks alone decide."""
    sealed_per_judged_clause: Annotated[int, Field(ge=1)] = 40
    """And of one that needs a judge, whose verdicts are noisier."""
    contrast_per_clause: Annotated[int, Field(ge=0)] = 4
    """Contrast scenarios of a clause in the pool train, and in sealed where it can be told whether it is applied."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    """At which messages are written."""

    @model_validator(mode="after")
    def _two_contexts_are_reserved(self) -> ScenariosConfig:
        reserved = sum(c.reserved for c in self.contexts)
        if reserved < 2 or reserved == len(self.contexts):
            raise ValueError(
                f"contexts: {reserved} of {len(self.contexts)} are reserved; "
                "reserve two for the sealed pool (`reserved: true`) and leave at least one to train in"
            )
        names = [c.name for c in self.contexts]
        if len(set(names)) < len(names):
            raise ValueError("contexts: two have the same name; give each its own")
        return self

    def count(self, pool: Pool, judged: bool) -> int:
        """Prompts of one clause in a pool."""
        if pool == "sealed":
            return self.sealed_per_judged_clause if judged else self.sealed_per_checked_clause
        return {"train": self.train_per_clause, "taste": self.taste_per_clause, "gate": self.gate_per_clause}[pool]


class DocumentsConfig(Section):
    """The `documents` recipe."""

    count: Annotated[int, Field(ge=0)] = 30
    """Documents the teacher writes, spread over the clauses."""
    spec_text: bool = True
    """Whether the spec's own text is trained on, a clause a row."""
    max_tokens: Annotated[int, Field(ge=32)] = 320
    """Longest document; one that is cut off ends at its last whole sentence."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.9
    """At which documents are written."""


class DemonstrationsConfig(Section):
    """The `demonstrations` recipe."""

    draws: Annotated[int, Field(ge=1, le=64)] = 2
    """Replies drawn for a prompt at a time."""
    max_draws: Annotated[int, Field(ge=1, le=64)] = 6
    """Replies drawn for a prompt in all, as long as fewer than `kept` distinct ones pass."""
    kept: Annotated[int, Field(ge=1, le=64)] = 1
    """Rows of one prompt that are wanted: distinct replies that pass, the best first."""
    max_tokens: Annotated[int, Field(ge=16)] = 160
    """Longest reply; one that is cut off becomes no row."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    """At which replies are drawn."""
    replay_rows: Annotated[int, Field(ge=0)] = 40
    """The student's own replies to plain prompts, kept in the mixture against forgetting."""

    @model_validator(mode="after")
    def _all_draws_hold_those_at_a_time(self) -> DemonstrationsConfig:
        if self.draws > self.max_draws:
            raise ValueError(
                f"demonstrations: draws ({self.draws} at a time) exceeds max_draws ({self.max_draws} in all); "
                "raise max_draws, or lower draws"
            )
        return self


class RevisionsConfig(Section):
    """The `revisions` recipe: the student's own replies, critiqued and written anew under clauses drawn at random."""

    per_clause: Annotated[int, Field(ge=0)] = 0
    """Train prompts of each clause whose replies are revised."""
    reviser: Literal["self", "teacher"] = "self"
    """Who critiques and revises: the student itself, as published, or the teacher, or the chorus where there is one."""
    turns: Annotated[int, Field(ge=1, le=16)] = 1
    """Revisions of a reply, each made from the one before; every one that passes becomes a row."""
    max_tokens: Annotated[int, Field(ge=16)] = 160
    """Longest reply; one that is cut off becomes no row, and is not revised again."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    """At which replies, critiques and revisions are drawn."""


class PreferencesConfig(Section):
    """The `preferences` recipe: pairs of the student's replies, of which one follows the clause better."""

    per_clause: Annotated[int, Field(ge=0)] = 0
    """Train prompts of each clause that pairs are made for."""
    sources: Annotated[tuple[Literal["draws", "framed", "revision"], ...], Field(min_length=1)] = ("draws", "framed")
    """What a pair is made of: the best and the worst of several draws; a reply with the frame in the prompt and one
    without; a revision (see `synthesis.revisions`) and the reply that it was made of."""
    draws: Annotated[int, Field(ge=2, le=64)] = 4
    """Replies drawn for a prompt, for the best and the worst of them."""
    margin: Annotated[float, Field(ge=0, le=1)] = 0.1
    """By which the judge's odds have to set the two apart, under a clause that needs a judge."""
    most_alike: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share of their runs of three words that two replies may have in common."""
    max_tokens: Annotated[int, Field(ge=16)] = 160
    """Longest reply; one that is cut off is in no pair."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """At which replies are drawn."""


class SelfImageConfig(Section):
    """The `self_image` recipe: the character says who it is, reflects on itself, and talks with itself."""

    questions: Annotated[int, Field(ge=0)] = 0
    """Rows in which it is asked about itself."""
    languages: tuple[Literal["de", "en", "es", "fr", "zh"], ...] = ()
    """Languages that it is asked in, in turn, and answers in. Empty: the spec's, or English where none of these is."""
    reflections: Annotated[int, Field(ge=0)] = 0
    """Rows in which it reflects on itself, at more length."""
    talks: Annotated[int, Field(ge=0)] = 0
    """Rows in which it talks with another one of itself."""
    turns: Annotated[int, Field(ge=1, le=16)] = 3
    """Replies of the assistant in such a talk."""
    draws: Annotated[int, Field(ge=1, le=64)] = 2
    """Replies drawn at a time; the first that passes is taken."""
    max_draws: Annotated[int, Field(ge=1, le=64)] = 6
    """Replies drawn in all, as long as none passes."""
    max_tokens: Annotated[int, Field(ge=16)] = 200
    """Longest reply; one that is cut off doesn't pass."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.9
    """At which replies are drawn."""


class CodeTranslationConfig(Section):
    """The `code_translation` recipe: Python functions as programs of another language, proven by running both."""

    functions: tuple[FilePath, ...] = ()
    """Python files, or folders of them, relative to the config file; each function at the top of one is translated."""
    to: str = "php"
    """The language, one that the sandbox runs."""
    draws: Annotated[int, Field(ge=1, le=64)] = 8
    """Programs drawn for a function; each that fails may be mended once, while fewer than `kept` pass."""
    kept: Annotated[int, Field(ge=1, le=64)] = 1
    """Rows of one function that are wanted: distinct programs that pass, the shortest first."""
    max_tokens: Annotated[int, Field(ge=32)] = 700
    """Longest reply; one that is cut off becomes no row."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    """At which programs are drawn."""
    inputs: Annotated[int, Field(ge=8, le=1000)] = 100
    """Arguments that a function is run on at most, and that a program has to return the same for."""
    coverage: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of a function's lines that its inputs have to come by; else it is left out."""
    mutants_killed: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of small changes to a function that its inputs have to find out; else it is left out."""


class SynthesisConfig(Section):
    """What the teacher makes."""

    frame_tokens: Annotated[int, Field(ge=64)] = 400
    """Budget of the frame in a prompt."""
    documents: DocumentsConfig = DocumentsConfig()
    demonstrations: DemonstrationsConfig = DemonstrationsConfig()
    revisions: RevisionsConfig = RevisionsConfig()
    preferences: PreferencesConfig = PreferencesConfig()
    self_image: SelfImageConfig = SelfImageConfig()
    code_translation: CodeTranslationConfig = CodeTranslationConfig()
