"""Whether a built site holds together: every link within it has a target, and nothing is loaded from another host.

The check reads the HTML that a browser would read, so it does not matter what made it. Links that a reader may follow
to other hosts are not tried: the site is made, and checked, offline.
"""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}


class Page(HTMLParser):
    """What a page offers to links (`ids`), what it links to (`links`), and what it loads (`loaded`)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take up one element."""
        for key, value in attrs:
            if key == "id" and value:
                self.ids.add(value)
            elif (tag, key) == ("a", "href") and value:
                self.links.add(value)
            elif (tag, key) in LOADED and value:
                self.loaded.add(value)


def is_elsewhere(link: str) -> bool:
    """Whether a link leaves the site."""
    return re.match(r"[a-z][a-z0-9+.-]*:|//", link) is not None


def broken_links(folder: Path) -> list[str]:
    """What is wrong with the links of a built site, one sentence each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        where = path.relative_to(folder).as_posix()
        wrong += [
            f"{where} loads {x} from elsewhere" for x in sorted(page.loaded) if is_elsewhere(x) and x[:5] != "data:"
        ]
        for link in sorted(x for x in page.links | page.loaded if not is_elsewhere(x)):
            file, anchor = urldefrag(link)
            target = (path.parent / unquote(file).partition("?")[0]).resolve() if file else path
            if not target.exists():
                wrong.append(f"{where} links to {link}, which does not exist")
            elif anchor and target in pages and unquote(anchor) not in pages[target].ids:
                wrong.append(f"{where} links to {link}, a place that its page does not have")
    return wrong
