"""Every link of every page leads somewhere, and every picture is there."""

import subprocess
from pathlib import Path

import pytest

from .blocks import REPOSITORY, anchors, links, text_of

PAGES = subprocess.check_output(["git", "ls-files", "*.md"], cwd=REPOSITORY, text=True).split()


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere; other sites are not asked."""
    text, wrong = page.read_text(encoding="utf-8"), []
    for link in (link for link in links(text) if "://" not in link):
        file, _, anchor = link.partition("#")
        place = page.parent / file if file else page
        if not place.exists() or (anchor and anchor not in anchors(place.read_text(encoding="utf-8"))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_page_lead_somewhere(page):
    assert broken(REPOSITORY / page) == []


def test_there_are_links():
    assert len(PAGES) > 15
    assert sum(len(links(text_of(page))) for page in PAGES) > 40


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](no.md) [d](page.md#one) [e](page.md#no) ![f](no.png)\n")
    assert broken(page) == ["#two", "no.md", "page.md#no", "no.png"]
