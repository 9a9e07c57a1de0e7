"""axe-core, which looks for what people with a screen reader, or with weak eyes, cannot use.

The wheel axe-playwright-python carries `axe.min.js` (MPL-2.0); it is read from there, and must be the one whose SHA-256
stands here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["serious_findings"]

_WHEEL = "axe-playwright-python"
_SHA256 = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"
"""SHA-256 of `axe.min.js` of axe-core 4.12.1, which version 0.1.8 of the wheel carries."""


def serious_findings(page: Page) -> list[str]:
    """Run axe-core in a page; return each serious or critical finding with its element."""
    page.evaluate(_script())
    result: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert result["passes"], "axe-core has looked at nothing"
    return [
        f"{finding['id']}: {node['html'][:200]} {node['failureSummary']}"
        for finding in result["violations"]
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]


def _script() -> str:
    path = next(file for file in importlib.metadata.files(_WHEEL) or [] if file.name == "axe.min.js")
    content = Path(str(path.locate())).read_bytes()
    assert hashlib.sha256(content).hexdigest() == _SHA256, f"{_WHEEL} carries another axe-core than setup.cfg pins"
    return content.decode()
