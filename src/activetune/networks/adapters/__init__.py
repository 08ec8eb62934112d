"""Low-rank additions to the layers of a network (LoRA), and their files."""

from activetune.networks.adapters._additions import Addition, Additions, add
from activetune.networks.adapters._files import ADAPTER_FILES, adapter_files, read_additions
from activetune.networks.adapters._low_rank import Fused, LowRank, adapted, changes, check_additions, inject, merge

__all__ = [
    "ADAPTER_FILES",
    "Addition",
    "Additions",
    "Fused",
    "LowRank",
    "adapted",
    "adapter_files",
    "add",
    "changes",
    "check_additions",
    "inject",
    "merge",
    "read_additions",
]
