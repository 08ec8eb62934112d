"""Sentences for images: from a file, from a class name, or from a vision-language model.

| name | a caption |
|---|---|
| ``template`` | the class name in a sentence; no image is read |
| a CSV, Parquet or JSONL file | its columns ``id`` and ``caption`` |
| ``hf/Salesforce/blip2-opt-2.7b``, ``hf/FOLDER`` | what an image-to-text or vision-chat model of Hugging Face says |

``{class_name}`` in a prompt or template stands for the item's class. What a model said is kept in the user's cache by
the content of the image, the model and the prompt, batch by batch: a run that is cut off goes on, and an image that
lies in two pools is described once.
"""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from activetune.base.errors import MissingExtra, UsageError, some
from activetune.base.files import cache_folder, parse_json
from activetune.base.fingerprint import digest, digest_bytes
from activetune.base.progress import note, progress
from activetune.base.tables import need_columns, read_table
from activetune.base.torchvision_ import import_torchvision
from activetune.data.answers import is_missing
from activetune.data.images import decode_image, middle
from activetune.data.pool import Pool
from activetune.features.text.encoders import loading

PROMPT = "Please describe the image within one sentence. The description contains the keyword {class_name}."
TEMPLATE = "a photo of a {class_name}."
NEW_TOKENS = 40
# By sound, as far as spelling tells: "an hour", "an 8", but "a unicorn", "a European".
BEFORE_AN = re.compile(r"(?!uni(?!n|m)|u[ksr][aeiou]|use|euro|ewe|one\b|once)[aeiou]|hour|honest|heir|8|1[18]\b", re.I)
PLURAL = re.compile(r"(?<![suia])s$")  # "Leopards", but not "bus", "grass", "iris" or "atlas"


class Captioner(ABC):
    """Whatever gives an image a sentence; ``name`` and ``prompt`` say what it depends on."""

    name: str
    prompt: str

    @abstractmethod
    def describe(self, pool: Pool, positions: Sequence[int], class_names: Sequence[str], *, quiet: bool) -> list[str]:
        """A sentence for each of some items, whose classes are given in their order."""


def make_captioner(
    name: str | os.PathLike[str] | Mapping[str, str],
    *,
    prompt: str | None = None,
    batch_size: int = 8,
    device: str | torch.device = "cpu",
    use_cache: bool = True,
) -> Captioner:
    """A captioner by its name, see the table above; ``{id: caption}`` is one too.

    Args:
        prompt: of a model (default: the paper's) or a template; a file has none.

    Raises:
        UsageError: no such file, model or placeholder.
    """
    if isinstance(name, Mapping):
        return _Known("given captions", dict(name))
    text = os.fspath(name)
    if text == "template":
        return _Template(TEMPLATE if prompt is None else prompt)
    if text.startswith("hf/"):
        return _Model(text, PROMPT if prompt is None else prompt, batch_size, device, use_cache)
    if Path(text).is_file() or Path(text).suffix:
        return _Known(text, read_captions(text))
    raise UsageError(f"unknown captioner {text!r}; there are: template, hf/MODEL, or a file with id and caption")


def read_captions(path: str | os.PathLike[str]) -> dict[str, str]:
    """``{id: caption}`` from CSV, Parquet or JSONL; empty captions are left out.

    Raises:
        UsageError: no such file, columns missing, or two captions for an id.
    """
    columns = read_table(path)
    need_columns(columns, ["id", "caption"], path)
    found: dict[str, str] = {}
    for item, value in zip(columns["id"], columns["caption"], strict=True):
        caption = "" if is_missing(value) else " ".join(str(value).split())
        if caption and found.setdefault(str(item), caption) != caption:
            raise UsageError(
                f"{path} has two captions for {str(item)!r}: {found[str(item)]!r} and {caption!r}; keep one"
            )
    return found


def filled(prompt: str, class_name: str) -> str:
    """A prompt with the class name in its place; other braces stay.

    The article before it follows English: ``a photo of an airplane.``, ``a photo of Leopards.``

    >>> filled("a photo of a {class_name}.", "sea_urchin"), filled("a photo of a {class_name}.", "oar")
    ('a photo of a sea urchin.', 'a photo of an oar.')
    """
    name = class_name.replace("_", " ").strip()
    article = "" if PLURAL.search(name) else "an " if BEFORE_AN.match(name) else "a "

    def chosen(found: re.Match[str]) -> str:
        return article.capitalize() if found[1].istitle() else article

    prompt = re.sub(r"\b([Aa]n?) (?=\{class_name\})", chosen, prompt)
    return prompt.replace("{class_name}", name)


class _Template(Captioner):
    def __init__(self, prompt: str):
        self.name, self.prompt = "template", prompt
        if "{class_name}" not in prompt:
            raise UsageError(f"the template {prompt!r} says the same of every image; put {{class_name}} into it")

    def describe(self, pool: Pool, positions: Sequence[int], class_names: Sequence[str], *, quiet: bool) -> list[str]:
        return [filled(self.prompt, name) for name in class_names]


class _Known(Captioner):
    """Captions by id; the class template for those that have none."""

    def __init__(self, name: str, captions: Mapping[str, str]):
        self.name, self.prompt, self.captions = name, TEMPLATE, captions
        if not captions:
            raise UsageError(f"{name} holds no caption; fill the column caption of some items")

    def describe(self, pool: Pool, positions: Sequence[int], class_names: Sequence[str], *, quiet: bool) -> list[str]:
        ids = [pool.ids[position] for position in positions]
        missing = [item for item in ids if item not in self.captions]
        if len(missing) == len(ids):
            raise UsageError(
                f"{self.name} has no caption for any of {len(ids):,} items, such as {some(missing, 1)}; "
                "give captions of these"
            )
        note(f"{len(missing):,} of {len(ids):,} items have no caption; their class stands in", quiet or not missing)
        return [self.captions.get(item) or filled(TEMPLATE, name) for item, name in zip(ids, class_names, strict=True)]


class _Model(Captioner):
    """A model of Hugging Face, with the cache of what it has said."""

    def __init__(self, name: str, prompt: str, batch_size: int, device: str | torch.device, use_cache: bool):
        self.name, self.prompt, self.batch_size, self.device = name, prompt, batch_size, device
        self.path = cache_folder("captions") / f"{digest(name, prompt)}.jsonl" if use_cache else None
        self.speaker: _Speaker | None = None

    def describe(self, pool: Pool, positions: Sequence[int], class_names: Sequence[str], *, quiet: bool) -> list[str]:
        prompts = [filled(self.prompt, name) for name in class_names]
        keys = [
            digest(digest_bytes(pool.read(place)), prompt) for place, prompt in zip(positions, prompts, strict=True)
        ]
        said = self._said()
        waiting = [number for number, key in enumerate(keys) if key not in said]
        with progress(len(keys), "describing images", done=len(keys) - len(waiting), quiet=quiet) as meter:
            for start in range(0, len(waiting), self.batch_size):
                part = waiting[start : start + self.batch_size]
                images = [middle(decode_image(pool.read(positions[number]))) for number in part]
                found = self._speak(images, [prompts[number] for number in part])
                fresh = {
                    keys[number]: caption or filled(TEMPLATE, class_names[number])
                    for number, caption in zip(part, found, strict=True)
                }
                said |= fresh
                self._keep(fresh)
                meter.advance(len(part))
        return [said[key] for key in keys]

    def _speak(self, images: list[Image.Image], prompts: list[str]) -> list[str]:
        if self.speaker is None:
            self.speaker = _Speaker(self.name, self.name.removeprefix("hf/"), self.device)
        return self.speaker(images, prompts)

    def _said(self) -> dict[str, str]:
        """What is in the cache; a line that was cut off is passed over."""
        found: dict[str, str] = {}
        if self.path is None or not self.path.is_file():
            return found
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = parse_json(line)
                found[row["key"]] = row["caption"]
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def _keep(self, fresh: Mapping[str, str]) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps({"key": key, "caption": text}) + "\n" for key, text in fresh.items())
        except OSError as error:
            note(f"the cache {self.path} can't be written ({error.strerror or error}); going on without it")
            self.path = None


class _Speaker:
    """Runs a model: chat models get the prompt as a user's message, others as the beginning of the caption."""

    def __init__(self, name: str, model: str, device: str | torch.device):
        import_torchvision()
        try:
            import transformers
        except ImportError:
            raise MissingExtra("transformers", "text") from None
        library: Any = transformers
        with loading(name):
            self.network: Any = library.AutoModelForImageTextToText.from_pretrained(model).to(device).eval()
            self.processor: Any = library.AutoProcessor.from_pretrained(model)
            if not hasattr(self.processor, "tokenizer"):  # an encoder and a decoder put together: no prompt
                self.processor = library.AutoImageProcessor.from_pretrained(model)
                self.tokenizer: Any = library.AutoTokenizer.from_pretrained(model)
            else:
                self.tokenizer = self.processor.tokenizer
                self.tokenizer.padding_side = "left"
        self.device = device
        self.prompted = hasattr(self.processor, "tokenizer")
        self.chats = bool(getattr(self.processor, "chat_template", None))

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[str]:
        """A sentence an image."""
        if self.chats:
            inputs = self.processor.apply_chat_template(
                [_message(image, prompt) for image, prompt in zip(images, prompts, strict=True)],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        elif self.prompted:
            inputs = self.processor(images=images, text=prompts, padding=True, return_tensors="pt")
        else:
            inputs = self.processor(images=images, return_tensors="pt")
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        with torch.inference_mode():
            found = self.network.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        given = inputs.get("input_ids")
        if given is not None and torch.equal(found[:, : given.shape[1]].cpu(), given.cpu()):
            found = found[:, given.shape[1] :]
        texts = self.tokenizer.batch_decode(found, skip_special_tokens=True)
        return [_tidy(text, prompt) for text, prompt in zip(texts, prompts, strict=True)]


def _message(image: Image.Image, prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]


def _tidy(text: str, prompt: str) -> str:
    """One line, without the prompt that some models repeat."""
    return " ".join(" ".join(text.split()).removeprefix(prompt).split())
