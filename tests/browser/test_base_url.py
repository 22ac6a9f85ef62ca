"""Below a base URL, as JupyterHub and Binder give each user: the launcher, the panel and its links work there."""

from __future__ import annotations

from pathlib import Path

import pytest

from .clicks import see
from .jupyter import Lab

pytestmark = [pytest.mark.browser, pytest.mark.soak]
BASE = "/hub/user/ana-maría%40x/".replace("í", "%C3%AD")
CELL = """from pathlib import Path
from labkit.app.widgets.download import Download
Path("out").mkdir(exist_ok=True)
Path("out/a b.txt").write_text("the content")
link = Download(label="Take it")
link.offer(Path("out/a b.txt"))
link"""


def test_launcher_panel_and_links_below_a_base_url(chromium: str, tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    with Lab(tmp_path / "home", chromium, env={"LABKIT_LANGUAGE": "en"}, base=BASE) as lab:
        assert BASE in lab.url
        page = lab.launcher()
        page.page.locator(".jp-LauncherCard", has_text="labkit").first.click()
        page.page.locator(".labkit-bench .lk-brand").first.wait_for()
        see(page.page, "A sample")
        page.close()
        page = lab.open(lab.notebook("link.ipynb", [CELL]))
        page.run_cell(0)
        link = page.find("a.lk-link:text-is('Take it')")
        link.wait_for()
        assert BASE + "files/" in (link.get_attribute("href") or "")
        with page.page.expect_download() as download:
            link.click()
        assert Path(download.value.path()).read_text() == "the content"
        assert page.errors == page.far_requests() == []
        page.close()
