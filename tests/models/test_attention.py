from __future__ import annotations

import pytest
import torch

from ethos.models.architecture import CausalForward
from ethos.models.attention import ExtendAttention, KeyValueSlots, PackedAttention, StepAttention, whole_spans
from ethos.models.causal_attention import SHORT_TOKENS, causal_attention
from models import tiny

CPU = torch.device("cpu")


def some_tokens(length: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 300, (length,), generator=torch.Generator().manual_seed(seed))


def packed_logits(forward: CausalForward, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    lengths = [len(row) for row in rows]
    positions = torch.cat([torch.arange(n) for n in lengths])
    return list(
        forward.logits(forward.hidden(torch.cat(rows), positions, PackedAttention(whole_spans(lengths), CPU))).split(
            lengths
        )
    )


@pytest.mark.parametrize("lengths", [[5], [9, 9, 9], [1, 17, 4], [30, 2]])
@torch.no_grad()
def test_packed_rows_are_computed_as_if_alone(lengths: list[int]) -> None:
    forward = CausalForward(tiny.model())
    rows = [some_tokens(n, seed) for seed, n in enumerate(lengths)]
    for row, logits in zip(rows, packed_logits(forward, rows), strict=True):
        torch.testing.assert_close(logits, packed_logits(forward, [row])[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [[9, 9, 9], [6, 17, 4]])
@torch.no_grad()
def test_no_token_of_one_row_sees_another_row(lengths: list[int]) -> None:
    forward = CausalForward(tiny.model())
    rows = [some_tokens(n, seed) for seed, n in enumerate(lengths)]
    before = packed_logits(forward, rows)
    after = packed_logits(forward, [rows[0], (rows[1] + 1) % 300, rows[2]])
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert not torch.allclose(before[1], after[1])


@torch.no_grad()
def test_no_token_sees_a_later_one() -> None:
    forward = CausalForward(tiny.model())
    row = some_tokens(20, 0)
    changed = row.clone()
    changed[12:] = (changed[12:] + 1) % 300
    before, after = packed_logits(forward, [row])[0], packed_logits(forward, [changed])[0]
    assert torch.equal(before[:12], after[:12])
    assert not torch.allclose(before[12:], after[12:])


@torch.no_grad()
def test_extending_and_stepping_over_kept_keys_equals_one_pass() -> None:
    forward = CausalForward(tiny.model())
    rows = [some_tokens(11, 0), some_tokens(7, 1)]
    whole = packed_logits(forward, rows)
    cache = KeyValueSlots(2, 4, 4000, forward.kv_heads, forward.head_width, forward.dtype, CPU)
    cache.reserve(2, 20)
    slots, past, news = [0, 1], [0, 0], [[6, 4], [4, 2]]  # two prefills leave each row's last token for the step
    for step in range(2):
        lengths = [news[0][step], news[1][step]]
        tokens = torch.cat([row[p : p + n] for row, p, n in zip(rows, past, lengths, strict=True)])
        positions = torch.cat([torch.arange(p, p + n) for p, n in zip(past, lengths, strict=True)])
        attend = ExtendAttention(cache, slots, past, lengths)
        logits = forward.logits(forward.hidden(tokens, positions, attend)).split(lengths)
        for row in range(2):
            expected = whole[row][past[row] : past[row] + lengths[row]]
            torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=1e-5)
            past[row] += lengths[row]
    newest = torch.stack([row[p] for row, p in zip(rows, past, strict=True)])
    stepped = forward.logits(forward.hidden(newest, torch.tensor(past), StepAttention(cache, past)))
    for row in range(2):
        torch.testing.assert_close(stepped[row], whole[row][past[row]], atol=1e-5, rtol=1e-5)


def test_making_room_keeps_what_is_held() -> None:
    cache = KeyValueSlots(2, 3, 4000, 2, 4, torch.float32, CPU)
    cache.reserve(2, 10)
    keys, values = torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    cache.load(1, keys, values, 5)
    cache.reserve(3, 1000)
    cache.move(1, 2, 5)
    assert cache.capacity >= 1000
    assert all(torch.equal(*pair) for pair in zip(cache.read(2, 5), (keys, values), strict=True))


def test_longer_sequences_leave_fewer_slots() -> None:
    cache = KeyValueSlots(1, 8, 4096, 2, 4, torch.float32, CPU)
    assert [cache.slots_for(tokens) for tokens in (1, 512, 513, 2000, 9000)] == [8, 8, 6, 2, 1]
    cache.reserve(2, 2000)
    assert cache.keys[0].shape == (2, 2, 2048, 4)
    cache.reserve(8, 100)  # what is in use is short again
    assert cache.keys[0].shape == (8, 2, 128, 4)
    cache.release()
    assert cache.size_bytes == 0


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(
    ("rows", "heads", "kv_heads", "tokens", "first"),
    [(3, 6, 2, 17, 0), (1, 4, 4, 64, 0), (2, 9, 3, 150, 0), (2, 9, 3, 150, 1), (2, 6, 2, 150, 149)],
)
def test_short_rows_have_the_gradients_of_textbook_attention(
    rows: int, heads: int, kv_heads: int, tokens: int, first: int, dtype: torch.dtype, limit: float
) -> None:
    """Also where only the tokens from the first one on ask."""
    torch.manual_seed(0)
    asking = tokens - first
    shapes = [(rows, heads, asking, 16), *2 * [(rows, kv_heads, tokens, 16)], (rows, heads, asking, 16)]
    query, key, value, upstream = (torch.randn(shape).to(dtype) for shape in shapes)
    found = [x.clone().requires_grad_() for x in (query, key, value)]
    out = causal_attention(*found)
    assert "ShortCausalAttention" in type(out.grad_fn).__name__
    out.backward(upstream)

    exact = [x.double().requires_grad_() for x in (query, key, value)]
    wide = [exact[0], *(x.repeat_interleave(heads // kv_heads, dim=1) for x in exact[1:])]
    seen = torch.ones(tokens, tokens).tril().bool()[first:]
    scores = (wide[0] @ wide[1].mT / 4).masked_fill(~seen, float("-inf"))
    expected = scores.softmax(dim=-1) @ wide[2]
    expected.backward(upstream.double())
    assert float((out.double() - expected).detach().norm() / expected.detach().norm()) < limit
    with torch.no_grad():
        torch.testing.assert_close(causal_attention(*found), out, atol=0, rtol=0)
    for x, y in zip(found, exact, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        assert float((x.grad.double() - y.grad).norm() / y.grad.norm()) < limit


def test_long_rows_take_the_built_in_attention() -> None:
    query = torch.randn(1, 2, SHORT_TOKENS + 1, 8, requires_grad=True)
    key = torch.randn(1, 1, SHORT_TOKENS + 1, 8)
    assert "ShortCausalAttention" not in type(causal_attention(query, key, key).grad_fn).__name__
