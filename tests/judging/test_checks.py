import sys

import pytest

from ethos.errors import EthosError
from ethos.judging.checks import CHECKS, load_check, require_checks, run_checks
from ethos.spec import declarations
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_text

ASKED = Conversation.user("How do I get to the harbour from here?")
OWN_CHECK = """
from ethos.judging.checks import CheckResult

def starts_with(argument, prompt, reply):
    return CheckResult(reply.startswith(argument), "looked at the first word")

def counts_mistakes(argument, prompt, reply):
    return reply.count("mistake") / 0

def says_so(argument, prompt, reply):
    return True
"""


@pytest.mark.parametrize(
    ("check", "passing", "failing"),
    [
        ({"max_sentences": 2}, "Go left. Then ask Dr. Hall.", "Go. Left. Now."),
        ({"max_sentences": 1}, "往左走。", "往左走。再问人。"),
        ({"max_words": 3}, "Go left now.", "Go left now, please."),
        ({"max_words": 4}, "往左走吧。", "请往左走吧。"),
        ({"must_match": r"\bharbour\b"}, "The HARBOUR is left.", "Go left."),
        ({"must_match": ["left", "right"]}, "Left, then right.", "Left, then left."),
        ({"must_not_match": "miles?"}, "Two kilometres.", "Two Miles."),
        ({"must_not_match": ["foot", "mile"]}, "Two kilometres.", "A mile."),
        ({"language": "fr"}, "Prenez à gauche après le pont.", "Turn left after the old bridge."),
        ({"language": "prompt"}, "Turn left after the old bridge.", "Prenez à gauche après le pont."),
        ({"valid_json": True}, '```json\n{"turn": "left"}\n```', "{turn: left}"),
        ({"valid_json": True}, '{"turn": "left"}', 'Here: {"turn": "left"}'),
    ],
)
def test_a_check_passes_what_it_asks_for_and_fails_the_rest(make, check, passing, failing):
    clause = make.clause("c", "…", check)
    assert run_checks(clause, ASKED, passing)[0].passed
    [failed] = run_checks(clause, ASKED, failing)
    assert not failed.passed
    assert failed.name == next(iter(check))
    assert failed.evidence


def test_a_short_reply_is_in_no_language(make):
    clause = make.clause("c", "…", {"language": "prompt"})
    assert run_checks(clause, ASKED, "Merci bien.")[0].passed


def test_a_pattern_that_would_hang_fails_with_its_evidence(make, monkeypatch):
    monkeypatch.setattr("ethos.judging.checks.PATTERN_TIMEOUT_S", 0.05)
    hostile = "a" * 60 + "!"
    for name in ("must_match", "must_not_match"):
        [result] = run_checks(make.clause("c", "…", {name: r"^(a|aa|a?)+b?$"}), ASKED, hostile)
        assert not result.passed
        assert "took longer" in result.evidence


def test_json_nested_too_deeply_to_read_fails(make):
    [result] = run_checks(make.clause("c", "…", {"valid_json": True}), ASKED, "[" * 100_000)
    assert not result.passed


@pytest.mark.parametrize("name", ["max_lines", "no.such.module:Check", "json:no_such_name", "json:__name__", ":Name"])
def test_an_unknown_check_is_an_error_that_names_it(name):
    with pytest.raises(EthosError, match=name):
        load_check(name)


def test_a_check_of_ones_own_is_loaded_by_its_path(make, tmp_path, monkeypatch):
    (tmp_path / "house_checks.py").write_text(OWN_CHECK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    clause = make.clause("c", "…", {"house_checks:starts_with": "Hello"})
    assert [run_checks(clause, ASKED, reply)[0].passed for reply in ("Hello!", "Good day.")] == [True, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("counts_mistakes", "fails on a reply .ZeroDivisionError: .*; mend the function"),
        ("says_so", "gives True; return an ethos.judging.checks.CheckResult"),
    ],
)
def test_a_check_of_ones_own_that_fails_is_named(make, tmp_path, monkeypatch, name, message):
    (tmp_path / "house_checks.py").write_text(OWN_CHECK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EthosError, match=f"check house_checks:{name}: {message}"):
        run_checks(make.clause("c", "…", {f"house_checks:{name}": "Hello"}), ASKED, "Hello!")


def test_a_module_of_ones_own_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "half_written.py").write_text("def starts_with(", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        EthosError, match=r"check half_written:starts_with: can't be loaded .*; install the package or mend"
    ):
        load_check("half_written:starts_with")


def test_a_spec_may_name_a_check_in_a_module_beside_it(tmp_path, monkeypatch):
    (tmp_path / "checks_beside_it.py").write_text(OWN_CHECK, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    block = "# A\n\n## Greeting\n\nIt greets.\n\n```ethos\nchecks:\n  {}: Hello\n```\n"
    spec = parse_text(block.format("checks_beside_it:starts_with"), "A", tmp_path / "spec.md")
    require_checks(spec)
    assert [run_checks(spec.clauses[0], ASKED, reply)[0].passed for reply in ("Hello!", "Good day.")] == [True, False]
    strange = parse_text(block.format("no_such_house:starts_with"), "A", tmp_path / "spec.md")
    with pytest.raises(EthosError, match=r"spec\.md:9: check no_such_house:starts_with: can't be loaded"):
        require_checks(strange)


def test_every_check_that_a_spec_may_declare_can_be_run():
    assert set(CHECKS) == set(declarations.CHECK_ARGUMENTS)
