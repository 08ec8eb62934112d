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

import torch

from activetune.base.errors import UsageError, some
from activetune.base.files import cache_folder, parse_json
from activetune.base.fingerprint import digest, digest_bytes
from activetune.base.progress import note, progress
from activetune.base.tables import need_columns, read_table
from activetune.data.answers import is_missing
from activetune.data.images import decode_image, middle
from activetune.data.pool import Pool
from activetune.features.text.speaker import Speaker, check_speaks

PROMPT = "Please describe the image within one sentence. The description contains the keyword {class_name}."
TEMPLATE = "a photo of a {class_name}."
FORM = "2"  # of captions in the cache; in the first, some began with the prompt
# By sound, as far as spelling tells: "an hour", "an 8", but "a unicorn", "a European".
BEFORE_AN = re.compile(r"(?!uni(?!n|m)|u[ksr][aeiou]|use|euro|ewe|one\b|once)[aeiou]|hour|honest|heir|8|1[18]\b", re.I)
PLURAL = re.compile(r"(?<![suia])s$")  # "Leopards", but not "bus", "grass", "iris" or "atlas"


class Captioner(ABC):
    """Whatever gives an image a sentence; ``name`` and ``prompt`` say what it depends on."""

    name: str
    prompt: str

    def check(self) -> None:
        """Find out early, without describing anything, whether it can.

        Raises:
            UsageError: it can't.
        """
        return  # most have nothing to find out

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
        known = digest(FORM, name, prompt, *_state_of(Path(name.removeprefix("hf/"))))
        self.path = cache_folder("captions") / f"{known}.jsonl" if use_cache else None
        self.speaker: Speaker | None = None

    def check(self) -> None:
        """See :class:`Captioner`; a model that is in the cache may be gone."""
        if not self._said():
            check_speaks(self.name, self.name.removeprefix("hf/"))

    def describe(self, pool: Pool, positions: Sequence[int], class_names: Sequence[str], *, quiet: bool) -> list[str]:
        prompts = [filled(self.prompt, name) for name in class_names]
        keys = [
            digest(digest_bytes(pool.read(place)), prompt) for place, prompt in zip(positions, prompts, strict=True)
        ]
        said = self._said()
        waiting = [number for number, key in enumerate(keys) if key not in said]
        waiting.sort(key=lambda number: prompts[number])  # a model gets those of one prompt together
        if not waiting:
            return [said[key] for key in keys]
        self.speaker = speaker = self.speaker or Speaker(self.name, self.name.removeprefix("hf/"), self.device)
        with progress(len(keys), "describing images", done=len(keys) - len(waiting), quiet=quiet) as meter:
            for start in range(0, len(waiting), self.batch_size):
                part = waiting[start : start + self.batch_size]
                images = [middle(decode_image(pool.read(positions[number]))) for number in part]
                found = speaker(images, [prompts[number] for number in part])
                fresh = {
                    keys[number]: caption or filled(TEMPLATE, class_names[number])
                    for number, caption in zip(part, found, strict=True)
                }
                said |= fresh
                self._keep(fresh)
                meter.advance(len(part))
        return [said[key] for key in keys]

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


def _state_of(folder: Path) -> list[str]:
    """What tells a model in a folder from the one that lay there before, or lies there in another working folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
