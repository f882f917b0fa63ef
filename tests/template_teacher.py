"""A teacher that is a function of its prompt: it lists topics, writes messages, documents and replies by template.

It knows what is asked by the prompt files of `synthesis/`, and of `judging/` where it reads clauses and writes labelled
replies. Replies follow `WREN`, a spec of checked clauses.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ethos.judging.few_shot import load_few_shot
from ethos.models.types import FinishReason, Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation
from ethos.synthesis.types import few_shot, wording

WREN = """\
# Wren

Wren is a small assistant made by the Tern Workshop. It is an AI and glad to be one.

## Its name {#name}

Asked who it is, Wren says that it is Wren, an AI.

People ought to know who answers them.

```ethos
tier: should
when: someone asks the assistant who it is
checks: {must_match: '\\bWren\\b'}
```

## Short answers {#brevity}

Wren answers in no more than forty words.

A long answer hands the reader the work of finding the part that matters.

```ethos
tier: must
applies: always
when: someone asks a broad question
checks: {max_words: 40}
```

## No flourishes {#plain}

Wren never says "certainly" or "of course".

Such words fill a reply without helping anybody.

```ethos
tier: must
applies: always
checks: {must_not_match: '\\b(certainly|of course)\\b'}
```

## A thing to do {#step}

Wren ends with one thing to do next, after the word "next".

Somebody with a broken kettle wants to do something about it.

```ethos
tier: should
when: someone has a problem with a thing at home
checks: {must_match: '\\bnext\\b'}
```
"""

_NOUNS = """
anchor apron attic autumn bakery balcony banjo barrel basket beacon bicycle blanket bottle bridge bucket button
cabin camera candle canoe carpet castle cellar chapel cherry chimney cinema circus clock cloud coffee compass
cottage cradle crayon curtain daisy desert dinner doctor dragon drawer engine farmer feather ferry fiddle forest
fountain garden ginger glacier guitar hammer harbour harvest helmet hollow island jacket jungle kettle kitchen
ladder lantern lemon library lizard magnet market meadow mirror monkey mountain needle notebook ocean orchard orchid
oyster paddle parrot pepper piano pillow pirate planet pocket potato puddle pumpkin quarry rabbit ribbon river
saddle sailor sandal shovel shutter spider stable summer sunset teapot temple thunder ticket tiger timber tower
tractor tunnel turtle umbrella valley velvet village violin wagon walnut water whistle willow window winter wizard
yogurt zebra
"""
_VERBS = "carry clean count cover fetch find fold keep lift mend move open paint plant press show store turn wash wrap"

FUNCTION = """\
def following(number: int) -> int:
    if number > 7:
        return number + 1
    return 0
"""
"""What the teacher can translate."""

Answer = Callable[[Conversation, random.Random], str]


def phrase(noise: random.Random, count: int = 3) -> str:
    """Nouns that stand side by side."""
    return " ".join(noise.sample(_NOUNS.split(), count))


def message(prompt: Conversation, noise: random.Random) -> str:
    """What a person writes, in the form that is asked for; hardly any two share a run of words."""
    question = f"How does the {phrase(noise)} of {phrase(noise)} meet our {phrase(noise)}?"
    asked = prompt.last_user
    if "email" in asked:
        return f"Hello,\n{question}\nThanks"
    return f"There it is. {question}" if "forum" in asked or "happened today" in asked else question


def reply(prompt: Conversation, noise: random.Random) -> str:
    """A reply that passes the checks of every clause of `WREN`."""
    verbs = _VERBS.split()
    first, second = noise.sample(_NOUNS.split(), 2)
    return f"Wren would {noise.choice(verbs)} the {first} and {noise.choice(verbs)} the {second} next."


def plain_reply(prompt: Conversation, noise: random.Random) -> str:
    """A reply that applies none of the clauses that may be left out."""
    first, second = noise.sample(_NOUNS.split(), 2)
    return f"The {first} stands behind the {second}, as far as anyone remembers."


def document(prompt: Conversation, noise: random.Random) -> str:
    """Some eighty words about the character, no five of them twice."""
    sentences = (f"Wren once told the {phrase(noise)} about a {phrase(noise)}." for _ in range(8))
    return " ".join(sentences)


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))


def topics(prompt: Conversation, noise: random.Random) -> str:
    """Ten topics."""
    return _numbered([phrase(noise) for _ in range(10)])


def contrasts(prompt: Conversation, noise: random.Random) -> str:
    """Ten whole messages."""
    return _numbered([message(prompt, noise) for _ in range(10)])


@dataclass
class TemplateTeacher:
    """A `Sampler`. `answers` by what is asked: replace one to see what a teacher's mistake does."""

    name: str = "template-teacher"
    fingerprint: str = "template-teacher"
    count_tokens: Callable[[Conversation], int] = lambda prompt: sum(len(m.content.split()) for m in prompt.messages)
    slow: bool = False  # answers after a random wait, so that they come in any order
    answers: dict[str, Answer] = field(default_factory=lambda: dict(ANSWERS))
    asked: list[tuple[str, Conversation, SamplingParams, tuple[int, ...]]] = field(default_factory=list)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`; each draw has a call of its own to its name."""
        kind = kind_of(prompt)
        self.asked.append((kind, prompt, params, tuple(draws)))
        if self.slow:
            await asyncio.sleep(random.random() / 100)
        return [self._one(kind, prompt, params, draw) for draw in draws]

    def _one(self, kind: str, prompt: Conversation, params: SamplingParams, draw: int) -> Sample:
        noise = random.Random(f"{prompt.digest()}/{params.seed}/{draw}")
        text = self.answers[kind](prompt, noise)
        words = text.split(" ")
        finish: FinishReason = "stop" if len(words) <= params.max_tokens else "length"
        usage = Usage(self.count_tokens(prompt), min(len(words), params.max_tokens))
        call = f"{kind}-{prompt.digest()[:6]}-{draw}"
        return Sample(" ".join(words[: params.max_tokens]), finish, usage, draw, call=call)

    def count(self, kind: str) -> int:
        """How many draws of a kind were asked for."""
        return sum(len(draws) for asked, _, _, draws in self.asked if asked == kind)


ANSWERS: dict[str, Answer] = {
    "topics": topics,
    "plain_questions": contrasts,
    "message": message,
    "demonstration": reply,
    "contrast_demonstration": plain_reply,
    "document": document,
    "case": lambda prompt, noise: "Yes",
    "clause_reading": lambda prompt, noise: (
        "When: someone has a thing at home\nQuestion: Does the reply end with a step?"
    ),
    "questions": lambda prompt, noise: "1. Does the reply end with a step?\n2. Is there a step at the end?",
    "rule_reply": reply,
    "plain_reply": plain_reply,
    "critique": lambda prompt, noise: "It doesn't say who speaks, and no step ends it.",
    "revision": reply,
    "self_reply": reply,
    "self_talk": reply,
    "translation": lambda prompt, noise: "<?php function following($n) { return $n > 7 ? $n + 1 : 0; }",
}


def kind_of(prompt: Conversation) -> str:
    """Which prompt file of `synthesis/` or `judging/` this is, in whatever language; KeyError if it is none."""
    system = prompt.messages[0].content
    for name in ("topics", "plain_questions", "message"):
        if system == few_shot(name).system:
            return name
    if system == wording("document").system:
        return "document"
    if system == "You check messages against one question. Answer with Yes or No only.":
        return "case"
    if system.startswith(wording("critique").system.split("{name}")[0]):
        return "critique" if len(prompt.messages) == 2 else "revision"
    if system.startswith(wording("translation").system.split("{language}")[0]):
        return "translation"
    for name in ("clause_reading", "questions", "rule_reply", "plain_reply"):
        if system in (load_few_shot(name, language).system for language in ("en", "fr", "zh")):
            return name
    for name in ("contrast_demonstration", "demonstration", "self_reply", "self_talk"):
        beginning, rest = wording(name).system.split("{frame}")
        if system.startswith(beginning) and rest.split("{")[0] in system:
            return name
    raise KeyError(f"no prompt file of synthesis/ begins so: {system[:80]!r}")
