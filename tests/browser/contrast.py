"""Whether what the bench says can be read: the contrast of its texts, in the light and in the dark theme."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .jupyter import Page


def themes(page: Page) -> Iterator[str]:
    """Put on the dark theme of JupyterLab, then the light one, and over it what VS Code puts there when it is dark."""
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        page.wait_for("(theme) => document.body.dataset.jpThemeName === theme", theme)
        yield theme
    page.page.evaluate(
        "(colours) => (document.body.className += ' vscode-dark', document.body.style = colours)", _VS_CODE
    )
    yield "VS Code Dark"
    page.page.evaluate(
        "() => (document.body.classList.remove('vscode-dark'), document.body.removeAttribute('style'))"
    )


def hard_to_read(page: Page, inside: str = ".labkit-bench") -> list[Any]:
    """Texts in an element whose contrast with what lies behind them is below 4.5, with both colours."""
    return page.page.evaluate(_LOW, f"{inside} *")


_VS_CODE = "--vscode-editor-foreground: #cccccc; --vscode-editor-background: #1f1f1f"
_LOW = """(inside) => {
  const value = (text) => {
    const found = (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    return text.startsWith('color(') ? found.map((v, i) => (i < 3 ? v * 255 : v)) : found;
  };
  const over = (top, under) => {
    const a = top[3] === undefined ? 1 : top[3];
    return [0, 1, 2].map((i) => top[i] * a + under[i] * (1 - a));
  };
  const behind = (node) => {
    const found = [];
    for (let at = node; at; at = at.parentElement) found.push(value(getComputedStyle(at).backgroundColor));
    return found.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = (c) => c.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const low = [];
  for (const node of document.querySelectorAll(inside)) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(':disabled') || node.matches('option, style')) continue;
    const style = getComputedStyle(node), back = behind(node);
    if (node.closest('svg') && style.fill === 'none') continue;
    const front = over(value(node.closest('svg') ? style.fill : style.color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([node.textContent.trim().slice(0, 40), style.color, back.join()]);
  }
  return low;
}"""
