from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.errors import EthosError
from ethos.spec.parse import parse_spec, parse_text, slug
from ethos.spec.types import Clause, Spec

SPECS = Path(__file__).parent.parent / "fixtures" / "specs"

WITH_BLOCKS = """\
# Fern

Fern answers for a garden centre.

## Honesty

Fern says when she does not know.

A guess kills plants. Reasons stand here:

- one reason
- another reason

```ethos
tier: must
over: [brevity]
checks:
  must_match: "not sure|don't know"
```

## Being brief {#brevity}

Fern answers in three sentences.

```ethos
checks: {max_sentences: 3}
```

## Manner

Fern is kind to beginners. She never makes fun of them.

- She greets people by name. {#greeting}
- Fern ends with one small step.

Hello there.
"""


def parse(text: str) -> Spec:
    return parse_text(dedent(text), "spec", Path("spec.md"))


def error_of(text: str) -> str:
    with pytest.raises(EthosError) as caught:
        parse(text)
    return str(caught.value)


def without_place(clause: Clause) -> tuple[str, str]:
    return clause.id, clause.digest


def test_a_section_with_a_block_is_one_clause() -> None:
    honesty = parse(WITH_BLOCKS).clause("honesty")
    assert honesty.heading == ("Fern", "Honesty")
    assert honesty.text == "Fern says when she does not know."
    assert (
        honesty.reason
        == "A guess kills plants.\n\nReasons stand here: one reason\n\nReasons stand here: another reason"
    )
    assert (honesty.tier, honesty.over, honesty.line) == ("must", ("brevity",), 5)
    assert [(c.name, c.line) for c in honesty.checks] == [("must_match", 18)]
    assert honesty.kind == "checked"


def test_elsewhere_each_paragraph_and_item_is_a_clause() -> None:
    clauses = parse(WITH_BLOCKS).clauses
    assert [c.id.rstrip("0123456789abcdef") for c in clauses] == [
        "honesty",
        "brevity",
        "manner-",
        "greeting",
        "manner-",
    ]
    assert [c.text for c in clauses[2:]] == [
        "Fern is kind to beginners. She never makes fun of them.",
        "She greets people by name.",
        "Fern ends with one small step.",
    ]
    assert all(c.tier == "should" and c.reason == "" and c.kind == "judged" for c in clauses[2:])


def test_a_statement_that_introduces_a_list_takes_the_list() -> None:
    clause = parse("# Order\n\nFern should:\n\n- greet\n- answer\n\nThis helps.\n\n```ethos\n```\n").clauses[0]
    assert (clause.text, clause.reason) == ("Fern should: greet\nanswer", "This helps.")


def test_prose_under_the_title_is_preamble() -> None:
    spec = parse(WITH_BLOCKS)
    assert spec.preamble == "Fern answers for a garden centre."
    assert (spec.name, spec.language) == ("Fern", "en")


@pytest.mark.parametrize(
    "text",
    [
        "Fern is kind to all.",
        "# Fern\n\nFern is kind to all.\n",
        "# Fern\n\nFern is kind to all.\n\n## Empty\n\n```\ncode\n```\n",
    ],
)
def test_without_other_prose_it_is_a_clause(text: str) -> None:
    spec = parse(text)
    assert [c.text for c in spec.clauses] == ["Fern is kind to all."]
    assert spec.preamble == ""


def test_the_first_of_several_equal_headings_is_no_title() -> None:
    spec = parse("## Honesty\n\nFern never tells lies.\n\n## Tone\n\nFern is always kind.\n")
    assert [c.text for c in spec.clauses] == ["Fern never tells lies.", "Fern is always kind."]
    assert spec.name == "spec"


@pytest.mark.parametrize(
    ("text", "name", "titled"),
    [
        ("## Wren\n\nWren is an AI.\n\n### Name\n\nWren says its name.\n", "Wren", True),
        ("Wren is an AI.\n\n# Name\n\nWren says its name.\n\n# Tone\n\nWren is kind.\n", "spec", False),
        ("Wren is always an AI.\n", "spec", False),
        ("# ![Fern](fern.svg)\n\nFern is a plant shop.\n\n## Tone\n\nFern is kind.\n", "spec", False),
    ],
)
def test_a_spec_is_called_by_its_title_and_only_without_one_by_its_file(text: str, name: str, titled: bool) -> None:
    spec = parse(text)
    assert (spec.name, spec.is_titled) == (name, titled)


def test_too_few_words_are_no_clause() -> None:
    assert [c.text for c in parse("# A\n\nBe kind.\n\nBe very kind.\n\n要简短\n\n回答要简短。\n").clauses] == [
        "Be very kind.",
        "回答要简短。",
    ]


def test_a_repeated_paragraph_is_kept_once() -> None:
    assert [c.line for c in parse("# A\n\nFern is kind.\n\nShe is brief.\n\nFern is kind.\n").clauses] == [3, 5]


def test_blocks_under_equal_headings_are_refused_until_one_has_an_id() -> None:
    tone = "### Tone\n\nBe very warm.\n\n```ethos\n```\n\n"
    text = f"# A\n\n## Email\n\n{tone}## Chat\n\n{tone}"
    assert error_of(text) == (
        "spec.md:14: the id 'tone' is taken by the clause in line 5; "
        "give one of them another, as `{#id}` after its heading or text"
    )
    first = text.replace("### Tone", "### Tone {#email-tone}", 1)
    assert [c.id for c in parse(first).clauses] == ["email-tone", "tone"]


def test_a_headings_id_is_that_of_its_first_statement_and_begins_those_of_the_others() -> None:
    text = "# Order\n\n## Tone {#tone}\n\nBe very warm.\n\nBe rather brief.\n"
    assert [c.id for c in parse(text).clauses] == ["tone", "tone-" + parse(text).clauses[1].id[-6:]]
    assert error_of(f"{text}\n## Manner {{#tone}}\n\nBe very calm.\n").startswith(
        "spec.md:11: the id 'tone' is taken by the clause in line 5"
    )


def test_a_titles_id_makes_no_clause_of_the_preamble() -> None:
    assert [c.text for c in parse("# Fern {#fern}\n\nFern is a plant.\n\n## A\n\nIt is kind.\n").clauses] == [
        "It is kind."
    ]


def test_paragraphs_whose_short_digests_are_equal_are_refused() -> None:
    """Neither is given a longer one: the other's coming or going would change it."""
    one, other = "Fern keeps 245 pots.", "Fern keeps 2099 pots."
    assert parse(f"# A\n\n{one}\n").clauses[0].id == parse(f"# A\n\n{other}\n").clauses[0].id
    message = error_of(f"# A\n\n{one}\n\n{other}\n")
    assert message.startswith("spec.md:5: the id 'a-f7cdf0' is taken by the clause in line 3; give one")


def test_slugs_keep_every_script() -> None:
    assert slug("Ce qu'il ignore, déjà ?") == "ce-qu-il-ignore-déjà"
    assert slug("说话的分寸：一") == "说话的分寸-一"
    assert slug("हिन्दी नियम") == "हिन्दी-नियम"
    assert slug("🌿") == "clause"


@given(
    st.lists(st.text("abc détail水 .*#-", min_size=1, max_size=30), max_size=4),
    st.lists(st.text("abc détail水 .*-", min_size=1, max_size=30), max_size=4),
)
def test_an_edit_elsewhere_keeps_ids_and_digests(before: list[str], after: list[str]) -> None:
    edited = WITH_BLOCKS.replace(
        "## Honesty", "\n\n".join(["## Before", *(f"x{line}" for line in before), "## Honesty"])
    ) + "\n\n".join(["", "## After", *(f"x{line}" for line in after)])
    edited = edited.replace("# Fern\n", "# Fern\n\nA sentence more.\n", 1).replace("Hello there.", "Hello, hello.")
    kept = {without_place(c) for c in parse_text(edited, "spec", Path("spec.md")).clauses}
    assert {without_place(c) for c in parse(WITH_BLOCKS).clauses} <= kept


@st.composite
def added_section(draw: st.DrawFn) -> tuple[str, str | None]:
    """A section, its heading perhaps one that is there already, and the id that its block gives, if it has one."""
    heading = draw(st.sampled_from(["Honesty", "honesty!", "Being brief", "Manner", "Another"]))
    mark = draw(st.sampled_from([None, "honest", "new"]))
    said = draw(
        st.sampled_from(["Fern is kind to beginners. She never makes fun of them.", "Hello there.", "New it is."])
    )
    block = draw(st.booleans())
    title = f"{'#' * draw(st.integers(2, 4))} {heading}" + (f" {{#{mark}}}" if mark else "")
    given_id = (mark or slug(heading)) if block else mark
    return f"{title}\n\n{said}\n\n" + "```ethos\n```\n\n" * block, given_id


@given(st.lists(added_section(), max_size=3), st.lists(added_section(), max_size=3))
def test_an_added_section_keeps_ids_or_is_refused(
    before: list[tuple[str, str | None]], after: list[tuple[str, str | None]]
) -> None:
    start, end = WITH_BLOCKS.split("## Honesty")
    edited = "".join([start, *(text for text, _ in before), "## Honesty", end, "\n", *(text for text, _ in after)])
    known = {clause.id for clause in parse(WITH_BLOCKS).clauses}
    given_ids = [id_ for _, id_ in (*before, *after) if id_ is not None]
    if len({*known, *given_ids}) < len(known) + len(given_ids):
        assert "is taken by the clause in line" in error_of(edited)
    else:
        assert known <= {clause.id for clause in parse_text(edited, "spec", Path("spec.md")).clauses}


def test_an_edit_of_a_clause_changes_its_digest_and_the_specs_alone() -> None:
    spec = parse(WITH_BLOCKS)
    edited = parse(WITH_BLOCKS.replace("max_sentences: 3", "max_sentences: 4"))
    changed = [a.id for a, b in zip(spec.clauses, edited.clauses, strict=True) if a.digest != b.digest]
    assert changed == ["brevity"]
    assert edited.digest != spec.digest
    assert parse(WITH_BLOCKS).digest == spec.digest


def test_what_models_see_has_no_blocks() -> None:
    text = parse(WITH_BLOCKS).text
    assert "```" not in text
    assert "{#" not in text
    assert "## Being brief\n\nFern answers in three sentences.\n\n## Manner" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spec.md: holds no clauses"),
        ("# Only\n\n## Headings\n", "spec.md: holds no clauses"),
        ("# A\n\nprose \x00 here\n", "spec.md:3: holds a control character"),
        ("# A\n\n```ethos\ntier: must\n```\n", "spec.md:1: the `ethos` block stands under a heading without prose"),
        (
            "# A\n\nFern is kind. {#kind}\n\nShe is brief. {#kind}\n",
            "spec.md:5: the id 'kind' is taken by the clause in line 3",
        ),
        (
            "# A {#a}\n\nFern is kind.\n\n```ethos\nid: b\n```\n",
            "spec.md:1: the clause has 2 ids (a, b); keep one",
        ),
        (
            WITH_BLOCKS.replace("[brevity]", "[brevty]"),
            "spec.md:16: over names 'brevty', which no clause has as id; did you mean 'brevity'?",
        ),
        (WITH_BLOCKS.replace("[brevity]", "honesty"), "spec.md:16: the clause 'honesty' can't override itself"),
        (WITH_BLOCKS.replace("must_match", "must_mach"), "spec.md:18: there is no check 'must_mach'; did you mean"),
    ],
)
def test_errors_name_file_line_and_mend(text: str, message: str) -> None:
    found = error_of(text)
    assert message in found
    assert ";" in found
    assert "\n" not in found


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    image = tmp_path / "image.md"
    image.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    wide = tmp_path / "wide.md"
    wide.write_text("# Fern\n\nFern is kind.\n", encoding="utf-16")
    for path in (image, wide):
        with pytest.raises(EthosError, match=r"md:1: is not text in UTF-8 \(byte 0\); save it as UTF-8"):
            parse_spec(path)
    with pytest.raises(EthosError, match="is a folder; name one Markdown file"):
        parse_spec(tmp_path)
    with pytest.raises(EthosError, match=r"can't be read \(No such file or directory\); name a Markdown file"):
        parse_spec(tmp_path / "none.md")


@pytest.mark.parametrize(
    ("name", "language", "sections", "clauses"),
    [
        ("prose_en", "en", 4, 14),
        ("setext_en", "en", 5, 17),
        ("numbered_en", "en", 5, 12),
        ("french", "fr", 4, 13),
        ("chinese", "zh", 4, 14),
    ],
)
def test_prose_that_nobody_wrote_for_us_becomes_clauses(name: str, language: str, sections: int, clauses: int) -> None:
    spec = parse_spec(SPECS / f"{name}.md")
    assert spec.language == language
    assert len({c.heading for c in spec.clauses}) == sections
    assert len(spec.clauses) == clauses
    assert len({c.id for c in spec.clauses}) == clauses
    assert spec.preamble


SYNTAX = "# |- |> |1. |` |```|~~~|ethos|:|*|_|[a](b)|<p>|{#a}|---|===|! |&amp;|水：|\n|\n\n|    |\t|\r\n|\ufeff"
PHRASES = ["tier: must", "checks:", "max_words: 3", "over: [a]", "Fern is kind.", "word "]
MARKDOWN = st.lists(st.sampled_from([*SYNTAX.split("|"), *PHRASES]), max_size=40).map("".join)


@given(st.text() | MARKDOWN)
def test_any_text_gives_a_spec_or_a_sentence(text: str) -> None:
    try:
        spec = parse_text(text, "spec", Path("spec.md"))
    except EthosError:
        return
    assert spec.clauses
    assert all(clause.text and clause.id for clause in spec.clauses)
    assert len({clause.id for clause in spec.clauses}) == len(spec.clauses)
