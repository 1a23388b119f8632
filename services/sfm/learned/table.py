"""`python -m services.sfm.learned.table`: the table of names in docs/features.md, made from the catalogues.

`--write` puts it between the marks in that file; a test holds the two together.
"""

import argparse
import sys
from pathlib import Path

from contracts.weights import Weights
from services.sfm.learned.catalogue import EXTRACTORS, MATCHERS, Learned
from services.sfm.resolution import AVAILABLE_FEATURES, AVAILABLE_MATCHERS

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
PAGE = Path(__file__).parents[3] / "docs" / "features.md"
_HEADINGS = ("name", "kind", "what it is", "CPU", "GPU", "weights from", "licence of the weights", "commercial use")
_BUILT_IN = {
    "sift": "RootSIFT by pycolmap (Lowe 2004; Arandjelović and Zisserman 2012)",
    "nearest": "mutual nearest neighbours with a ratio test (Lowe 2004)",
}


def rows() -> list[tuple[str, ...]]:
    """One per name, built-in ones first."""
    built_in = [
        (f"`{name}`", kind, _BUILT_IN[name], "yes", "runs on the CPU", "none needed", "–", "yes")
        for kind, names in (("features", AVAILABLE_FEATURES), ("matcher", AVAILABLE_MATCHERS))
        for name in sorted(names)
    ]
    learned = [
        _row(kind, entry)
        for kind, catalogue in (("features", EXTRACTORS), ("matcher", MATCHERS))
        for entry in catalogue.values()
    ]
    return built_in + learned


def _row(kind: str, entry: Learned) -> tuple[str, ...]:
    weights = entry.weights
    if not weights:
        return f"`{entry.name}`", kind, entry.network, "yes", "not tried", "none needed", "–", "yes"
    licences = {found.licence.name: found.licence for found in weights}
    return (
        f"`{entry.name}`",
        kind,
        entry.network,
        "yes",
        "not tried",
        "; ".join(_source(found) for found in weights),
        "; ".join(f"[{licence.name}]({licence.url})" for licence in licences.values()),
        "yes" if all(licence.commercial for licence in licences.values()) else "**no**",
    )


def _source(weights: Weights) -> str:
    checked = "checked" if all(file.digest for file in weights.files) else "trusted on first use"
    links = ", ".join(f"[{file.name}]({file.url})" for file in weights.files)
    return f"{links} ({checked})"


def table() -> str:
    """Markdown."""
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *rows()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def with_table(page: str) -> str:
    """The page with the table between its marks. Raises ValueError if they are missing."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{BEGIN} and {END} are not in the page")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="Write it into docs/features.md.")
    if parser.parse_args().write:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()
