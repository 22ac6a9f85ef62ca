"""Forty strings that must show as text: each would run, fetch, reorder, hide or break something if it were believed."""

from __future__ import annotations

HOSTILE = (
    # scripts and handlers
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "<svg><script>window.pwned=1</script></svg>",
    "<body onload=window.pwned=1>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "<details open ontoggle=window.pwned=1>x</details>",
    "<input autofocus onfocus=window.pwned=1>",
    "<a href='javascript:window.pwned=1'>click</a>",
    "<math><mtext><img src=x onerror=window.pwned=1></mtext></math>",
    # out of attributes, comments, styles and tables
    '"><img src=x onerror=window.pwned=1>',
    "'><img src=x onerror=window.pwned=1>",
    "' onmouseover='window.pwned=1",
    '" style="background:url(http://example.com/x)" x="',
    "--><img src=x onerror=window.pwned=1>",
    "</style><img src=x onerror=window.pwned=1>",
    "</textarea><img src=x onerror=window.pwned=1>",
    "</td></tr></table><img src=x onerror=window.pwned=1>",
    "</svg><img src=x onerror=window.pwned=1>",
    "</title></script><img src=x onerror=window.pwned=1>",
    # fetched from outside
    "<img src=http://example.com/pixel.png>",
    "<link rel=stylesheet href=http://example.com/a.css>",
    "<style>@import 'http://example.com/a.css';</style>",
    "<video src=http://example.com/a.mp4 autoplay>",
    "![](http://example.com/pixel.png)",
    "<meta http-equiv=refresh content='0;url=http://example.com/'>",
    # read as TeX, as markup of Plotly, as a template, as a format, as a formula
    "$x^2$ and $$\\href{javascript:window.pwned=1}{x}$$",
    "\\(\\unicode{x41}\\) \\[x\\]",
    "<b>bold</b><br><i>not</i>",
    "%{x} %{customdata} <extra></extra>",
    "{0} {step} {__class__} {",
    "%s %d %(name)s %",
    "=HYPERLINK(\"http://example.com\",\"x\")",
    "&lt;img src=x onerror=window.pwned=1&gt; &amp; &#60;b&#62;",
    # hidden, reordered, broken or very long
    "abc\u202egnp.exe\u202c def \u2066x\u2069",
    "zero\u200bwidth\u200d\ufeff and nul\x00 bell\x07",
    "line\u2028separator\u2029paragraph\r\nnew\ttab",
    "Z̸̡̛͉͔̞̈́a͢l̴g̷o̶ \U0001f468\u200d\U0001f469\u200d\U0001f467 \ufdfd",
    "\\u003cscript\\u003ewindow.pwned=1\\u003c/script\\u003e",
    "x" * 20_000,
)  # fmt: skip

assert len(HOSTILE) == len(set(HOSTILE)) == 40


def executable(html: str) -> list[str]:
    """What a page would run or fetch of a piece of HTML: event handlers, scripts, frames, addresses outside.

    It reads the HTML as a browser would, so that text which only looks dangerous does not count.
    """
    from html.parser import HTMLParser

    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag in ("script", "iframe", "object", "embed", "link", "meta", "base", "form", "video"):
                found.append(tag)
            for name, value in attrs:
                address = (value or "").strip().lower()
                if name.startswith("on") or address.startswith("javascript:"):
                    found.append(f"{tag} {name}")
                elif name in ("src", "href", "srcset", "xlink:href") and not address.startswith(
                    ("data:", "#")
                ):
                    found.append(f"{tag} {name}={value}")
                elif name == "style" and "url(" in address:
                    found.append(f"{tag} style")

        handle_startendtag = handle_starttag

    Reader().feed(html)
    return found
