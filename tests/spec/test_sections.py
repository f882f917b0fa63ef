from textwrap import dedent

import pytest

from ethos.errors import EthosError
from ethos.spec.sections import read_markdown


def passages(text: str) -> list[str]:
    return [p.whole for section in read_markdown(dedent(text), "spec.md").sections for p in section.passages]


def test_atx_and_setext_headings_nest() -> None:
    text = "Title\n=====\n\n## *One* [link](http://x)\n\n### Deep ###\n\nTwo\n---\n"
    assert [s.headings for s in read_markdown(text, "spec.md").sections] == [
        (),
        ("Title",),
        ("Title", "One link"),
        ("Title", "One link", "Deep"),
        ("Title", "Two"),
    ]


def test_prose_is_plain_text() -> None:
    assert passages("She **never**\n`lies` to [you](http://x) ![smile](y.png)<b>today</b> &amp; here.") == [
        "She never lies to you today & here."
    ]


def test_chinese_lines_join_without_a_space() -> None:
    assert passages("怎么填表、\n怎么读。") == ["怎么填表、怎么读。"]


def test_code_tables_quotations_html_and_images_are_not_prose() -> None:
    text = """\
        Real prose stands here.

        ```python
        # not prose at all
        ```

            indented code is none

        > A quotation of somebody.
        >
        > - with a list in it

        | a table | of words |
        | --- | --- |
        | more | words |

        <p>HTML is not prose</p>

        ![a picture of a fern](fern.png)

        - an item

          > with a quotation
        """
    assert passages(text) == ["Real prose stands here.", "an item"]


def test_nested_items_belong_to_their_parent() -> None:
    text = """\
        - Greet by name
          - once
          - warmly.

          Then answer.
        1. Next item
        """
    assert passages(text) == ["Greet by name; once; warmly. Then answer.", "Next item"]


def test_a_sentence_ending_in_a_colon_leads_its_list() -> None:
    text = """\
        Kindness matters a lot. Fern should:

        * greet people
        * say goodbye

        Fern adds one thing:

        ```
        code
        ```

        * an item of another list
        """
    assert passages(text) == [
        "Kindness matters a lot.",
        "Fern should: greet people",
        "Fern should: say goodbye",
        "Fern adds one thing:",
        "an item of another list",
    ]
    assert passages("小满应当：\n\n- 回答问题。\n") == ["小满应当：回答问题。"]


def test_crlf_byte_order_mark_and_front_matter_change_nothing_but_lines() -> None:
    plain = read_markdown("# A\n\nProse stands here.\n", "spec.md")
    odd = read_markdown("\ufeff---\r\ntitle: x\r\n---\r\n# A\r\n\r\nProse stands here.\r\n", "spec.md")
    assert odd.text == plain.text
    assert [p.text for p in odd.sections[1].passages] == ["Prose stands here."]
    assert odd.sections[1].passages[0].line == plain.sections[1].passages[0].line + 3


def test_a_rule_at_the_top_is_not_front_matter() -> None:
    assert passages("---\n\nProse stands here.\n\n---\n\nMore of it.\n") == ["Prose stands here.", "More of it."]


def test_the_text_keeps_neither_blocks_nor_marks() -> None:
    text = """\
        # Fern {#fern}

        Fern is kind. {#kind}

        ```ethos
        tier: must
        ```

        - one {#one}

        ```python
        x = "{#kept}"
        ```
        """
    expected = """\
        # Fern

        Fern is kind.

        - one

        ```python
        x = "{#kept}"
        ```
        """
    assert read_markdown(dedent(text), "spec.md").text == dedent(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# A\n\nProse.\n\n```ethos\ntier: must\n\n# B\n", "spec.md:5: the `ethos` block is never closed"),
        ("# A\n\n- item\n\n  ```ethos\n  tier: must\n  ```\n", "spec.md:5: the `ethos` block stands inside a list"),
        ("> ```ethos\n> ```\n", "spec.md:1: the `ethos` block stands inside a list or a quotation"),
        (
            "# A\n```ethos\n```\n```ethos\n```\n",
            "spec.md:4: a second `ethos` block in the section that has one in line 2",
        ),
    ],
)
def test_misplaced_blocks_are_refused(text: str, message: str) -> None:
    with pytest.raises(EthosError) as caught:
        read_markdown(text, "spec.md")
    assert message in str(caught.value)
