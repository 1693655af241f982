"""A real headless Chromium in front of the collector, and what a page must never do in it."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.harness.requirements import skip_or_fail

# A machine that does much else takes its time.
expect.set_options(timeout=20_000)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"

# A text and what lies behind it, WCAG 2 1.4.3: the least contrast of all texts that are seen.
_CONTRASTS = """() => {
  const part = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((one) => one / 255)
      .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = part(getComputedStyle(one).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, .is-stale, [disabled]")) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [one, other] = [light(part(ink)), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push([walker.currentNode.data.trim(), contrast.toFixed(2)]);
  }
  return found;
}"""
_ROLES_WITH_NAMES = {
    "button",
    "link",
    "textbox",
    "searchbox",
    "radio",
    "img",
    "image",
    "graphics-document",
    "region",
}


@dataclass
class Watched:
    """A page, and what it did that it must not."""

    page: Page
    wrongs: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def keep(self, name: str) -> None:
        """Take a screenshot of the whole page."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def assert_usable(self) -> None:
        """No scrolling sideways, names for all controls, headings in order, readable texts."""
        page = self.page
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.documentElement.lang") == "en"
        for landmark in ("banner", "main", "contentinfo", "search"):
            assert page.get_by_role(landmark).count() == 1, landmark
        levels: list[int] = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3')]"
            ".filter(one => one.checkVisibility()).map(one => +one.tagName[1])"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert not [node for node in self._tree() if not node["name"]]
        assert page.evaluate(_CONTRASTS) == []

    def _tree(self) -> list[dict[str, str]]:
        """Role and name, as a screen reader is told, of what needs a name."""
        session = self.page.context.new_cdp_session(self.page)
        nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        return [
            {"role": node["role"]["value"], "name": node.get("name", {}).get("value", "")}
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in _ROLES_WITH_NAMES
        ]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; a test is left out where there is none."""
    if CHROMIUM is None:
        skip_or_fail("there is no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox can't be had as root, nor in many containers.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched_page(context: BrowserContext, base_url: str, *expected: str) -> Iterator[Watched]:
    """A page that may log no error but the `expected`, and ask nobody but the collector."""
    page = context.new_page()
    page.set_default_timeout(20_000)
    watched = Watched(page, expected=expected)

    def asked(request: Request) -> None:
        if not request.url.startswith(base_url):
            watched.wrongs.append(f"asked {request.url}")

    def logged(kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not any(one in text for one in expected):
            watched.wrongs.append(f"{kind}: {text}")

    page.on("request", asked)
    page.on("console", lambda message: logged(message.type, message.text))
    page.on("pageerror", lambda error: watched.wrongs.append(f"exception: {error}"))
    yield watched
    assert watched.wrongs == []
