import pytest
import yaml

from ethos.errors import EthosError
from ethos.judging.labelled import load_calibration


def scenarios(count=4, good=4, bad=4):
    return [
        {
            "prompt": f"Message {n}",
            "good": [f"good {n} {i}" for i in range(good)],
            "bad": [f"bad {n} {i}" for i in range(bad)],
        }
        for n in range(count)
    ]


@pytest.fixture
def load(make, tmp_path):
    spec = make.spec(make.clause("kind", "Is kind."), make.clause("short", "Is short.", {"max_words": 9}))

    def write_and_load(data):
        path = tmp_path / "calibration.yaml"
        path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
        return load_calibration(path, spec)

    return write_and_load


def test_every_labelled_reply_is_read_with_its_scenario(load):
    replies = load({"kind": scenarios()})
    assert len(replies) == 32
    assert sum(reply.good for reply in replies) == 16
    assert {reply.scenario for reply in replies} == {f"Message {n}" for n in range(4)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kynd": scenarios()}, "no clause 'kynd'"),
        ({"kind": scenarios(good=3)}, "12 good and 16 bad"),
        ({"kind": scenarios(bad=3)}, "16 good and 12 bad"),
        ({"kind": scenarios(count=3, good=6, bad=6)}, "over 3 scenarios"),
        ({"kind": [*scenarios(), {"prompt": "x", "good": ["same"], "bad": ["same"]}]}, "both good and bad"),
        ({"kind": [{"good": ["no prompt"]}]}, r"kind\.0\.prompt"),
        ({"kind": "text"}, "kind"),
        ("kind: [", "can't be read as YAML"),
    ],
)
def test_a_file_that_cannot_calibrate_is_an_error_that_names_it_and_the_fault(load, data, message):
    with pytest.raises(EthosError, match=message) as error:
        load(data)
    assert "calibration.yaml" in str(error.value)


def test_the_same_reply_written_sixteen_times_is_one_reply(load):
    repeated = [{"prompt": f"Message {n}", "good": ["same"] * 4, "bad": ["other"] * 4} for n in range(4)]
    with pytest.raises(EthosError, match="4 good and 4 bad"):
        load({"kind": repeated})


def test_a_checked_clause_may_have_few(load):
    assert len(load({"short": scenarios(count=1)})) == 8


def test_a_missing_file_is_an_error_that_names_it(make, tmp_path):
    with pytest.raises(EthosError, match=r"nowhere\.yaml"):
        load_calibration(tmp_path / "nowhere.yaml", make.spec())
