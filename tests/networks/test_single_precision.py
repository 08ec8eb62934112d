"""Last layers compute in single precision: no two classes tie because the backbone computes in bfloat16."""

from __future__ import annotations

import pytest
import torch

from activetune.networks.heads import make_head

ROOMS = {"classes": ("linear", "logistic", "map"), "masks": ("linear", "segmenter")}


@pytest.mark.parametrize(("room", "kind"), [(room, kind) for room, kinds in ROOMS.items() for kind in kinds])
def test_logits_are_single_under_autocast(room: str, kind: str) -> None:
    torch.manual_seed(0)
    head = make_head(kind, 64, 500, room).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    shape = {"pooled": (4, 64), "tokens": (4, 9, 64), "map": (4, 3, 3, 64)}[head.reads]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = head(torch.randn(shape).to(torch.bfloat16))
    assert logits.dtype == torch.float32
    rounded = logits.to(torch.bfloat16).float()
    assert not torch.equal(rounded, logits)
    per_class = logits.movedim(1, -1).reshape(-1, 500)
    assert all(len(row.unique()) == 500 for row in per_class)
    assert any(len(row.to(torch.bfloat16).unique()) < 500 for row in per_class)


def test_two_classes_as_near_as_bfloat16_cannot_tell_are_told_apart() -> None:
    head = make_head("linear", 2, 2)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.tensor([[2.435, 0.0], [2.44, 0.0]]))
    features = torch.tensor([[1.0, 0.0]])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert int(head(features).argmax()) == 1
        assert int(torch.nn.functional.linear(features, head.classifier.weight).argmax()) == 0
