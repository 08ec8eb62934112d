"""mAP of boxes where images count several times, as they do in a bootstrap: each image is matched once for all draws.

Which object a detection is given to depends on the other boxes of its image alone (:mod:`activetune.evaluation.boxes`
says how), so a draw of images changes the sums and nothing else. Of a class and an overlap, with its detections in the
order of their scores and w how often their images were drawn, precision after a right one is tp / (tp + fp), where
tp and fp are the sums of w over the right and the wrong ones so far, and recall is tp over the sum of w over the
objects. Between two right ones precision falls and recall stands still, so it is enough to look at the right ones.

The figure is that of the set in which each image stands w times, as faster-coco-eval and pycocotools tell it, to the
last digits. Deviation: of several detections of one class in one image that have the same score, all copies of the
first come before those of the second; in a set of copies they take turns.

Cost of a draw: M + 10 G additions and 1,010 look-ups in G of each class. 102 images with 16,522 detections of 3 classes
take 1.5 ms a draw on one core of a busy machine, where scoring a set of copies takes 160 ms.
Shape legend: N images, W draws, Y classes, M detections and G right ones among them, T overlaps, R recalls, D
detections and K objects of one image and class.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray, rows_by_key
from activetune.evaluation.boxes import DETECTIONS, BoxState, ranks

OVERLAPS_T = np.linspace(0.5, 0.95, 10)
RECALLS_R = np.linspace(0.0, 1.0, 101)
RIGHT, WRONG, LEFT_OUT = 1, 0, -1  # in a crowd a detection is neither right nor wrong
CHUNK = 2**18  # numbers of a class that are held at once: what a cache has room for

Verdicts = npt.NDArray[np.int8]


class Matches(NamedTuple):
    """Detections, the surest first, and whether they are right.

    Attributes:
        image_M: position of the image. class_M: of the class. verdict_MT: 1 right, 0 wrong, -1 in a crowd, at each
            overlap. objects_NY: objects of each image that are no crowd.
    """

    image_M: IntArray
    class_M: IntArray
    verdict_MT: Verdicts
    objects_NY: IntArray


def matched(state: BoxState) -> Matches:
    """All detections of a scorer's state, each given to an object of its image or to none."""
    images, classes = len(state.items), len(state.classes)
    order_N = ranks(state.items)  # ties of scores go to the first image by its id
    surest = np.lexsort((order_N[state.found[:, 0].astype(np.int64)], -state.found[:, 2]))
    found = state.found[surest]
    pairs_M, pairs_K = (rows[:, :2].astype(np.int64) @ np.asarray([classes, 1]) for rows in (found, state.truth))
    kept = np.sort(
        np.concatenate([rows[:DETECTIONS] for _, rows in rows_by_key(pairs_M)] or [np.empty(0, dtype=np.int64)])
    )
    found, pairs_M = found[kept], pairs_M[kept]
    verdict_MT = np.full((len(found), len(OVERLAPS_T)), WRONG, dtype=np.int8)
    objects = dict(rows_by_key(pairs_K))
    for pair, rows in rows_by_key(pairs_M):
        if pair in objects:
            truth = state.truth[objects[pair]]
            verdict_MT[rows] = _verdicts(_overlaps(found[rows, 3:], truth[:, 3:], truth[:, 2] > 0), truth[:, 2] > 0)
    plain = pairs_K[state.truth[:, 2] == 0]
    objects_NY = np.bincount(plain, minlength=images * classes).reshape(images, classes)
    return Matches(found[:, 0].astype(np.int64), found[:, 1].astype(np.int64), verdict_MT, objects_NY)


def weighted_map(matches: Matches, weights_WN: FloatArray) -> FloatArray:
    """(W,) mAP when each image counts so often, in whole numbers.

    A class without an object in a draw is left out there; a draw without any object has 0.
    """
    found = np.zeros(len(weights_WN))
    of_class = [np.flatnonzero(matches.class_M == number) for number in range(matches.objects_NY.shape[1])]
    size = max(1, CHUNK // max(1, *(len(rows) for rows in of_class), matches.objects_NY.shape[1]))
    for start in range(0, len(found), size):
        counts_WN = np.rint(weights_WN[start : start + size])
        objects_WY = counts_WN @ matches.objects_NY.astype(np.float64)
        total_W = np.zeros(len(counts_WN))
        for number, rows in enumerate(of_class):
            drawn = np.flatnonzero(objects_WY[:, number])
            counts_WM = counts_WN[np.ix_(drawn, matches.image_M[rows])].astype(np.int64)
            objects_W = objects_WY[drawn, number].astype(np.int64)
            total_W[drawn] += _average_precision(counts_WM, matches.verdict_MT[rows], objects_W)
        found[start : start + size] = total_W / np.maximum(1, (objects_WY > 0).sum(axis=1))
    return found


def _average_precision(counts_WM: IntArray, verdict_MT: Verdicts, objects_W: IntArray) -> FloatArray:
    """(W,) of one class, a mean over the overlaps; M are its detections."""
    if not len(counts_WM):
        return np.zeros(0)
    until_WM = counts_WM.cumsum(axis=1)
    needed_WR = _needed(objects_W)
    total_W = np.zeros(len(counts_WM))
    for verdict_M in verdict_MT.T:
        right = np.flatnonzero(verdict_M == RIGHT)
        if not len(right):
            continue
        right_WG, until_WG = counts_WM[:, right].cumsum(axis=1), until_WM[:, right]
        if (verdict_M == LEFT_OUT).any():
            until_WG = until_WG - (counts_WM * (verdict_M == LEFT_OUT)).cumsum(axis=1)[:, right]
        precision_WG = right_WG / np.maximum(1, until_WG)
        total_W += _read(precision_WG, right_WG, needed_WR).mean(axis=1)
    return total_W / len(OVERLAPS_T)


def _needed(objects_W: IntArray) -> IntArray:
    """(W, R) the smallest number of right ones that is each recall, by the division that COCO's code makes."""
    objects_W1, least = objects_W[:, None], np.ceil(RECALLS_R * objects_W[:, None])
    least -= (least - 1) / objects_W1 >= RECALLS_R
    least += least / objects_W1 < RECALLS_R
    return least.astype(np.int64)


def _read(precision_WG: FloatArray, right_WG: IntArray, needed_WR: IntArray) -> FloatArray:
    """(W, R) the highest precision at each recall or a higher one; 0 at those that are not reached."""
    draws, count = right_WG.shape
    best_WG = np.maximum.accumulate(precision_WG[:, ::-1], axis=1)[:, ::-1]
    # One search for all draws: those of a draw are set off by more than any number in it.
    apart_W1 = (np.arange(draws) * (int(needed_WR.max()) + int(right_WG.max()) + 1))[:, None]
    places_WR = np.searchsorted((right_WG + apart_W1).ravel(), (needed_WR + apart_W1).ravel()).reshape(needed_WR.shape)
    places_WR -= np.arange(draws)[:, None] * count
    read_WR = np.take_along_axis(best_WG, np.minimum(places_WR, count - 1), axis=1)
    return np.where(places_WR < count, read_WR, 0.0)


def _overlaps(found_D4: FloatArray, truth_K4: FloatArray, crowd_K: npt.NDArray[np.bool_]) -> FloatArray:
    """(D, K) intersection over union; of a crowd, over the detection's own area."""
    found_D2, truth_K2 = found_D4[:, 2:] - found_D4[:, :2], truth_K4[:, 2:] - truth_K4[:, :2]
    # A box is a corner and its sides there: the same sums, rounded alike, so that an overlap of just 0.5 stays one.
    ends = np.minimum((found_D4[:, :2] + found_D2)[:, None], (truth_K4[:, :2] + truth_K2)[None])
    common_DK2 = np.maximum(0, ends - np.maximum(found_D4[:, None, :2], truth_K4[None, :, :2]))
    common_DK, own_D1 = common_DK2.prod(axis=2), found_D2.prod(axis=1)[:, None]
    union_DK = np.where(crowd_K, own_D1, own_D1 + truth_K2.prod(axis=1) - common_DK)
    shares: FloatArray = np.divide(common_DK, union_DK, out=np.zeros_like(common_DK), where=common_DK > 0)
    return shares


def _verdicts(overlap_DK: FloatArray, crowd_K: npt.NDArray[np.bool_]) -> Verdicts:
    """(D, T) by giving each detection, the surest first, to the object that it overlaps most of those that are left."""
    found = np.full((len(overlap_DK), len(OVERLAPS_T)), WRONG, dtype=np.int8)
    plain_DK, last = overlap_DK[:, ~crowd_K], int((~crowd_K).sum()) - 1
    crowd_D: Any = overlap_DK[:, crowd_K].max(axis=1, initial=0.0)
    left_TK = np.ones((len(OVERLAPS_T), last + 1), dtype=bool)
    for row in np.flatnonzero(overlap_DK.max(axis=1) >= OVERLAPS_T[0]).tolist():
        found[row, crowd_D[row] >= OVERLAPS_T] = LEFT_OUT
        if last < 0:
            continue
        possible_TK = np.where(left_TK & (plain_DK[row] >= OVERLAPS_T[:, None]), plain_DK[row], -1.0)
        best_T = last - possible_TK[:, ::-1].argmax(axis=1)  # of equal ones the last
        given = np.flatnonzero(possible_TK[np.arange(len(best_T)), best_T] > 0)
        found[row, given] = RIGHT
        left_TK[given, best_T[given]] = False
    return found
