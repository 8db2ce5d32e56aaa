"""The page of the runs without a server, and what a page of it holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from lifelong.runs.run_status import Folder
from lifelong.watch.app import application


def serving(folder: Path, **guard: Any) -> TestClient:
    return TestClient(application(Folder(folder), **guard), base_url="http://127.0.0.1:8765", follow_redirects=False)


class Read(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def of(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name in names]

    def cells(self) -> list[str]:
        """The classes of R's cells."""
        looks = [a["class"] or "" for a in self.of("td") if "class" in a]
        return [c for c in looks if re.match(r"v\d+|empty|undefined", c)]


PAGES = ["/", "/run/first", "/run/deep/second", "/two", "/two?run=first&run=deep%2Fsecond"]
