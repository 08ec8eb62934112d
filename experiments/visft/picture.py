"""Where the class token looks: the backbone as it came, and the arms ``joint`` and ``permuted``; scikit-learn's photos.

python experiments/visft/picture.py --weights DIR       # after run.py --seed 0; writes attention.jpg beside this script
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

sys.path.insert(0, str(Path(__file__).parent))
from run import BACKBONE, WEIGHTS, options_of

from activetune.base.run import Run
from activetune.base.runtime import resolve_runtime
from activetune.studies.compare.attention import maps, picture
from activetune.studies.compare.side import Side


def main() -> None:
    options = options_of(__doc__).parse_args()
    run = Run(seed=options.seed, workers=0)
    given: list[tuple[str, str | None]] = [(BACKBONE, str(options.weights / WEIGHTS))]
    given += [(str(options.out / f"{arm}-{options.seed}"), None) for arm in ("joint", "permuted")]
    sides = [
        Side(name, weights, resolve_runtime(run.device, run.precision), run, options.out / "picture")
        for name, weights in given
    ]
    images = [Image.fromarray(image) for image in load_sample_images().images]
    shown = [[side.backbone.prepare(image) for image in images] for side in sides]
    found = [maps(side, prepared) for side, prepared in zip(sides, shown, strict=True)]
    sheet = picture(shown, [one for one in found if one is not None])
    sheet.save(Path(__file__).with_name("attention.jpg"), quality=88)


if __name__ == "__main__":
    main()
