"""What loading a pretrained model of language has in common, whatever library it is of."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from activetune.base.errors import ActivetuneError, UsageError, first_line
from activetune.base.hub import reachable_hub
from activetune.base.torchvision_ import import_torchvision


@contextlib.contextmanager
def loading(name: str, model: str) -> Iterator[None]:
    """Turn what a library raises about an unknown, unreachable or damaged model into a sentence.

    transformers' bar over the weights in a file is left out; that of a download is shown. What it says of layers that
    a file lacks is left to ``networks/transformers_.py``.

    Args:
        name: as it was given. model: a folder or file, or else a name on the hub, which is asked only if it is there.
    """
    local = Path(model).exists()
    try:
        with contextlib.nullcontext() if local else reachable_hub(), _silent():
            yield
    except Exception as error:  # the readers of files raise errors of many libraries
        if isinstance(error, ActivetuneError):
            raise
        kind, where = (UsageError, "") if local else (ActivetuneError, ", and there is no folder of that name")
        raise kind(
            f"the model {name} can't be loaded ({first_line(error)}){where}; give its local folder, or another"
        ) from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    if importlib.util.find_spec("transformers") is None:  # open_clip does without
        yield
        return
    import_torchvision()
    logging: Any = importlib.import_module("transformers.utils.logging")
    shown, before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    if shown:
        logging.disable_progress_bar()
        importlib.import_module("huggingface_hub.utils").enable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if shown:
            logging.enable_progress_bar()


def with_words(tokenizer: Any) -> Any:
    """A tokenizer as it is; call it under :func:`loading`.

    Raises:
        ValueError: it knows special tokens alone, as one whose files are missing.
    """
    words: Sequence[str] = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    if not words:
        raise ValueError("its tokenizer knows no word; the files of the tokenizer are missing beside it")
    return tokenizer
