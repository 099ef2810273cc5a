"""The report of the reproduction as pages of the site: a verdict on each statement of the paper, then the experiments.

`localgrad reproduce --quick` computes it into `docs/report/`, and again only when the sources are newer than what is
there. A claim that does not hold stops the site. The pages are made from `claims.json`, from what the experiments say
of themselves, and from the figures; the report as one file is linked from the first of them.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localgrad.reproduction.catalogue import NAMES, load
from localgrad.reproduction.notation import NOTATION
from localgrad.reproduction.report import format_number
from localgrad.reproduction.section import count_verdicts

SOURCES = Path(__file__).parents[2] / "src" / "localgrad"


def compute(folder: Path) -> dict[str, Any]:
    """The document `claims.json` of a quick run whose files stand in `folder`, computed if they are missing or old."""
    stored = folder / "claims.json"
    newest = max(path.stat().st_mtime for path in SOURCES.rglob("*.py"))
    if not stored.exists() or stored.stat().st_mtime < newest:
        command = [sys.executable, "-m", "localgrad", "reproduce", "--quick", "--out", str(folder)]
        done = subprocess.run(command, env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the reproduction ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return json.loads(stored.read_text(encoding="utf-8"))


def plain(text: str) -> str:
    """`text` with the characters escaped that mean something in Markdown, code apart, for one line of a page."""
    parts = re.split(r"(`[^`]*`)", " ".join(str(text).split()))
    return "".join(x if x.startswith("`") else re.sub(r"([\\*_\[\]<>|$~#])", r"\\\1", x) for x in parts)


def rows(header: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A table of Markdown; the cells as they are, but for their bars."""
    lines = [list(header)]
    lines += [["---"] * len(lines[0]), *(list(cells) for cells in body)]
    return "".join("| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in line) + " |\n" for line in lines)


def link_of(claim: str) -> str:
    """A claim or check as a link to its row; the first part of its name is that of its experiment."""
    return f'<a href="{claim.partition(".")[0]}.html#{claim}">{claim}</a>'


def first_page(document: dict[str, Any]) -> str:
    """The verdicts, the experiments, and the notation."""
    verdicts = (
        (
            f"{plain(item['statement'])} *({plain(item['source'])})*",
            f"**{item['verdict']}**",
            f"{plain(item['why'])} {', '.join(map(link_of, item['tests']))}",
        )
        for item in document["paper"]
    )
    return f"""# The report

This is the report of `localgrad reproduce --quick` on the sources that this site was made from: a verdict on each
statement of the paper, then every experiment with its figures and claims. The full run, `make reproduce`, has finer
grids and more runs; a verdict on counts of runs can differ between the two.
The same as <a href="../report.html">one file, with the tables</a>.

## What the paper says, and what is found here

Of {len(document["paper"])} statements: {count_verdicts(document["paper"])}. A verdict follows from the
tests named beside it. [Findings](../findings.md) says where the paper has each statement, and what lies beyond it.

{rows(("statement of the paper", "verdict", "what was measured"), verdicts)}
## The experiments

```{{toctree}}
:maxdepth: 1

{chr(10).join(NAMES)}
```

## Notation

{rows(("symbol", "meaning"), ((plain(symbols), plain(meaning)) for symbols, meaning in NOTATION))}"""


def experiment_page(name: str, document: dict[str, Any]) -> str:
    """An experiment: its question, its figures, its claims and checks of the paper."""
    experiment = load(name)
    text = [f"# {plain(experiment.title)}\n\n{plain(experiment.question)}\n\n`localgrad reproduce {name} --quick`\n"]
    text += [
        f"```{{figure}} figures/{figure.name}.png\n:alt: {figure.name}\n\n{plain(figure.caption)}\n```\n"
        for figure in experiment.figures
    ]
    for kind, word in (("claims", "Claims"), ("checks", "Checks of what the paper says")):
        found = [claim for claim in document[kind] if claim["experiment"] == name]
        if found:
            text.append(f"## {word}\n\n{rows(('statement', 'source', 'expected', 'measured', ''), map(cells, found))}")
    return "\n".join(text)


def cells(claim: dict[str, Any]) -> tuple[str, ...]:
    """A claim or a check as the cells of a row, with the anchor that verdicts link to."""
    said = (
        ("holds" if claim["holds"] else "**fails**")
        if "holds" in claim
        else ("agrees" if claim["agrees"] else "**differs**")
    )
    anchor = f'<span id="{claim["id"]}"></span>'
    measured = format_number(claim["measured"])
    return anchor + plain(claim["statement"]), plain(claim["source"]), plain(claim["expected"]), measured, said


def pages(document: dict[str, Any]) -> dict[str, str]:
    """File → text of every page of the report."""
    return {"index.md": first_page(document)} | {f"{name}.md": experiment_page(name, document) for name in NAMES}
