import pytest

from ethos.errors import EthosError
from ethos.store.config.knobs import Knobs
from ethos.store.knobs import apply_change, knob_table, knob_value, knob_values, parse_change


def test_a_change_is_read_as_it_is_typed() -> None:
    assert parse_change("lr=1e-4") == ("lr", 1e-4)
    assert parse_change(" mixture.documents = 0.5 ") == ("mixture.documents", 0.5)
    path, value = parse_change("batch_rows=16")
    assert (path, value, type(value)) == ("batch_rows", 16, int)


@pytest.mark.parametrize("text", ["lr", "lr=", "=1", ""])
def test_what_is_no_change_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(EthosError, match="NAME=VALUE"):
        parse_change(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_rows=8.5", "batch_rows can't be 8.5; give a whole number from 1 to 4096"),
        ("lr=fast", "lr can't be fast; give a number from 0 to 0.01"),
        ("learning_rate=1", "there is no knob named learning_rate"),
        ("mixture.document=1", "did you mean mixture.documents?"),
        ("mixture=1", "no knob named mixture"),
    ],
)
def test_a_wrong_name_or_type_is_refused_with_the_mend(text: str, message: str) -> None:
    with pytest.raises(EthosError) as refused:
        parse_change(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("lr", 3.0, "from 0 to 0.01"),
        ("lr", -1e-9, "from 0 to 0.01"),
        ("lr", float("nan"), "from 0 to 0.01"),
        ("clip", 0.0, "above 0 and up to"),
        ("mixture.documents", float("inf"), "from 0 to 10"),
        ("batch_rows", 0, "a whole number from 1 to 4096"),
        ("batch_rows", 2.0, "a whole number"),
        ("batch_rows", True, "a whole number"),
        ("lr", "1e-4", "a number"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_what_is_allowed(path: str, value: object, allowed: str) -> None:
    with pytest.raises(EthosError) as refused:
        apply_change(Knobs(), path, value)  # type: ignore[arg-type]
    assert path in str(refused.value)
    assert str(value) in str(refused.value)
    assert allowed in str(refused.value)


def test_a_change_touches_its_knob_alone() -> None:
    changed = apply_change(Knobs(), "mixture.documents", 0.5)
    assert changed.mixture.documents == 0.5
    assert changed == Knobs(mixture=Knobs().mixture.model_copy(update={"documents": 0.5}))
    assert apply_change(changed, "lr", 0).lr == 0


def test_a_change_to_the_same_value_is_refused() -> None:
    with pytest.raises(EthosError, match="already, so there is nothing"):
        apply_change(Knobs(), "lr", 1e-4)


def test_the_table_has_every_knob_with_its_bounds_and_meaning() -> None:
    table = {knob.path: knob for knob in knob_table()}
    assert {"lr", "taste_prompts", "mixture.documents", "mixture.demonstrations"} <= table.keys()
    assert all(knob.meaning for knob in table.values())
    assert all(knob.contains(knob.default) for knob in table.values())
    own = [path for path in table if not path.endswith(".NAME")]
    assert all(knob_value(Knobs(), path) == table[path].default for path in own)
    assert list(knob_values(Knobs())) == own
    assert table["rewards.weights.NAME"].bounds == "a number from 0 to 100"
    assert table["taste_prompts"].live == "next-sample"
    assert table["clip"].minimum_excluded


def test_a_weight_that_a_run_names_is_a_knob() -> None:
    knobs = Knobs.model_validate({"rewards": {"weights": {"brief": 1.0, "right": 2.0}}})
    assert parse_change("rewards.weights.brief=0.5") == ("rewards.weights.brief", 0.5)
    changed = apply_change(knobs, "rewards.weights.brief", 0.5)
    assert knob_value(changed, "rewards.weights.brief") == 0.5
    assert knob_value(changed, "rewards.weights.right") == 2.0
    assert list(knob_values(changed))[-1] == "rewards.kl_coefficient"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rewards.weights.kind", 1.0, "no knob named rewards.weights.kind; of these there are: rewards.weights.brief"),
        ("rewards.weights.brief", 101.0, "out of its bounds; give a number from 0 to 100"),
        ("rewards.weights.NAME", 1.0, "no knob named rewards.weights.NAME"),
    ],
)
def test_a_weight_that_it_doesnt_name_is_none(path: str, value: float, message: str) -> None:
    knobs = Knobs.model_validate({"rewards": {"weights": {"brief": 1.0}}})
    with pytest.raises(EthosError, match=message):
        apply_change(knobs, path, value)
