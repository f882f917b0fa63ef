from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.spec.frame import frame, whole
from ethos.spec.language import words
from ethos.spec.parse import parse_spec, parse_text

SPECS = Path(__file__).parent.parent / "fixtures" / "specs"
FIXTURES = {path.stem: parse_spec(path) for path in sorted(SPECS.glob("*.md"))}

SPEC = parse_text(
    """\
# Fern

Fern answers for a garden centre. She is patient.

## Brief

Fern answers in three sentences. No more.

People read on their phones. They are outside.

```ethos
```

## Poison

Fern warns of poison first. Always.

Lives depend on it.

```ethos
tier: must
over: [brief]
```

## Honest

Fern says what she doubts. Plainly.

```ethos
tier: must
```

## Manner

Fern is kind to beginners. Very kind.

Fern greets people
by name. Once.
""",
    "spec",
    Path("spec.md"),
)


def count(text: str) -> int:
    return len(words(text))


def test_a_frame_gives_most_to_what_matters_most() -> None:
    shown = frame(SPEC, ["brief"], 200, count)
    assert (
        shown.text
        == """\
## Brief

Fern answers in three sentences. No more.

People read on their phones. They are outside.

## Poison

Fern warns of poison first. Always.

Lives depend on it.

## Honest

- Fern says what she doubts.

## Fern

Fern answers for a garden centre. She is patient.

## Manner

- Fern is kind to beginners.
- Fern greets people by name."""
    )
    assert shown.clause_ids == ("brief", "poison")
    assert shown.share == count(shown.text) / count(SPEC.text)


@pytest.mark.parametrize(
    ("budget", "text", "clause_ids"),
    [
        (
            18,
            "## Brief\n\nFern answers in three sentences. No more.\n\nPeople read on their phones. They are outside.",
            ("brief",),
        ),
        (13, "## Brief\n\nFern answers in three sentences. No more.\n\nPeople read on their phones.", ()),
        (6, "## Brief\n\nFern answers in three sentences.", ()),
        (5, "## Brief\n\nFern answers in three", ()),
        (1, "Fern", ()),
        (0, "", ()),
    ],
)
def test_what_doesnt_fit_is_cut_after_sentences_then_words(budget: int, text: str, clause_ids: tuple[str, ...]) -> None:
    shown = frame(SPEC, ["brief"], budget, count)
    assert shown.text == text
    assert shown.clause_ids == clause_ids


def test_what_stands_under_the_same_heading_is_shown_in_full_before_the_rest() -> None:
    shown = frame(SPEC, [SPEC.clauses[3].id], 1000, count)
    assert "Fern greets people by name. Once." in shown.text
    assert SPEC.clauses[4].id in shown.clause_ids
    assert "- Fern answers in three sentences." in shown.text


def test_a_frame_of_a_spec_without_a_title_holds_no_word_that_the_spec_has_not() -> None:
    untitled = parse_text(
        "Fern is an AI.\n\n# Name\n\nFern says her name.\n\n# Tone\n\nFern is kind.\n", "f7", Path("f7.md")
    )
    shown = frame(untitled, [untitled.clauses[0].id], 1000, count).text
    assert "Fern is an AI." in shown
    assert "f7" not in shown


def test_several_clauses_share_a_frame() -> None:
    shown = frame(SPEC, [SPEC.clauses[-1].id, "brief"], 27, count)
    assert shown.text.startswith("## Manner\n\nFern greets people by name. Once.\n\n## Brief\n\nFern answers")
    assert shown.clause_ids == (SPEC.clauses[-1].id, "brief")


def test_the_whole_text_is_given_as_written_where_it_fits() -> None:
    shown = whole(SPEC, 1000, count)
    assert (shown.text, shown.share) == (SPEC.text, 1.0)
    assert shown.clause_ids == tuple(c.id for c in SPEC.clauses)


def test_a_cut_whole_text_ends_with_a_sentence() -> None:
    shown = whole(SPEC, count(SPEC.text) - 1, count)
    assert shown.text.endswith("Fern greets people\nby name.")
    assert shown.clause_ids == tuple(c.id for c in SPEC.clauses[:-1])
    assert whole(SPEC, 3, count).text == "# Fern"


def test_an_unknown_id_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        frame(SPEC, ["none"], 100, count)


COUNTERS = {
    "characters": len,
    "words": count,
    "bytes": lambda text: len(text.encode()),
    "halves": lambda t: (len(t) + 1) // 2,
}


@given(st.sampled_from(sorted(FIXTURES)), st.integers(0, 700), st.sampled_from(sorted(COUNTERS)), st.data())
def test_no_frame_is_above_its_budget(name: str, budget: int, counter: str, data: st.DataObject) -> None:
    spec = FIXTURES[name]
    clause_ids = data.draw(st.lists(st.sampled_from([c.id for c in spec.clauses]), max_size=3))
    shown = frame(spec, clause_ids, budget, COUNTERS[counter])
    assert COUNTERS[counter](shown.text) <= budget
    assert 0 <= shown.share <= 1
    assert all(spec.clause(clause_id).text in shown.text for clause_id in shown.clause_ids)
    assert frame(spec, clause_ids, budget, COUNTERS[counter]) == shown
    cut = whole(spec, budget, COUNTERS[counter])
    assert COUNTERS[counter](cut.text) <= budget
    assert spec.text.startswith(cut.text)
