"""The model that the demo made of its picks: how good it is, the commands that make it, and what it takes for what."""

from __future__ import annotations

from activetune.base.tables import read_table
from activetune.report.page import Card, Page, data_uri
from activetune.report.panels._base import Panel
from activetune.report.subject import DEMO, Subject

SHOWN = 24  # mistakes


class DemoModel(Panel):
    """See the module."""

    kinds = (DEMO,)
    order = 15

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        job = subject.manifest["job"]
        scores = job["scores"]
        page.heading("From picks to a model")
        page.figures(
            [
                ("labels", f"{job['labels']:,}"),
                ("balanced accuracy", f"{100 * scores['balanced_accuracy']:.1f} %"),
                ("top-1", f"{100 * scores['top1']:.1f} %"),
                ("images held out", f"{scores['n']:,}"),
            ]
        )
        page.paragraph(f"The picks of {job['method']} got their labels, and {job['recipe']} made a model of them:")
        page.code("\n".join(job["commands"]))
        if job["exported"]:
            other = job["exported"]
            page.paragraph(
                f"The last line writes it for programs that know nothing of activetune: model.onnx, which is right on "
                f"{100 * other['scores']['top1']:.1f} % of the same images. Its numbers differ from PyTorch's by "
                f"{other['largest_difference']:.0e} of the largest one, or less."
            )
        classes = scores["confusion"]["classes"]
        page.subheading("What is taken for what")
        page.table(
            ["answer", *[f"taken for {name}" for name in classes], "right, %"],
            [
                [name, *[f"{count:,}" for count in counts], f"{100 * counts[row] / max(1, sum(counts)):.1f}"]
                for row, (name, counts) in enumerate(zip(classes, scores["confusion"]["matrix"], strict=True))
            ],
        )
        page.subheading("Its surest mistakes")
        page.cards(_mistakes(subject))


def _mistakes(subject: Subject) -> list[Card]:
    """Held-out images whose answer is another one, the surest first."""
    test, found = read_table(subject.folder / "images" / "test.csv"), read_table(subject.folder / "predictions.csv")
    truth = dict(zip(map(str, test["path"]), map(str, test["label"]), strict=True))
    rows = zip(map(str, found["id"]), map(str, found["label"]), map(float, found["probability"]), strict=True)
    wrong = sorted((-sure, item, name) for item, name, sure in rows if name != truth[item])
    return [
        Card(
            data_uri(subject.folder / "images" / item),
            f"{truth[item]}, taken for {name}",
            [f"sure to {-100 * sure:.0f} %", item],
            small=True,
        )
        for sure, item, name in wrong[:SHOWN]
    ]
