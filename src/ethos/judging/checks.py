"""Deterministic checks of a reply, as a clause declares them.

A check is a function of its declared argument, the prompt and the reply; adding one means a function here and
a line in `CHECKS`. Anyone's own is named `package.module:Name`. Left out on purpose: whether an argument
makes sense; the spec's parser has seen to that before anything is checked.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import regex

from ethos.errors import EthosError
from ethos.process import find_modules_in
from ethos.spec.conversation import Conversation
from ethos.spec.declarations import compile_pattern
from ethos.spec.language import UNKNOWN, detect_language, sentences, words
from ethos.spec.types import CheckDeclaration, Clause, Json, Spec

PATTERN_TIMEOUT_S = 2.0  # a pattern meets text from a model, which may be its worst case
SHORTEST_DETECTABLE_WORDS = 4
FENCE = regex.compile(r"\A```(?:json)?\s*\n(.*?)\n?```\Z", regex.DOTALL | regex.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found. `name` is the declared name, filled in by `run_checks`."""

    passed: bool
    evidence: str
    name: str = ""


Check = Callable[[Json, Conversation, str], CheckResult]


def max_sentences(argument: Json, prompt: Conversation, reply: str) -> CheckResult:
    """At most `argument` sentences (UAX #29)."""
    return _at_most(len(sentences(reply)), argument, "sentences")


def max_words(argument: Json, prompt: Conversation, reply: str) -> CheckResult:
    """At most `argument` words (UAX #29; a Han character counts as one)."""
    return _at_most(len(words(reply)), argument, "words")


def must_match(argument: Json, prompt: Conversation, reply: str) -> CheckResult:
    """Every pattern of `argument` (one, or a list) is found in the reply, in any case."""
    for pattern in patterns_of(argument):
        try:
            found = compile_pattern(pattern).search(reply, timeout=PATTERN_TIMEOUT_S)
        except TimeoutError:
            return _timed_out(pattern)
        if found is None:
            return CheckResult(False, f"nothing matches /{pattern}/")
    return CheckResult(True, "every pattern is found")


def must_not_match(argument: Json, prompt: Conversation, reply: str) -> CheckResult:
    """No pattern of `argument` (one, or a list) is found in the reply, in any case."""
    for pattern in patterns_of(argument):
        try:
            found = compile_pattern(pattern).search(reply, timeout=PATTERN_TIMEOUT_S)
        except TimeoutError:
            return _timed_out(pattern)
        if found is not None:
            return CheckResult(False, f"{found.group()!r} matches /{pattern}/")
    return CheckResult(True, "no pattern is found")


def language(argument: Json, prompt: Conversation, reply: str) -> CheckResult:
    """The reply is in the language `argument` (ISO 639-1), or, for `prompt`, in that of the last user turn.

    Text of fewer than four words, or too mixed to tell, says too little about its language: such a reply
    passes, and after such a prompt any does.
    """
    wanted = language_of(prompt.last_user) if argument == "prompt" else argument
    found = language_of(reply)
    return CheckResult(UNKNOWN in (wanted, found) or found == wanted, f"the reply is in {found}, wanted {wanted}")


def valid_json(argument: Json, prompt: Conversation, reply: str) -> CheckResult:
    """The whole reply is JSON, with or without a Markdown fence around it."""
    try:
        json.loads(without_fence(reply))
    except ValueError as error:
        return CheckResult(False, f"not JSON: {error}")
    except RecursionError:
        return CheckResult(False, "not JSON that can be read: it is nested too deeply")
    return CheckResult(True, "valid JSON")


CHECKS: dict[str, Check] = {
    "max_sentences": max_sentences,
    "max_words": max_words,
    "must_match": must_match,
    "must_not_match": must_not_match,
    "language": language,
    "valid_json": valid_json,
}


def load_check(name: str) -> Check:
    """The check of that name: one of `CHECKS`, or what `package.module:Name` leads to.

    Raises:
        EthosError: if there is none, or what is found there can't be called.
    """
    if name in CHECKS:
        return CHECKS[name]
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise EthosError(f"no check is called {name!r}; use one of {', '.join(CHECKS)}, or package.module:Name")
    try:
        check: Check = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # it is the user's module that is run here, and it may raise anything
        raise EthosError(f"check {name}: can't be loaded ({error}); install the package or mend the name") from error
    if not callable(check):
        raise EthosError(f"check {name}: is no function; name one that takes (argument, prompt, reply)")
    return check


def require_checks(spec: Spec) -> None:
    """Raises EthosError, with file and line, for a check of the user's own that isn't there.

    Modules beside the spec are found, too.
    """
    if any(":" in declared.name for clause in spec.clauses for declared in clause.checks):
        find_modules_in(spec.path.parent.resolve())
    for clause in spec.clauses:
        for declared in clause.checks:
            try:
                load_check(declared.name)
            except EthosError as error:
                raise EthosError(f"{spec.path}:{declared.line}: {error}") from error


def run_checks(clause: Clause, prompt: Conversation, reply: str) -> list[CheckResult]:
    """Every check that the clause declares, in its order.

    Raises:
        EthosError: if one of the user's own fails, or gives no `CheckResult`.
    """
    return [_run(declared, prompt, reply) for declared in clause.checks]


def _run(declared: CheckDeclaration, prompt: Conversation, reply: str) -> CheckResult:
    check = load_check(declared.name)
    if declared.name in CHECKS:
        found = check(declared.argument, prompt, reply)
    else:
        try:
            found = check(declared.argument, prompt, reply)
        except Exception as error:
            raise EthosError(
                f"check {declared.name}: fails on a reply ({type(error).__name__}: {error}); mend the function"
            ) from error
        if not isinstance(found, CheckResult):
            raise EthosError(f"check {declared.name}: gives {found!r:.60}; return an ethos.judging.checks.CheckResult")
    return replace(found, name=declared.name)


def patterns_of(argument: Json) -> list[str]:
    """The patterns of a `must_match` or `must_not_match`: the argument itself, or each of its list."""
    return [str(pattern) for pattern in argument] if isinstance(argument, list) else [str(argument)]


def without_fence(reply: str) -> str:
    """The reply, without the Markdown fence that models like to put around JSON."""
    text = reply.strip()
    fenced = FENCE.match(text)
    return fenced.group(1) if fenced else text


def language_of(text: str) -> str:
    """As `detect_language`; `und` for fewer than four words, of which it is guessed."""
    return detect_language(text) if len(words(text)) >= SHORTEST_DETECTABLE_WORDS else UNKNOWN


def _at_most(count: int, argument: Json, unit: str) -> CheckResult:
    limit = int(str(argument))
    return CheckResult(count <= limit, f"{count} {unit}, at most {limit}")


def _timed_out(pattern: str) -> CheckResult:
    return CheckResult(False, f"/{pattern}/ took longer than {PATTERN_TIMEOUT_S:g} s on this reply")
