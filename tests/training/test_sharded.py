"""How micro-batches are shared out, and what is kept in fp32; `integration/test_sharded.py` runs two processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ethos.errors import EthosError
from ethos.models.templates import ChatTemplate
from ethos.training.accumulation import share
from ethos.training.batch import Batch, pack
from ethos.training.guard import Diverged
from ethos.training.objectives.documents import Documents
from ethos.training.objectives.reward_model import RewardModel
from ethos.training.objectives.types import Loss
from ethos.training.optimizer import whole
from ethos.training.outputs import HiddenOutputs, Outputs
from ethos.training.sharded import ShardedPolicy
from models import tiny
from training.character import batches, config
from training.steps import every_row_of


@pytest.fixture
def one_rank() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def sharded(mesh: DeviceMesh, *, scalar_head: bool = False, **fields: object) -> ShardedPolicy:
    loaded = tiny.loaded("llama")
    return ShardedPolicy(
        loaded, ChatTemplate(loaded.tokenizer, None), config(**fields), 0, mesh, scalar_head=scalar_head
    )


def test_the_scalar_head_is_not_rounded_to_the_dtype_of_compute(one_rank: DeviceMesh) -> None:
    made = sharded(one_rank, scalar_head=True, precision="bf16")
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
    assert whole(made.optimizer.gradients["scalar_head"]).norm() > 0


def test_a_checkpoint_is_whole_or_told_to_be_damaged(one_rank: DeviceMesh, tmp_path: Path) -> None:
    made, folder = sharded(one_rank), tmp_path / "checkpoint"
    made.save(folder, {"step": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert made.load(folder) == {"step": 3}
    assert set(made.optimizer.state()) == {f"master.{name}" for name in made.optimizer.masters}  # no moments yet
    with pytest.raises(EthosError, match="holds other tensors than this policy trains; give it the model, method and"):
        sharded(one_rank, scalar_head=True).load(folder)
    (shard,) = folder.glob("*.distcp")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(EthosError, match=r"distcp: not as it was written \(its hash differs\); load another"):
        made.load(folder)
    with pytest.raises(EthosError, match=r"manifest.json: not as it was written \(it can't be read\)"):
        made.load(tmp_path)


def test_a_loss_that_is_not_finite_is_refused_with_its_rows(one_rank: DeviceMesh) -> None:
    class Broken(Documents):
        def loss(self, outputs: Outputs, batch: Batch) -> Loss:
            found = Documents.loss(self, outputs, batch)
            return Loss(found.total * float("nan"), found.metrics)

    made, given = sharded(one_rank), batches("documents")
    made.forward_backward(share(given, 0, 1), Documents(), 1.0)
    with pytest.raises(Diverged, match=f"the loss of documents is nan on rows {given[0].row_ids[0]}"):
        made.forward_backward(share(given, 0, 1), Broken(), 1.0)
    assert made.optimizer.gradients == {}


def test_micro_batches_go_round_and_a_rank_without_one_has_a_spare() -> None:
    given = batches("demonstrations", limit_tokens=1)
    shares = [share(given, rank, 2) for rank in range(2)]
    assert [len(part.batches) for part in shares] == [2, 1]
    assert [b for pair in zip(shares[0].batches, (*shares[1].batches, None), strict=True) for b in pair][:3] == given
    assert share(given[:1], 1, 2).batches == ()
    assert share(given[:1], 1, 2).spare is given[0]
    assert share([], 0, 2).spare is None
