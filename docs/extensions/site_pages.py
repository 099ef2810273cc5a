"""What the site does beyond Sphinx: it writes the reference and the report, links names in code, and is checked.

Pages included from the root of the repository link to files as GitHub needs it (`docs/theory.md`); here these become
pages of the site. A name in code, `lg.learn` anywhere or `learn` in the reference, becomes a link to its entry. A
finished site with a broken link is an error (`built_site.py`).
"""

import re
import shutil
from pathlib import Path
from typing import Any

import command_line
import reference
import report
from built_site import broken_links
from docutils import nodes
from sphinx.addnodes import desc, pending_xref
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

# A file at the root of the repository → its page.
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}


def write_pages(app: Sphinx) -> None:
    """The pages of the reference and of the report."""
    source = Path(app.srcdir)
    write(source / "reference", reference.pages() | {"command_line.md": command_line.page()})
    write(source / "report", report.pages(report.compute(source / "report")))


def write(folder: Path, pages: dict[str, str]) -> None:
    """The pages of a folder; a file that is as it should be is left, so that Sphinx need not read it again."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def link_pages(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    """Links between the files at the root and those of `docs/`, made to fit a page of the site."""
    text = re.sub(r"\]\(docs/", "](", content[0])
    for name, page in ROOT_PAGES.items():
        text = text.replace(f"]({name})", f"]({page})")
    content[0] = text


def link_names(app: Sphinx, tree: nodes.document) -> None:
    """Names in code become links to the reference, but not inside a link, a heading, or their own entry."""
    docname = app.env.docname
    for literal in list(tree.findall(nodes.literal)):
        target = reference.public_target(literal.astext(), bare=docname.startswith("reference/"))
        if target and not closed_to_links(literal, target):
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=target, refdoc=docname, refexplicit=True)
            literal.replace_self(link)
            link += literal


def closed_to_links(node: nodes.Node, target: str) -> bool:
    """Whether a node stands in a link, a heading, or the entry of the target, of which it may be an argument too."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, nodes.reference | pending_xref | nodes.title):
            return True
        if isinstance(node, desc) and (target in node[0].get("ids", []) or parameter_of(node, target)):
            return True
    return False


def parameter_of(entry: desc, target: str) -> bool:
    """Whether the last part of a name is also a parameter of the entry."""
    written = re.findall(r"\w+(?==|,|\)|$)", entry[0].astext())
    return target.rpartition(".")[2] in written[1:]


def finish_site(app: Sphinx, error: Exception | None) -> None:
    """The report as one file goes along; an error if a link of the site leads nowhere, or a page needs another host."""
    if error is not None or app.builder.format != "html":
        return
    shutil.copy(Path(app.srcdir) / "report" / "report.html", app.outdir)
    if wrong := broken_links(Path(app.outdir).resolve()):
        raise ExtensionError("the site has broken links:\n" + "\n".join(wrong))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all this with Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("include-read", link_pages)
    app.connect("doctree-read", link_names)
    app.connect("build-finished", finish_site)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
