"""What a client may send, read and checked for its form: the bodies of requests as entries of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.files import parse_json
from activetune.data.answers import class_name
from activetune.labelling.journal import Entry
from activetune.labelling.sheet import LABELLED, STATES

LONGEST = 2_000  # signs of a name or a reason
LONGEST_CLIENT = 200
MOST = 20_000  # answers of one request
ANSWER = ("sequence", "id", "state", "label", "labels", "reason", "by", "suggestion")
LAST = 2**53 - 1  # a whole number that JavaScript keeps exactly


def read_answers(body: bytes) -> list[Entry]:
    """``{"client": "…", "answers": [{"sequence": 1, "id": "…", "label": "a", "state": "labelled"}, …]}``.

    An answer may also have ``labels`` (a list, in place of ``label``), ``reason``, ``by`` and ``suggestion`` (what was
    shown: a class name or a list of them; null or left out where nothing was).

    Raises:
        UsageError: something else.
    """
    given = _object(body)
    answers = given.get("answers")
    if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
        raise UsageError('answers must be a list of objects: [{"sequence": 1, "id": "…", "label": "…"}]')
    if len(answers) > MOST:
        raise UsageError(f"{len(answers):,} answers in one request; send at most {MOST:,}")
    _refuse_others(given, ("client", "answers"), "the request")
    client = _client(given)
    return [Entry(client, _sequence(answer), _answer(answer)) for answer in answers]


def read_class_change(body: bytes) -> Entry:
    """``{"client": "…", "sequence": 2, "kind": "add", "name": "…"}``, ``remove``; ``to`` with ``rename`` and ``undo``.

    Raises:
        UsageError: something else.
    """
    given = _object(body)
    kind = given.get("kind")
    if kind == "add":
        content = {"kind": kind, "name": new_name(given.get("name"))}
    elif kind in ("rename", "undo"):
        content = {"kind": kind, "name": text("name", given.get("name")), "to": new_name(given.get("to"))}
    elif kind == "remove":
        content = {"kind": kind, "name": text("name", given.get("name"))}
    else:
        raise UsageError(
            f"kind {kind!r} is not known; allowed: add, rename (two classes become one where both are there), undo (of "
            "the last rename), remove"
        )
    _refuse_others(given, ("client", "sequence", *content), "the change of a class")
    return Entry(_client(given), _sequence(given), content)


def _answer(given: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as the content of an event."""
    _refuse_others(given, ANSWER, "an answer")
    state = given.get("state", LABELLED)
    if state not in STATES:
        raise UsageError(f"state {state!r} is not known; allowed: {', '.join(STATES)}")
    content: dict[str, Any] = {"kind": "answer", "id": text("id", given.get("id")), "state": state, "labels": []}
    if state == LABELLED:
        content["labels"] = _labels(given)
    for name in ("reason", "by"):
        if given.get(name):
            content[name] = text(name, given[name])
    shown = given.get("suggestion")
    if shown is not None:
        content["suggestion"] = [text("suggestion", name) for name in (shown if isinstance(shown, list) else [shown])]
    return content


def _labels(given: Mapping[str, Any]) -> list[str]:
    """The classes of an answer, given as ``label`` or as ``labels``; as both where they say the same."""
    label, listed = given.get("label"), given.get("labels")
    if listed is None:
        listed = None if label is None else [label]
    if not isinstance(listed, list):
        raise UsageError("a labelled item needs its class: label, a text (or labels, a list of them)")
    names = sorted({text("label", name) for name in listed})
    if label is not None and names != [label]:
        raise UsageError(f"label is {label!r} and labels are {listed!r}; give one of both, or the same class in both")
    return names


def _refuse_others(given: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Refuse a field that says nothing here: most likely it is one of the others, mistyped."""
    if others := [str(name) for name in given if name not in known]:
        raise UsageError(f"{what} has no field {others[0]!r}; known: {', '.join(known)}")


def new_name(given: object) -> str:
    """A name for a class, as labels are read everywhere.

    Raises:
        UsageError: it is none.
    """
    name = class_name(given) if isinstance(given, str) else None
    if name is None:
        raise UsageError(f"{given!r} can't be the name of a class; give a text")
    return text("the name of a class", name)


def text(what: str, given: object) -> str:
    """A text of a bearable length.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(given, str) or len(given) > LONGEST:
        raise UsageError(f"{what} must be a text of at most {LONGEST:,} signs")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} is no valid text: {given!r}") from None
    return given


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        given = parse_json(body)
    except ValueError as error:
        raise UsageError(f"the body is no JSON ({error}); it must be an object") from None
    if not isinstance(given, Mapping):
        raise UsageError("the body must be a JSON object")
    return given


def _client(given: Mapping[str, Any]) -> str:
    client = text("client", given.get("client"))
    if not client or len(client) > LONGEST_CLIENT:
        raise UsageError(f"client must be a text of 1 to {LONGEST_CLIENT} signs that names the sender")
    return client


def _sequence(given: Mapping[str, Any]) -> int:
    sequence = given.get("sequence")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 1 <= sequence <= LAST:
        raise UsageError(f"sequence must be a whole number from 1 on, another one for each answer, not {sequence!r}")
    return sequence
