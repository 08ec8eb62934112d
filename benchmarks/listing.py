"""Seconds to list a folder of many images, none opened, and what that takes of memory.

python benchmarks/listing.py [--files 200000] [--folders 200] [--no-suffix]

With --no-suffix each file is opened to look at its first bytes, as its name does not tell what it is.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

from activetune import open_pool

START = b"\x89PNG\r\n\x1a\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--folders", type=int, default=200)
    parser.add_argument("--no-suffix", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the files are made for the time of the run")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="file for the figures")
    options = parser.parse_args()
    suffix = "" if options.no_suffix else ".png"
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number in range(options.folders):
            (Path(folder) / f"class{number:05d}").mkdir()
        for number in range(options.files):
            path = Path(folder) / f"class{number % options.folders:05d}" / f"{number:09d}{suffix}"
            path.write_bytes(START if options.no_suffix else b"")
        started, processor = time.perf_counter(), time.process_time()
        pool = open_pool(folder)
        figures = {
            "files": len(pool),
            "folders": options.folders,
            "suffix": bool(suffix),
            "seconds": round(time.perf_counter() - started, 2),
            "processor_seconds": round(time.process_time() - processor, 2),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        figures["seconds_a_million"] = round(figures["seconds"] * 1e6 / len(pool), 1)
    print(json.dumps(figures))
    keep_row(options.out, figures, ("files", "suffix"))


if __name__ == "__main__":
    main()
