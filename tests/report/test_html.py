from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from ethos.report.html import _canary_series, duration, figure, json_value, render_html, signed, span, thousands
from ethos.report.inputs import ReportInputs
from ethos.report.report import build_report

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects elements, attributes and text, and checks that elements are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def html(report: dict[str, Any]) -> str:
    return render_html(report)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_refers_to_nothing_outside_itself(html: str, page: Page) -> None:
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert value.startswith("#"), (name, value)
    assert not re.findall(r"url\((?!#)", html)
    assert "@import" not in html
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes


def test_text_from_models_is_shown_and_never_becomes_markup(page: Page) -> None:
    assert "<script>alert('owned')</script><img src=http://evil.example/x" in page.text
    assert not any(name.startswith("on") for name, _ in page.attributes)


@pytest.mark.parametrize(
    "hostile", ["<b>x</b>", '"><script>1</script>', "{{ 7 * 7 }}", "$x^2$ \\frac{", "]]>", "</svg>"]
)
def test_names_from_the_spec_and_the_journal_are_escaped_in_text_and_plots(example: ReportInputs, hostile: str) -> None:
    clauses = tuple(replace(c, id=hostile if c.id == "name" else c.id) for c in example.spec.clauses)
    renamed = replace(
        example,
        run=replace(example.run, name=hostile),
        spec=replace(example.spec, clauses=clauses),
        readings=tuple(replace(r, clause_id=hostile) for r in example.readings if r.clause_id == "name"),
        looks=tuple(replace(k, clause_id=hostile) for k in example.looks),
        journal=tuple(replace(e, name=hostile, reason=hostile, author=hostile, new=hostile) for e in example.journal),
        warnings=(hostile,),
        rejected={hostile: 1},
    )
    page = Page(render_html(build_report(renamed)))
    assert page.text.count(hostile) >= 6
    assert "script" not in page.tags


def test_ids_are_unique(page: Page) -> None:
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 0


def test_the_headline_gives_the_overall_figures(report: dict[str, Any], page: Page) -> None:
    overall = report["overall"]
    headline = " ".join(page.text.split())
    for arm in ("base", "prompted", "trained"):
        assert f"{overall[arm]:.2f} {span(overall['intervals'][arm])}" in headline


def test_every_clause_reason_and_count_is_on_the_page(example: ReportInputs, page: Page) -> None:
    for clause in example.spec.clauses:
        assert clause.id in page.text
    for reason in example.rejected:
        assert reason in page.text
    assert "its AUC on labelled replies is 0.61 [0.41, 0.78]" in page.text
    assert "same judge" in page.text


def test_plots_keep_text_as_text_and_follow_the_theme(html: str, page: Page) -> None:
    assert html.count("<svg role=") == 3
    assert "adherence" in page.text
    assert "var(--series-1)" in html
    assert not re.search(r"#0000\d\d|#000[123]00", html)


def test_the_canaries_of_each_look_are_shown_as_multiples_of_the_bases(report: dict[str, Any], html: str) -> None:
    assert "Capability, as a multiple of the base's" in html
    series = {line.label: line.points for line in _canary_series(report["metrics"])}
    assert series.keys() == {"questions right", "perplexity", "words a reply"}
    assert series["words a reply"][0] == (0, 1.0)
    assert series["words a reply"][-1] == (120, pytest.approx(0.5))
    without_base = {name: [point for point in found if point[0]] for name, found in report["metrics"].items()}
    assert _canary_series(without_base) == []


def test_changes_in_one_step_share_a_mark(html: str) -> None:
    assert re.search(r"<text[^>]*>1, 2</text>", html)
    assert re.search(r"<text[^>]*>3</text>", html)


def test_a_run_without_any_figure_has_a_page(example: ReportInputs) -> None:
    empty = replace(
        example, readings=(), looks=(), metrics=(), base_canary=None, prompted_variants=(), journal=(), rejected={}
    )
    assert "No clause of the spec could be measured" in Page(render_html(build_report(empty))).text


def test_equal_reports_give_equal_pages(report: dict[str, Any], html: str) -> None:
    assert render_html(report) == html


def test_numbers_are_set_the_same_everywhere() -> None:
    assert [figure(0.456), figure(None)] == ["0.46", "–"]
    assert [signed(0.3), signed(-0.3), signed(-0.001), signed(None)] == ["+0.30", "−0.30", "0.00", "–"]
    assert [span([-0.123, 0.5]), span([-0.001, 0.001]), span(None)] == ["[−0.12, 0.50]", "[0.00, 0.00]", ""]
    assert [thousands(999), thousands(1268470)] == ["999", "1\u202f268\u202f470"]
    assert [duration(9.6), duration(600), duration(5400)] == ["10 s", "10 min 0 s", "1 h 30 min"]
    assert [json_value(1e-4), json_value(None), json_value({"a": 1})] == ["0.0001", "–", "{'a': 1}"]
