from textwrap import dedent

import pytest

from ethos.errors import EthosError
from ethos.spec.declarations import compile_pattern, read_block
from ethos.spec.types import Example

_NESTED_ALIASES = "\n".join(["l0: &l0 [x]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))])


def error_of(block: str) -> str:
    with pytest.raises(EthosError) as caught:
        read_block(dedent(block), "spec.md", 10)
    return str(caught.value)


def test_every_field_is_read() -> None:
    block = """\
        id: brief
        tier: must
        over: [tone, detail]
        checks:
          max_sentences: 3
          must_match: ['\\d+', 'litre']
          language: prompt
          valid_json: true
        ask: Is the reply short?
        good: Yes.
        bad:
          - A long one.
          - 'Another: long one.'
        contexts: [email]
        applies: always
        when: at any time
        """
    declared = read_block(dedent(block), "spec.md", 10)
    assert (declared.id, declared.tier, declared.over) == ("brief", "must", ("tone", "detail"))
    assert [(c.name, c.argument, c.line) for c in declared.checks] == [
        ("max_sentences", 3, 15),
        ("must_match", ["\\d+", "litre"], 16),
        ("language", "prompt", 17),
        ("valid_json", True, 18),
    ]
    assert declared.ask == "Is the reply short?"
    assert declared.good == (Example("Yes."),)
    assert declared.bad == (Example("A long one."), Example("Another: long one."))
    assert (declared.contexts, declared.applies, declared.when) == (("email",), "always", "at any time")


def test_a_reply_may_come_with_its_message() -> None:
    declared = read_block("good:\n  - message: Hi!\n    reply: Hello.\n  - Yes.\n", "spec.md", 10)
    assert declared.good == (Example("Hello.", "Hi!"), Example("Yes."))


@pytest.mark.parametrize("item", ["{message: Hi}", "{reply: ''}", "3", "{message: Hi, reply: Yes., by: me}"])
def test_an_example_that_is_no_reply_is_refused(item: str) -> None:
    assert "`message` and `reply`" in error_of(f"bad: [{item}]") or "reply takes text" in error_of(f"bad: [{item}]")


def test_checks_may_be_a_list() -> None:
    declared = read_block("checks:\n  - max_words: 80\n  - must_not_match: sorry\n", "spec.md", 10)
    assert [(c.name, c.argument, c.line) for c in declared.checks] == [
        ("max_words", 80, 12),
        ("must_not_match", "sorry", 13),
    ]


def test_an_empty_block_declares_nothing() -> None:
    declared = read_block("", "spec.md", 10)
    assert (declared.tier, declared.checks, declared.applies) == ("should", (), "sometimes")


def test_patterns_match_anywhere_in_any_case() -> None:
    assert compile_pattern("je ne sais").search("Hélas, JE NE SAIS pas.")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("teir: must", "spec.md:11: 'teir' is not a field of an `ethos` block; did you mean 'tier'?"),
        ("2: must", "spec.md:11: '2' is not a field"),
        ("tier: always", "spec.md:11: tier is 'always'; write one of must, should, default"),
        ("id: two words", "spec.md:11: id 'two words' is not an id"),
        ("id: 7", "spec.md:11: id takes text, not 7"),
        ("ask: ''", "spec.md:11: ask takes text, not ''"),
        ("good: [1, 2]", "spec.md:11: good takes replies, not 1; write each in quotes"),
        ("tier: must\nask: a?\ntier: should", "spec.md:13: tier is given twice, first in line 11"),
        ("- tier", "spec.md:10: the `ethos` block holds no fields"),
        ("tier: must\nask: is it: short?", "spec.md:12: the `ethos` block is not valid YAML"),
        ("when: 2024-13-45", "spec.md:10: the `ethos` block is not valid YAML"),
        ("ask: \x01", "the `ethos` block is not valid YAML"),
        ("checks:\n  max_word: 3", "spec.md:12: there is no check 'max_word'; did you mean 'max_words'?"),
        ("checks:\n  politeness: 3", "there is no check 'politeness'; use one of max_sentences, max_words,"),
        ("checks:\n  max_words: 3\n  max_words: 4", "spec.md:13: check max_words is given twice, first in line 12"),
        ("checks: 3", "spec.md:11: checks takes a mapping from check to argument, not 3"),
        ("checks:\n  max_words: many", "spec.md:12: max_words takes a whole number of at least 1, not 'many'"),
        ("checks:\n  max_sentences: 0", "max_sentences takes a whole number of at least 1, not 0"),
        ("checks:\n  max_sentences: yes", "max_sentences takes a whole number of at least 1, not True"),
        ("checks:\n  must_match: '(a'", "spec.md:12: must_match: bad pattern '(a' (missing ) at position 2); mend the"),
        ("checks:\n  must_not_match: ['a', '']", "must_not_match takes a pattern or a list of patterns, not ''"),
        ("checks:\n  must_match: []", "must_match takes a pattern or a list of patterns, not []"),
        ("checks:\n  language: no", "language takes an ISO 639-1 code such as 'fr', or 'prompt'"),
        ("checks:\n  language: french", "language takes an ISO 639-1 code"),
        ("checks:\n  valid_json: false", "valid_json takes `true`, not False"),
        ("checks:\n  mine.checks:Since: 2024-01-05", "spec.md:12: mine.checks:Since takes text, numbers, lists and"),
        ("good: &a [*a]", "spec.md:10: the `ethos` block holds itself by an alias, or repeats"),
        (_NESTED_ALIASES, "spec.md:10: the `ethos` block holds itself by an alias, or repeats without end; write out"),
        ('when: "\\ud83d\\ude00"', "spec.md:10: the `ethos` block escapes a character by halves"),
    ],
)
def test_what_cant_be_used_is_named_with_its_line_and_mend(block: str, message: str) -> None:
    found = error_of(block)
    assert message in found
    assert "\n" not in found
