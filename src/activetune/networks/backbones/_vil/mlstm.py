"""The mLSTM of xLSTM: a matrix memory with exponential gates, computed for many tokens at once.

Beck et al., "xLSTM: Extended Long Short-Term Memory" (arXiv 2405.04517, section 2.3 and the parallel form in its
appendix). One head keeps a matrix C and a vector n, and from token to token

    C_t = f_t C_{t-1} + i_t v_t k_t^T,    n_t = f_t n_{t-1} + i_t k_t,    h_t = C_t q_t / max(|n_t^T q_t|, 1)

with i_t = exp(input gate), f_t = sigmoid(forget gate) and keys divided by the root of their size. Exponentials can
overflow, so C and n are kept divided by exp(m_t), m_t = max(log f_t + m_{t-1}, input gate); the 1 becomes exp(-m_t).

Unrolled, with F_t = log f_1 + ... + log f_t and a_s = (input gate)_s - F_s, token s counts for exp(F_t + a_s) at t. The
largest of these up to t is m_t = F_t + M_t with M_t = max(a_1, ..., a_t), so that the stabilised weights exp(a_s - M_t)
are at most 1, and all outputs come from one product of all queries with all keys. A long sequence is cut into pieces;
what came before a piece enters as its (C, n, m).

Everything that is summed up or exponentiated has at least single precision; only products of matrices follow autocast.
Cost for T tokens in pieces of S and heads of K features: O(T K (S + K)) a head, S^2 numbers held for a piece's weights.
Shape legend: B items, H heads, T tokens asking, S tokens answering, K features of a head.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

SHORTEST = 128  # tokens of a piece; shorter ones cost more in calls than they save
EPSILON = 1e-6  # added to the divisor, as in the published networks
LARGEST = 80.0  # of an exponent: exp(-m) must stay finite, or its gradient is not a number


class Memory(NamedTuple):
    """What a head keeps after a token: C (B, H, K, K; values' features last), n (B, H, K, 1) and m (B, H, 1)."""

    matrix: Tensor
    normaliser: Tensor
    stabiliser: Tensor


def mlstm(
    queries_BHTK: Tensor,
    keys_BHTK: Tensor,
    values_BHTK: Tensor,
    input_gates_BHT: Tensor,
    forget_gates_BHT: Tensor,
    *,
    piece: int | None = None,
) -> Tensor:
    """The outputs h (B, H, T, K) of the mLSTM for a whole sequence; token t sees the tokens up to t.

    Args:
        queries_BHTK, keys_BHTK, values_BHTK: keys are not divided by the root of their size yet.
        input_gates_BHT, forget_gates_BHT: before their exponential and their sigmoid.
        piece: tokens that are computed at once; it changes the cost alone. None takes about as many as a head has
            features, where the two parts of the cost are equal: fast on short sequences, linear on long ones.
    """
    tokens, size = queries_BHTK.shape[2:]
    piece = piece or math.ceil(tokens / max(1, round(tokens / max(size, SHORTEST))))
    log_forget_BHT = functional.logsigmoid(_wide(forget_gates_BHT))
    input_BHT = _wide(input_gates_BHT)
    keys_BHTK = keys_BHTK * size**-0.5
    memory: Memory | None = None
    outputs: list[Tensor] = []
    for start in range(0, tokens, piece):
        part = slice(start, start + piece)
        decay_BHT = log_forget_BHT[:, :, part].cumsum(dim=2)
        weight_BHS = input_BHT[:, :, part] - decay_BHT
        keys, values = keys_BHTK[:, :, part], values_BHTK[:, :, part]
        outputs.append(_read(queries_BHTK[:, :, part], keys, values, decay_BHT, weight_BHS, memory))
        if start + piece < tokens:
            memory = _write(keys, values, decay_BHT, weight_BHS, memory)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


def _read(
    queries_BHTK: Tensor,
    keys_BHSK: Tensor,
    values_BHSK: Tensor,
    decay_BHT: Tensor,
    weight_BHS: Tensor,
    memory: Memory | None,
) -> Tensor:
    """The outputs of a piece; ``decay_BHT`` is F and ``weight_BHS`` is a, both counted from the piece's start."""
    # The stabiliser leaves the outputs as they are (but for EPSILON), so no gradient needs to pass it.
    largest_BHT = weight_BHS.detach().cummax(dim=2).values
    if memory is not None:
        largest_BHT = torch.maximum(largest_BHT, memory.stabiliser.detach())
    later = torch.ones(weight_BHS.shape[-1], weight_BHS.shape[-1], dtype=torch.bool, device=weight_BHS.device).triu(1)
    exponent_BHTS = (weight_BHS[:, :, None, :] - largest_BHT[..., None]).masked_fill(later, -torch.inf)
    scores_BHTS = (queries_BHTK @ keys_BHSK.transpose(2, 3)) * exponent_BHTS.exp()
    sums_BHT1 = scores_BHTS.sum(dim=3, keepdim=True)
    recalled_BHTK: Tensor | None = None
    if memory is not None:
        with _single_precision(queries_BHTK):
            asked_BHTK = _wide(queries_BHTK) * (memory.stabiliser - largest_BHT).exp()[..., None]
            recalled_BHTK = asked_BHTK @ memory.matrix
            sums_BHT1 = sums_BHT1 + asked_BHTK @ memory.normaliser
    least_BHT1 = (-(decay_BHT + largest_BHT)).clamp(max=LARGEST).exp()[..., None]
    divisor_BHT1 = torch.maximum(sums_BHT1.abs(), least_BHT1) + EPSILON
    read_BHTK = (scores_BHTS / divisor_BHT1).to(values_BHSK.dtype) @ values_BHSK
    return read_BHTK if recalled_BHTK is None else read_BHTK + recalled_BHTK / divisor_BHT1


def _write(
    keys_BHSK: Tensor, values_BHSK: Tensor, decay_BHT: Tensor, weight_BHS: Tensor, memory: Memory | None
) -> Memory:
    """The memory after a piece."""
    largest_BH1 = weight_BHS.detach().amax(dim=2, keepdim=True)
    if memory is not None:
        largest_BH1 = torch.maximum(largest_BH1, memory.stabiliser.detach())
    with _single_precision(keys_BHSK):
        kept_BHKS = (_wide(keys_BHSK) * (weight_BHS - largest_BH1).exp()[..., None]).transpose(2, 3)
        matrix_BHKK, normaliser_BHK1 = kept_BHKS @ _wide(values_BHSK), kept_BHKS.sum(dim=3, keepdim=True)
        if memory is not None:
            fading_BH11 = (memory.stabiliser - largest_BH1).exp()[..., None]
            matrix_BHKK = matrix_BHKK + fading_BH11 * memory.matrix
            normaliser_BHK1 = normaliser_BHK1 + fading_BH11 * memory.normaliser
    return Memory(matrix_BHKK, normaliser_BHK1, decay_BHT[:, :, -1:] + largest_BH1)


def _wide(tensor: Tensor) -> Tensor:
    """At least single precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _single_precision(tensor: Tensor) -> torch.autocast:
    """No autocast: a memory is added to again and again."""
    return torch.autocast(tensor.device.type, enabled=False)
