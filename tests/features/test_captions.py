"""Captions from templates, files and tiny random models; the cache of what models said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from activetune import UsageError, caption, open_pool
from activetune.base.torchvision_ import import_torchvision
from activetune.data.pool import Pool
from activetune.features.text.captions import filled, make_captioner, read_captions
from tests.conftest import write_digits

import_torchvision()
transformers = pytest.importorskip("transformers", reason="the extra 'text' is not installed")
WORDS = ["a", "photo", "of", "dog", "cat", "please", "describe", "the", "image", "digit", "zero", "one"]
NAMES = ["zero", "dog", "one dog", "cat", "dog", "a dog of the cat"]  # prompts of several lengths


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return open_pool(write_digits(tmp_path / "digits", 6))


def described(pool: Pool, captioner: object, **options: object) -> list[str]:
    names = [str(name) for name in pool.labels or ()]
    return make_captioner(captioner, **options).describe(pool, range(len(pool)), names, quiet=True)  # type: ignore[arg-type]


def test_the_class_name_stands_in_the_template(pool: Pool) -> None:
    assert described(pool, "template")[0] == filled("a photo of a {class_name}.", str(pool.labels[0]))  # type: ignore[index]
    assert described(pool, "template", prompt="{a} sea_{class_name}")[0].startswith("{a} sea_")
    assert filled("a {class_name}", "sea_horse") == "a sea horse"
    with pytest.raises(UsageError, match="says the same of every image"):
        make_captioner("template", prompt="a photo")


def test_resume_keeps_captions_of_the_same_run_alone(pool: Pool, tmp_path: Path) -> None:
    out = tmp_path / "c.csv"
    caption(pool, out=out, quiet=True)
    made = out.stat().st_mtime_ns, out.read_bytes()
    assert caption(pool, out=out, quiet=True, resume=True) == read_captions(out)
    assert (out.stat().st_mtime_ns, out.read_bytes()) == made
    with pytest.raises(UsageError, match=r"c\.csv holds other captions than this run makes of .*--overwrite"):
        caption(pool, prompt="one {class_name}", out=out, quiet=True, resume=True)
    with pytest.raises(UsageError, match="holds other captions"):
        caption(pool.subset(pool.ids[:3]), out=out, quiet=True, resume=True)
    assert (out.stat().st_mtime_ns, out.read_bytes()) == made


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_captions_from_a_file(suffix: str, pool: Pool, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / f"captions.{suffix}"
    columns = {"id": [*pool.ids[:3], "elsewhere"], "caption": ["one,  two", "three", "", "four"]}
    if suffix == "csv":
        path.write_text('id,caption\n"{}","one,  two"\n{},three\n{},\nelsewhere,four\n'.format(*pool.ids[:3]))
    elif suffix == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join(json.dumps({"id": item, "caption": text}) for item, text in rows))
    found = described(pool, path)
    assert found[:2] == ["one, two", "three"]
    assert found[2] == filled("a photo of a {class_name}.", str(pool.labels[2]))  # type: ignore[index]
    assert described(pool, {pool.ids[0]: "zero"})[0] == "zero"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,text\n1,b\n", "has no column 'caption'; its columns are: id, text"),
        ("a.csv", "id,caption\n1,b\n1,c\n", "two captions for '1': 'b' and 'c'; keep one"),
        ("a.jsonl", "{", "can't be read as JSON lines"),
        ("a.jsonl", "[1]", "must hold one JSON object a line"),
    ],
)
def test_damaged_files_are_a_sentence(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        read_captions(tmp_path / name)


def test_unknown_captioners_and_foreign_files_are_a_sentence(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown captioner 'blip'; there are: template, hf/MODEL"):
        make_captioner("blip")
    with pytest.raises(UsageError, match=r"the file .*gone.jsonl does not exist"):
        make_captioner(tmp_path / "gone.jsonl")
    with pytest.raises(UsageError, match="has no caption for any of 6 items"):
        described(pool, {"elsewhere": "something"})
    with pytest.raises(UsageError, match=r"the model hf/.* can't be loaded"):
        described(pool, f"hf/{tmp_path}")


# Models --------------------------------------------------------------------------------------------------------------


def word_tokenizer(folder: Path, like_bert: bool = False, **special: str) -> object:
    """A tokenizer of whole words; BERT's, which BLIP has, reads small letters and puts tokens at both ends."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = {"pad_token": "[PAD]", "eos_token": "[EOS]", "bos_token": "[BOS]", "unk_token": "[UNK]", **special}
    vocabulary = {word: number for number, word in enumerate([*special.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if like_bert:
        ends = [("[CLS]", vocabulary["[CLS]"]), ("[EOS]", vocabulary["[EOS]"])]
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [EOS]", special_tokens=ends)
    found = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    found.save_pretrained(folder)
    return found


def encoder_decoder(folder: Path) -> None:
    """The kind of nlpconnect/vit-gpt2-image-captioning: it takes no prompt."""
    tokenizer = word_tokenizer(folder)
    image = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    text = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, add_cross_attention=True)  # type: ignore[arg-type]
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(image, text)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 1
    transformers.VisionEncoderDecoderModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)


def blip(folder: Path) -> None:
    """The kind of BLIP: the prompt is the beginning of the caption."""
    tokenizer = word_tokenizer(folder, like_bert=True, cls_token="[CLS]")
    small: dict[str, float] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["intermediate_size"] = 16
    text = {**small, "vocab_size": len(tokenizer), "encoder_hidden_size": 16, "max_position_embeddings": 80}  # type: ignore[arg-type]
    text |= {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "sep_token_id": 1, "initializer_range": 1.0}
    image = {**small, "image_size": 16, "patch_size": 8, "initializer_range": 1.0}  # else every image is told the same
    config = transformers.BlipConfig(text_config=text, vision_config=image)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    images = transformers.BlipImageProcessor(size={"height": 16, "width": 16})
    transformers.BlipProcessor(images, tokenizer).save_pretrained(folder)


def llava(folder: Path) -> None:
    """A chat model."""
    tokenizer = word_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})  # type: ignore[attr-defined]
    place = tokenizer.convert_tokens_to_ids("<image>")  # type: ignore[attr-defined]
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**small, image_size=16, patch_size=8),
        text_config=transformers.LlamaConfig(**small, vocab_size=len(tokenizer), num_key_value_heads=2),  # type: ignore[arg-type]
        image_token_index=place,
        image_token_id=place,
        vision_feature_layer=-1,
    )
    config.text_config.eos_token_id, config.text_config.pad_token_id = 1, 0
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size)
    chat = (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
        "{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    )
    transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=chat,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def made(build: object, folder: Path) -> str:
    torch.manual_seed(0)
    folder.mkdir()
    build(folder)  # type: ignore[operator]
    return f"hf/{folder}"


@pytest.mark.parametrize("build", [encoder_decoder, blip, llava])
def test_models_describe_images_in_batches_and_are_asked_once(
    build: object, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(tmp_path / "cache"))
    name, prompt = made(build, tmp_path / "model"), "Describe the image {class_name}"

    def said(places: range = range(6), **options: object) -> list[str]:
        speaker = make_captioner(name, prompt=prompt, **options)  # type: ignore[arg-type]
        return speaker.describe(pool, places, [NAMES[place] for place in places], quiet=True)

    first = said(batch_size=4)
    assert len(first) == 6
    assert all(text and "describe the image" not in text.lower() for text in first)
    for place in (1, 2):  # whatever else is in the batch
        assert said(range(place, place + 1), use_cache=False) == first[place : place + 1]

    from activetune.features.text import captions

    asked: list[int] = []

    class Silent:
        def __init__(self, *_: object) -> None:
            asked.append(0)

        def __call__(self, images: list[object], prompts: list[str]) -> list[str]:
            asked.append(len(images))
            return [""] * len(images)

    monkeypatch.setattr(captions, "Speaker", Silent)
    assert said() == first
    assert not asked
    cached = next((tmp_path / "cache" / "captions").iterdir())
    lines = cached.read_text().splitlines()
    cached.write_text("\n".join([*lines[:4], lines[4][:20]]))  # as after a crash
    again = said()
    assert asked == [0, 2]
    changed = [place for place in range(6) if again[place] != first[place]]
    assert len(changed) == 2
    assert all(again[place] == filled("a photo of a {class_name}.", NAMES[place]) for place in changed)
    (tmp_path / "model" / "generation_config.json").write_text("{ }")  # another model in the same folder
    said()
    assert asked == [0, 2, 0, 6]


def test_models_that_are_no_captioner_or_not_whole_are_a_sentence(pool: Pool, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    name = made(blip, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)

    def refused(message: str) -> None:
        with pytest.raises(UsageError, match=rf"the model hf/.* can't be loaded \({message}"):
            described(pool, name, use_cache=False)

    save_file(dict(list(tensors.items())[:20]), weights, {"format": "pt"})
    refused(r"\d+ of its weights are missing, such as 'text_decoder")
    weights.write_bytes(weights.read_bytes()[:100])
    refused("Error while deserializing header")
    save_file(tensors, weights, {"format": "pt"})
    for file in (tmp_path / "model").glob("tokenizer*"):
        file.unlink()
    refused("its tokenizer knows no word")
    transformers.BertConfig().save_pretrained(tmp_path / "model")
    with pytest.raises(UsageError, match=r"can't be loaded \(a bert does not describe images\)"):
        caption(pool, captioner=name, quiet=True)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("dog", "a photo of a dog."),
        ("airplane", "a photo of an airplane."),
        ("sea_urchin", "a photo of a sea urchin."),
        ("Leopards", "a photo of Leopards."),
        ("bus", "a photo of a bus."),
        ("iris", "a photo of an iris."),
        ("unicorn", "a photo of a unicorn."),
        ("8", "a photo of an 8."),
        ("3", "a photo of a 3."),
    ],
)
def test_the_article_follows_the_class_name(name: str, sentence: str) -> None:
    assert filled("a photo of a {class_name}.", name) == sentence
    assert filled("The keyword {class_name} and a photo.", name).startswith(
        f"The keyword {name.replace('_', ' ')} and a "
    )
