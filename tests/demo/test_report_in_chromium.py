"""The demo's page in a real browser: pictures load, Korean is drawn, nothing runs out of the window."""

import json
import re
import shutil
import subprocess

import pytest

from tests.workflow.planning import ROOT

pytestmark = pytest.mark.demo
PAGE = ROOT / "results" / "demo" / "report" / "index.html"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=20000",
    "--dump-dom",
]

# Two syllables that look alike only when the font has neither, and what a reader would frown at.
PROBE = """<script>
document.fonts.ready.then(() => {
  const drawn = (text) => {
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
    context.font = "32px " + getComputedStyle(document.body).fontFamily;
    context.fillText(text, 4, 40);
    return canvas.toDataURL();
  };
  const found = {
    korean: drawn("원") !== drawn("별") && drawn("원") !== drawn(""),
    pictures: document.images.length,
    broken: [...document.images].filter((image) => !image.naturalWidth).length,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
  };
  document.documentElement.setAttribute("data-found", JSON.stringify(found));
});
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "install chromium (Debian: apt-get install chromium) for this test"
    return path


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_is_drawn_whole(chromium, tmp_path, width):
    page = PAGE.read_text(encoding="utf-8")
    assert "원" in page and "별" in page
    unlocked, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert count == 1, "the page forbids scripts and loads; the probe is one"
    (tmp_path / "page.html").write_text(unlocked.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000"]
    done = subprocess.run(
        [*command, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=600, check=True
    )
    found = json.loads(re.search(r'data-found="([^"]*)"', done.stdout)[1].replace("&quot;", '"'))
    assert found["korean"], "Korean syllables are drawn as empty boxes"
    assert found["pictures"] > 50 and found["broken"] == 0
    assert found["overflow"] <= 0
