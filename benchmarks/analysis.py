"""What the results say: medians, ratios, goals, exponents, and tables of them in Markdown."""

from __future__ import annotations

import statistics
from typing import NamedTuple

import numpy as np

from benchmarks.processes import FOREIGN_SHARE, IDLE_SHARE
from benchmarks.subjects import SUBJECTS, TITLES, variants
from benchmarks.workloads import LARGEST_EXPONENT


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    def text(self, digits=2):
        """The three as text."""
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def spread(values):
    """Median and quartiles of at least two values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


class Row(NamedTuple):
    """This library next to another subject, in one workload.

    Attributes:
        title: Model and sizes.
        peer: Name of the peer in `benchmarks.subjects`.
        variant: Name of its fastest variant, or that of the least memory.
        ours: Milliseconds of a step, or MiB.
        theirs: The same of the variant.
        ratio: The first by the second; of times that of the medians and quartiles of the rounds.
        goal: Largest wanted ratio, or `None`.
        activity: Share of outputs other than 0 of each layer, ours and theirs.
        bound: The ratio that the matrix products alone would have, or `None`.
        disturbed: Whether the processors were used by others in most rounds.
    """

    title: str
    peer: str
    variant: str
    ours: Spread
    theirs: Spread
    ratio: Spread
    goal: float | None
    activity: tuple
    bound: float | None
    disturbed: bool

    @property
    def remark(self):
        """The verdict, and if so that no implementation could meet the goal."""
        if self.disturbed:
            return self.verdict
        out_of_reach = self.bound is not None and self.goal is not None and self.bound > self.goal
        return self.verdict + (f", the bound is {self.bound:.2f}" if out_of_reach else "")

    @property
    def verdict(self):
        """Whether the goal is met, as the tables have it."""
        if self.disturbed:
            return "disturbed"
        if self.goal is None:
            return ""
        return "met" if self.ratio.median <= self.goal else "**missed**"


def rows_of(content):
    """The rows of one result of training, inference or memory, one for each peer."""
    subjects = content["subjects"]
    values = {
        name: _values(content, result) for name, result in subjects.items() if "error" not in result
    }
    rows = []
    for peer in TITLES:
        names = [name for name in variants(peer) if name in values]
        if peer == "fused" or not names:
            continue
        best = min(names, key=lambda name: statistics.median(values[name]))
        ratios = [a / b for a, b in zip(values["fused"], values[best], strict=True)]
        rows.append(
            Row(
                title=content["title"],
                peer=peer,
                variant=best,
                ours=spread(values["fused"]),
                theirs=spread(values[best]),
                ratio=spread(ratios),
                goal=content["goals"].get(peer),
                activity=tuple(subjects[name].get("activity") for name in ("fused", best)),
                bound=_bound(values, best),
                disturbed=any(_foreign(subjects[name]) for name in ("fused", best)),
            )
        )
    return rows


def _foreign(result):
    return statistics.median(result.get("foreign", [0.0])) > FOREIGN_SHARE


def _bound(values, name):
    if "products" not in values:
        return None
    return statistics.median(values["products"]) / statistics.median(values[name])


def _values(content, result):
    if content["kind"] == "memory":
        # One value: the peak of several steps. Twice, as quartiles need two.
        return [result["peak"] - result["warm"]] * 2
    return [1000 * seconds / content["batches"] for seconds in result["seconds"]]


def table_of(rows, unit="ms"):
    """Lines of a Markdown table."""
    lines = [
        f"| workload | {unit} | active | against | {unit} | active | ratio | goal | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    digits = 1 if unit == "ms" else 0
    for row in rows:
        ours, theirs = (
            value.text(digits) if unit == "ms" else f"{value.median:.0f}"
            for value in (row.ours, row.theirs)
        )
        cells = [
            row.title,
            ours,
            _shares(row.activity[0]),
            TITLES[row.peer] + ("" if row.variant == row.peer else f", {row.variant}"),
            theirs,
            _shares(row.activity[1]),
            row.ratio.text() if unit == "ms" else f"{row.ratio.median:.2f}",
            "" if row.goal is None else f"≤ {row.goal:g}",
            row.remark,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _shares(activity):
    return "" if activity is None else ", ".join(f"{100 * share:.1f} %" for share in activity)


def variants_table(contents):
    """Lines of a table of each variant of each peer, and of those that could not be compiled."""
    lines = ["| workload | subject | what it is | ms | ratio | |", "|---|---|---|---|---|---|"]
    for content in contents:
        ours = _values(content, content["subjects"]["fused"])
        for name, result in content["subjects"].items():
            cells = [content["title"], f"`{name}`", SUBJECTS[name].how]
            if "error" in result:
                cells += ["", "", "cannot be compiled"]
            else:
                values = _values(content, result)
                ratio = spread([a / b for a, b in zip(ours, values, strict=True)])
                cells += [spread(values).text(1), ratio.text(), disturbance(result)]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def disturbance(result):
    """What used the processors when it should not have, as text."""
    remarks = []
    if result["idle"] > IDLE_SHARE:
        remarks.append(f"used {100 * result['idle']:.0f} % of a processor while it waited")
    if _foreign(result):
        share = statistics.median(result["foreign"])
        remarks.append(f"others used {100 * share:.0f} % of the processors meanwhile")
    return "; ".join(remarks)


def fitted_exponent(sizes, values):
    """The exponent e of the best fit `c * size ** e`, on logarithmic axes.

    Args:
        sizes: Positive numbers, at least two different ones.
        values: Positive numbers, one for each size.

    Returns:
        A tuple of the exponent and the largest deviation of a value from the fit, as a factor.
    """
    logs = np.log(sizes), np.log(values)
    fit = np.polyfit(*logs, 1)
    return float(fit[0]), float(np.exp(np.abs(np.polyval(fit, logs[0]) - logs[1]).max()))


class Growth(NamedTuple):
    """One fitted exponent.

    Attributes:
        what: What grows, and with what.
        values: The smallest and the largest value, as text.
        exponent: The fitted exponent; of times that of each round: median and quartiles.
        deviation: Largest factor between a median and its fit.
        last: The exponent of the two largest sizes alone, which a constant part hardly changes.
        goal: Largest wanted exponent, or `None`.
        disturbed: Whether at one of the sizes others used the processors in most rounds.
    """

    what: str
    values: str
    exponent: Spread
    deviation: float
    last: float
    goal: float | None
    disturbed: bool


def exponents_of(sizes, rounds):
    """Median and quartiles of the fitted exponents of each round, a list of values."""
    exponents = [fitted_exponent(sizes, values)[0] for values in rounds]
    return spread(exponents if len(exponents) > 1 else exponents * 2)


def growth_rows(name, content):
    """The fitted exponents of one series."""
    points = content["points"]
    sizes = [point["size"] for point in points]

    disturbed = any(_foreign(point[who]) for point in points for who in ("fused", "products"))

    def row(what, rounds, unit, goal=None):
        medians = [statistics.median(values) for values in zip(*rounds, strict=True)]
        _, deviation = fitted_exponent(sizes, medians)
        last, _ = fitted_exponent(sizes[-2:], medians[-2:])
        ends = f"{medians[0]:.0f} to {medians[-1]:.0f} {unit}"
        text = f"{what}; {name.replace('_', ' ')}, {sizes[0]} to {sizes[-1]}"
        return Growth(
            text,
            ends,
            exponents_of(sizes, rounds),
            deviation,
            last,
            goal,
            unit == "ms" and disturbed,
        )

    products = row("matrix products", rounds_of(content, "products"), "ms")
    largest = LARGEST_EXPONENT
    if content["size"] != "steps":  # As the products are.
        largest = products.exponent.median + LARGEST_EXPONENT - 1
    rows = [row("time", rounds_of(content, "fused"), "ms", largest), products]
    if "memory" in points[0]:
        checkpoints = "checkpoint_every" in content["workload"]["options"]
        goal = LARGEST_EXPONENT - 0.5 * checkpoints
        rows.append(row("memory", [memory_of(content)], "MiB", goal))
    return rows


def rounds_of(content, who):
    """Milliseconds of a step at each size, of each round."""
    milliseconds = [[1000 * each for each in point[who]["seconds"]] for point in content["points"]]
    return list(zip(*milliseconds, strict=True))


def memory_of(content):
    """MiB of a step at each size."""
    return [point["memory"]["peak"] - point["memory"]["warm"] for point in content["points"]]


def growth_table(growths):
    """Lines of a table of the fitted exponents."""
    lines = [
        "| what grows | from, to | exponent | largest deviation | last doubling | goal | |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in growths:
        goal, verdict = "", ""
        if each.goal is not None:
            goal = f"≤ {each.goal:.2f}"
            verdict = "met" if each.exponent.median <= each.goal else "**missed**"
            verdict = "disturbed" if each.disturbed else verdict
        deviation = f"{100 * (each.deviation - 1):.0f} %"
        lines.append(
            f"| {each.what} | {each.values} | {each.exponent.text()} | {deviation} "
            f"| {each.last:.2f} | {goal} | {verdict} |"
        )
    return lines
