from ethos.cli.output import columns, indented
from ethos.progress import harmless


def test_columns_are_aligned_and_the_last_is_left_as_it_is() -> None:
    assert columns([("knob", "now", "meaning"), ("lr", "0.0001", "rate"), ("clip", "1", "")]) == (
        "knob  now     meaning\nlr    0.0001  rate\nclip  1"
    )


def test_text_of_others_cannot_command_the_terminal() -> None:
    assert harmless("a\x1b]0;title\x07b\r\x9b2J\tc\nd é 好") == "a]0;titleb2J\tc\nd é 好"


def test_a_block_is_indented_and_harmless() -> None:
    assert indented("one\n\ntwo\x1b[2J") == "    one\n    \n    two[2J"
