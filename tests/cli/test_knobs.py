from tests.cli.conftest import Ethos

from ethos.store.knobs import knob_table


def test_every_knob_is_listed_with_bounds_liveness_and_meaning(ethos: Ethos) -> None:
    lines = ethos("knobs").out.splitlines()
    assert len(lines) == 1 + len(knob_table())
    for knob, line in zip(knob_table(), lines[1:], strict=True):
        assert line.startswith(f"{knob.path} ")
        assert knob.bounds in line
        assert ("next step" if knob.live == "live" else "next sample or look") in line
        assert knob.meaning.split()[-1] in line
