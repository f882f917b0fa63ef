"""What stands between matrix products as compiled functions (`kernels.c`), for bf16 on a CPU and without recording.

The machine's C compiler makes them at first use, for its own processor, in about a second; they stay in the user's
cache. Without a compiler PyTorch's operations do the same, in more passes.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ethos.store.cache import cache_directory
from ethos.store.canonical import digest

_log = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("kernels.c")
_OPTIONS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_POINTER, _INT, _STRIDE, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
_SIGNATURES = {
    "attend_step": [_POINTER, _STRIDE] * 3 + [_POINTER] * 4 + [_INT] * 5 + [_FLOAT, _INT],
    "rms_norm": [_POINTER, _STRIDE, _POINTER, _POINTER, _INT, _INT, _FLOAT, _INT],
    "rms_norm_backward": [_POINTER] * 5 + [_INT, _INT, _FLOAT, _INT],
    "rotate": [_POINTER, _STRIDE, _POINTER, _POINTER, _POINTER, _INT, _INT, _INT, _INT],
    "swiglu": [_POINTER, _POINTER, _INT, _INT, _INT],
    "swiglu_backward": [_POINTER] * 3 + [_INT] * 3,
    "log_sum_exp": [_POINTER, _POINTER, _INT, _INT, _INT],
    "by_logits": [_POINTER] * 4 + [_INT] * 3,
}


def can_take(*tensors: Tensor) -> bool:
    """Whether the functions below take these."""
    return (
        not torch.is_grad_enabled()
        and all(x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in tensors)
        and _library() is not None
    )


def attend_step(
    query_BHD: Tensor, key_BKD: Tensor, value_BKD: Tensor, keys: Tensor, values: Tensor, lengths_B: Tensor
) -> Tensor:
    """Writes each row's new key and value to its slot, and lets its query attend to all that the slot holds.

    `keys` and `values` have shape [slots, K, capacity, D]; `lengths_B` says what the slots held before. The result has
    the shape of `query_BHD`.

    Raises ValueError for keys and values that lie otherwise. That each row has a slot, and each slot room for one more,
    is for the caller to see to.
    """
    if not keys.is_contiguous() or not values.is_contiguous() or keys.shape != values.shape:
        raise ValueError("keys and values lie in two blocks of the same shape")
    (rows, heads, width), kv_heads, capacity = query_BHD.shape, key_BKD.shape[1], keys.shape[2]
    out = query_BHD.new_empty(query_BHD.shape)
    query, key, value = _in_rows(query_BHD), _in_rows(key_BKD), _in_rows(value_BKD)
    _call(
        "attend_step",
        *(query, query.stride(0), key, key.stride(0), value, value.stride(0)),
        *(keys, values, lengths_B.to(torch.int64), out),
        *(rows, kv_heads, heads // kv_heads, width, capacity, width**-0.5),
    )
    return out


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """As `fused.rms_norm`."""
    rows, out = x.reshape(-1, x.shape[-1]), x.new_empty(x.shape)
    if rows.stride(-1) != 1:
        rows = rows.contiguous()
    _call("rms_norm", rows, rows.stride(0), weight.contiguous(), out, *rows.shape, epsilon)
    return out


def rms_norm_backward(x: Tensor, weight: Tensor, epsilon: float, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients by `x` and by `weight`."""
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    by_x, by_weight = (
        x.new_empty(x.shape),
        weight.new_empty((torch.get_num_threads(), len(weight)), dtype=torch.float32),
    )
    _call("rms_norm_backward", rows, weight.contiguous(), gradient.contiguous(), by_x, by_weight, *rows.shape, epsilon)
    return by_x, by_weight.sum(dim=0).to(weight.dtype)


def rotate(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
    """As `fused.rotate`."""
    rows, out = _in_rows(x_NHD), x_NHD.new_empty(x_NHD.shape)
    angles = (len(x_NHD), 1, x_NHD.shape[-1])
    cosine, sine = cos_N1D.expand(angles).contiguous(), sin_N1D.expand(angles).contiguous()
    _call("rotate", rows, rows.stride(0), cosine, sine, out, *x_NHD.shape)
    return out


def swiglu(gate_up_NF: Tensor) -> Tensor:
    """As `fused.swiglu`."""
    *rows, width = gate_up_NF.shape
    out = gate_up_NF.new_empty(*rows, width // 2)
    _call("swiglu", gate_up_NF.contiguous(), out, gate_up_NF.numel() // width, width // 2)
    return out


def swiglu_backward(gate_up_NF: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by both halves."""
    out = torch.empty_like(gate_up_NF, memory_format=torch.contiguous_format)
    width = gate_up_NF.shape[-1] // 2
    _call("swiglu_backward", gate_up_NF.contiguous(), gradient.contiguous(), out, gradient.numel() // width, width)
    return out


def log_sum_exp(logits_MV: Tensor) -> Tensor:
    """Of each row, fp32, shape [M]."""
    out = logits_MV.new_empty(len(logits_MV), dtype=torch.float32)
    _call("log_sum_exp", logits_MV.contiguous(), out, *logits_MV.shape)
    return out


def by_logits(logits_MV: Tensor, normalisers_M: Tensor, targets_M: Tensor, weights_M: Tensor) -> Tensor:
    """The gradient of weight x log p(target) by the logits, in their place: weight x (onehot - p).

    Raises ValueError for logits that don't lie row by row, since they are overwritten. That targets are within the
    vocabulary is for the caller to see to.
    """
    if not logits_MV.is_contiguous():
        raise ValueError("logits lie row by row")
    given = (normalisers_M.float().contiguous(), targets_M.to(torch.int64).contiguous(), weights_M.float().contiguous())
    _call("by_logits", logits_MV, *given, *logits_MV.shape)
    return logits_MV


def _in_rows(x_NHD: Tensor) -> Tensor:
    """With a row's heads side by side, as they are unless something has turned them."""
    return x_NHD if x_NHD.stride()[1:] == (x_NHD.shape[-1], 1) else x_NHD.contiguous()


def _call(name: str, *arguments: Tensor | float) -> None:
    """Runs one function on as many threads as PyTorch's own operations have."""
    given = [x.data_ptr() if isinstance(x, Tensor) else x for x in arguments]
    getattr(_library(), name)(*given, torch.get_num_threads())


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; none where nothing compiles them, or `ETHOS_KERNELS=0` forbids it."""
    try:
        compiler = shlex.split(os.environ.get("CC", "cc"))
        if not compiler or shutil.which(compiler[0]) is None or os.environ.get("ETHOS_KERNELS") == "0":
            return None
        library = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, ValueError, RuntimeError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        _log.warning("PyTorch does the work of compiled functions: %s", " ".join(said.split()))
        return None
    for name, types in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, None
    return library


def _compiled(compiler: list[str]) -> Path:
    """The shared library, from the cache if this compiler has made it for this kind of processor.

    Raises OSError if it is somebody else's, CalledProcessError if it can't be made.
    """
    # what the processor can do shows in the macros that the compiler then defines
    macros = _output(*compiler, *_OPTIONS, "-dM", "-E", "-x", "c", os.devnull)
    made = cache_directory() / "kernels" / f"{digest([compiler, _SOURCE.read_text(), _OPTIONS, macros])[:16]}.so"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            fresh = Path(folder) / made.name
            _output(*compiler, *_OPTIONS, str(_SOURCE), "-o", str(fresh), "-lm")
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            fresh.replace(made)
    if made.stat().st_uid not in (os.geteuid(), 0):
        raise OSError(f"{made} belongs to another user; set ETHOS_CACHE to a folder of your own")
    return made


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout
