"""How micro-batches are shared out, and what is kept in fp32; `integration/test_sharded.py` runs two processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ethos.models.templates import ChatTemplate
from ethos.training.batch import Batch, pack
from ethos.training.objectives.reward_model import RewardModel
from ethos.training.objectives.types import Loss
from ethos.training.outputs import HiddenOutputs, Outputs
from ethos.training.sharded import ShardedPolicy, share
from models import tiny
from training.character import batches, config
from training.steps import every_row_of


@pytest.fixture
def one_rank() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_the_scalar_head_is_not_rounded_to_the_dtype_of_compute(one_rank: DeviceMesh) -> None:
    loaded = tiny.loaded("llama")
    made = ShardedPolicy(
        loaded, ChatTemplate(loaded.tokenizer, None), config(precision="bf16"), 0, one_rank, scalar_head=True
    )
    heads: list[Tensor] = []

    class Watched(RewardModel):
        def loss(self, outputs: Outputs, batch: Batch) -> Loss:
            assert isinstance(outputs, HiddenOutputs)
            assert outputs._scalar_head_E is not None
            heads.append(outputs._scalar_head_E.detach())
            return RewardModel.loss(self, outputs, batch)

    rows = every_row_of(0)["reward_model"]
    made.forward_backward(share(pack(rows, 1000), 0, 1), Watched(), 1.0)
    [used] = heads
    assert torch.equal(used, made.whole_masters()["scalar_head"])
    assert not torch.equal(used, used.bfloat16().float())
    assert made.gradient("scalar_head").norm() > 0


def test_micro_batches_go_round_and_a_rank_without_one_has_a_spare() -> None:
    given = batches("demonstrations", limit_tokens=1)
    shares = [share(given, rank, 2) for rank in range(2)]
    assert [len(part.batches) for part in shares] == [2, 1]
    assert [b for pair in zip(shares[0].batches, (*shares[1].batches, None), strict=True) for b in pair][:3] == given
    assert share(given[:1], 1, 2).batches == ()
    assert share(given[:1], 1, 2).spare is given[0]
    with pytest.raises(ValueError, match="nothing to share"):
        share([], 0, 2)
