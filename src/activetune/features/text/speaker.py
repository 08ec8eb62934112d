"""A model of Hugging Face that says what is on an image: chat models, and those that complete a sentence.

Chat models get the prompt as a user's message, BLIP-like models as the beginning of the sentence that they complete,
encoder-decoders (ViT-GPT2) not at all. What comes back is a sentence without the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from activetune.base.errors import MissingExtra
from activetune.base.torchvision_ import import_torchvision
from activetune.features.text.pretrained import loading, with_words
from activetune.networks.transformers_ import whole

NEW_TOKENS = 40


def check_speaks(name: str, model: str) -> None:
    """Find out whether a model is one that describes images, by its configuration alone.

    Args:
        name: as it was given. model: a folder, or a name on the hub.

    Raises:
        UsageError: it is not, or there is none.
    """
    library = _transformers()
    with loading(name, model):
        config = library.AutoConfig.from_pretrained(model)
        if type(config) not in library.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise ValueError(f"a {config.model_type} does not describe images")


class Speaker:
    """Runs a model.

    Raises:
        UsageError: it does not describe images, or is not whole. MissingExtra: transformers is missing.
    """

    def __init__(self, name: str, model: str, device: str | torch.device):
        check_speaks(name, model)
        library = _transformers()
        with loading(name, model):
            self.network: Any = whole(library.AutoModelForImageTextToText, model).to(device).eval()
            self.processor: Any = library.AutoProcessor.from_pretrained(model)
            self.prompted = hasattr(self.processor, "tokenizer")
            if self.prompted:
                self.tokenizer: Any = with_words(self.processor.tokenizer)
                self.tokenizer.padding_side = "left"
            else:  # an encoder and a decoder put together: no prompt
                self.processor = library.AutoImageProcessor.from_pretrained(model)
                self.tokenizer = with_words(library.AutoTokenizer.from_pretrained(model))
        self.device = device
        self.chats = bool(getattr(self.processor, "chat_template", None))

    def __call__(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[str]:
        """A sentence an image.

        BLIP reads the padding of a shorter prompt, so what it said would depend on the other images of a batch: models
        that complete a sentence get equal prompts together.
        """
        if self.chats or not self.prompted:
            return self._say(images, prompts)
        said = [""] * len(images)
        for prompt in dict.fromkeys(prompts):
            rows = [row for row, other in enumerate(prompts) if other == prompt]
            for row, text in zip(rows, self._say([images[row] for row in rows], [prompt] * len(rows)), strict=True):
                said[row] = text
        return said

    def _say(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[str]:
        inputs = {name: value.to(self.device) for name, value in self._inputs(images, prompts).items()}
        given = inputs["input_ids"].clone() if "input_ids" in inputs else None  # BLIP writes into it
        with torch.inference_mode():
            found = self.network.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        asked = list(prompts)
        if given is not None:
            if torch.equal(found[:, : given.shape[1]], given):
                found = found[:, given.shape[1] :]
            asked = self.tokenizer.batch_decode(given, skip_special_tokens=True)
        texts = self.tokenizer.batch_decode(found, skip_special_tokens=True)
        return [_without(_without(text, ask), prompt) for text, ask, prompt in zip(texts, asked, prompts, strict=True)]

    def _inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
        if self.chats:
            return self.processor.apply_chat_template(
                [_message(image, prompt) for image, prompt in zip(images, prompts, strict=True)],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        if self.prompted:
            return self.processor(images=list(images), text=list(prompts), padding=True, return_tensors="pt")
        return self.processor(images=list(images), return_tensors="pt")


def _transformers() -> Any:
    import_torchvision()
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "text") from None
    return transformers


def _message(image: Image.Image, prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]


def _without(text: str, prompt: str) -> str:
    """One line, without the prompt that some models repeat, as they spell it."""
    said, asked = " ".join(text.split()), " ".join(prompt.split())
    return said.removeprefix(asked).strip()
