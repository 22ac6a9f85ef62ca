"""Every step against known texts and for every str; the pipeline on texts and on rows."""

from __future__ import annotations

import random
import time

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError
from labkit.data.io.load import open_rows
from labkit.data.prepare.clean import DEFAULT, STEPS, TextCleaner
from labkit.data.rows import Rows
from labkit.data.schema import Spec
from tests.shown import shown_html

ZWSP, ZWNJ, ZWJ, RLO = "\u200b", "\u200c", "\u200d", "\u202e"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
FAMILY, HEART = f"👨{ZWJ}👩{ZWJ}👧", f"❤\ufe0f{ZWJ}🔥"

TABLE = [
    ("html", "a < b && c > d, I <3 you", "a < b && c > d, I <3 you"),
    ("html", "if x<y and y>z", "if x<y and y>z"),
    ("html", "from <me@x.org> --> you", "from <me@x.org> --> you"),
    ("html", "see ?a=1&copy=2&lt=3 and AT&T", "see ?a=1&copy=2&lt=3 and AT&T"),
    ("html", "w<b class='x>y'>or</b>d", "word"),
    ("html", "one<br/>two<p>three</p>", "one\ntwo\nthree\n"),
    ("html", "<tr><td>1</td><td>2</td></tr>", "\n 1  2 \n"),
    ("html", "a<script>if (a<b) document.write('<p>x</p>')</script>b<STYLE>p{}</STYLE>c", "abc"),
    ("html", "the <script> tag", "the  tag"),
    ("html", "a<!-- <b>hidden</b> -->b <!-- open", "ab <!-- open"),
    ("html", "x<!--<script>-->y<b>q</b>r</script>z", "xyqrz"),
    ("html", "<!DOCTYPE html><?xml version='1.0'?>x", "x"),
    ("html", "<![x y and 5 <b", "<![x y and 5 <b"),
    ("html", "&lt;3 &amp;quot;hi&amp;quot; &#20320;&#x597D; &eacute; &unknown;", '<3 "hi" 你好 é &unknown;'),
    ("html", "<p>很好，<b>推荐</b>！</p>", "\n很好，推荐！\n"),
    ("control", "a\r\nb\rc\x00d\x85e\tf\x1bg\x7fh", "a\nb\ncd\ne\tfgh"),
    ("control", "\x1b[1;31mred\x1b[0m", "red"),
    ("zero-width", f"fr{ZWSP}ee so\xadft \ufeffx\u2060y", "free soft xy"),
    ("zero-width", f"{FAMILY} {HEART} {ENGLAND}", f"{FAMILY} {HEART} {ENGLAND}"),
    ("zero-width", f"a{ZWJ}b 中{ZWNJ}文 x\U000e0067", "ab 中文 x"),
    ("zero-width", f"می{ZWNJ}خواهم क्{ZWJ}ष", f"می{ZWNJ}خواهم क्{ZWJ}ष"),
    ("zero-width", f"ភាសា{ZWSP}ខ្មែរ", f"ភាសា{ZWSP}ខ្មែរ"),
    ("bidi", f"{RLO}txt.exe\u202c \u2066a\u2069\u200f", "txt.exe a"),
    ("unicode", "cafe\u0301 \ud83d\ude00 \ud800x ①", "café 😀 \ufffdx ①"),
    ("compat", "ﬁne ② ｶﾞ Ａ x²", "fine 2 ガ A x2"),
    ("width", "ＡＢＣ１２３，！\u3000ｶﾞｷﾞ カﾞ ￥ ①", "ABC123,! ガギ ガ ¥ ①"),
    ("lowercase", "ΑΣ İ ÉCOLE 中A", "ας i̇ école 中a"),
    (
        "urls",
        "看http://t.cn/abc这个。(see https://x.org/a_(b)?q=1#f), www.y.com!",
        "看URL这个。(see URL), URL!",
    ),
    ("urls", "http:// www. xhttp://a ftp://f.net", "http:// www. xhttp://a URL"),
    ("pii", "邮箱a.b@c.org，电话13812345678。card 4111 1111 1111 1111", "邮箱EMAIL，电话PHONE。card CARD"),
    ("emails", "邮箱a.b+c@b.co.uk谢谢 mailto:x@y.de. _q@r.io_", "邮箱EMAIL谢谢 mailto:EMAIL. _EMAIL_"),
    ("emails", "a@b.com@c.org @me 5@3", "a@b.com@c.org @me 5@3"),
    ("numbers", "1,234.5 元 12% 2024-01-02 12:30 -5 5kg", "NUMBER 元 NUMBER% NUMBER NUMBER -NUMBER NUMBERkg"),
    ("numbers", "MP3 covid19 v1.2.3 第3章 ３４ ٣٤", "MP3 covid19 v1.2.3 第NUMBER章 NUMBER NUMBER"),
    ("whitespace", "  a \u3000b\xa0c \r\n\n \t d\u2028e ", "a b c\nd\ne"),
]

# Pieces of what the steps look for: glued at random they make markup in markup, addresses in addresses …
PIECES = [" ", "\n", "\t", "\u3000", "\x85", "\x1c"]
PIECES += (
    "< > / <b <b> </b> <p> <br/> <script> </script> <!-- --> <! & amp; &amp; &lt; lt; &#38; ; = ' \" a B İ ﬁ "
    "@ a@b.com .com . , : - _ % http:// www. www ( ) ] 1 23 ３ ٣ 1,5 URL EMAIL NUMBER ｶ ﾞ カ ﾟ é e \u0301 \ud83d \ude00 "
    f"\x00 \r \x1b \x1b[1m [0m {ZWSP} {ZWNJ} {ZWJ} ❤ \ufe0f 👩 م ก က 🏴 {ENGLAND} \U000e0067 \U000e007f \xad {RLO} 你"
).split(" ")


@pytest.mark.parametrize(("step", "before", "after"), TABLE)
def test_a_step_does_what_its_name_says(step, before, after):
    assert STEPS[step](before) == after


def test_every_step_is_in_the_table():
    assert {step for step, _, _ in TABLE} == set(STEPS)


@settings(max_examples=1000, deadline=None)
@given(st.text(st.characters(), max_size=60) | st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_every_step_is_idempotent_for_every_str(text):
    check_idempotent(text)


def test_every_step_is_idempotent_on_ten_thousand_hostile_texts():
    rng = random.Random(0)
    for _ in range(10_000):
        check_idempotent("".join(rng.choices(PIECES, k=rng.randint(1, 25))))


def check_idempotent(text: str) -> None:
    for name, step in STEPS.items():
        once = step(text)
        assert step(once) == once, (name, text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=60))
def test_what_the_steps_promise_to_remove_is_gone(text):
    assert not [c for c in STEPS["control"](text) if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"]
    STEPS["unicode"](text).encode()  # a lone surrogate would raise
    lines = STEPS["whitespace"](text).split("\n")
    assert all(line == " ".join(line.split()) for line in lines)
    assert text.split() == STEPS["whitespace"](text).split()


@pytest.mark.parametrize(
    "unit",
    [
        "<!--",
        "<a ",
        "<a ='",
        "&amp;amp;",
        "<<b>b>",
        "<script>",
        "a@",
        "a@b.",
        "1,",
        "www.",
        "🏴\U000e0067",
        ZWJ,
    ],
)
def test_hostile_texts_take_linear_time(unit):
    # A quadratic step would need hours for these 200,000 pieces; the bound is loose for a busy machine.
    text = unit * 200_000
    for name, step in STEPS.items():
        start = time.monotonic()
        step(text)
        assert time.monotonic() - start < 30, name


def test_the_pipeline_runs_its_steps_in_order():
    text = f"<p>ＧＲＥＡＴ{ZWSP}&nbsp;&nbsp;deal:  http://x.org</p>"
    assert TextCleaner()(text) == "ＧＲＥＡＴ deal: http://x.org"
    assert TextCleaner((*DEFAULT, "width", "lowercase", "urls"), url="<url>")(text) == "great deal: <url>"
    assert TextCleaner(("urls", "lowercase"))("WWW.X.ORG") == "url"
    assert TextCleaner(())(text) == text


def test_the_pipeline_survives_toml():
    pipeline = TextCleaner(("html", "numbers"), number="[数]", empty="keep")
    again = loads(TextCleaner, dumps(pipeline))
    assert again == pipeline and again("<b>7</b>") == "[数]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": ("htlm",)}, "no cleaning step 'htlm'. Did you mean 'html'?"),
        ({"steps": ("html", "html")}, "named twice"),
        ({"steps": "html"}, "give a tuple"),
        ({"number": "0"}, "TextCleaner.number = '0' must be a word such as"),
        ({"url": "a.b"}, "TextCleaner.url"),
        ({"email": ""}, "TextCleaner.email"),
        ({"empty": "drop"}, "is not one of refuse, keep"),
    ],
)
def test_bad_settings_say_so(settings, message):
    with pytest.raises(ConfigError) as error:
        TextCleaner(**settings)
    assert message in str(error.value)


def test_what_is_not_a_text_is_refused():
    with pytest.raises(DataError, match="must be a str, not float nan"):
        TextCleaner()(float("nan"))
    with pytest.raises(DataError, match="in a list"):
        TextCleaner().preview("a text")


def make(texts: dict[str, list[str]], **columns: list) -> Rows:
    splits, start = {}, 100
    for name, part in texts.items():
        numbers = list(range(start, start + len(part)))
        splits[name] = Dataset.from_dict({"text": part, "label": [0] * len(part), "row": numbers, **columns})
        start += len(part)
    return Rows(
        splits,
        Spec(text=("text", "other") if "text_pair" in columns else ("text",), label="y", classes=("a",)),
    )


def test_rows_are_cleaned_counted_and_refused_by_number():
    rows = make({"train": ["<b>x</b>", "plain", " \u200b ", "a  b"], "test": ["y&amp;z", "ok"]})
    cleaned = rows.clean(TextCleaner())
    assert cleaned["train"]["text"][:] == ["x", "plain", "a b"] and cleaned["train"]["row"][:] == [
        100,
        101,
        103,
    ]
    assert cleaned["test"]["text"][:] == ["y&z", "ok"]
    assert cleaned["train"].column_names == rows["train"].column_names
    assert cleaned.report.counts() == {
        "counted": {"changed by html": 2, "changed by zero-width": 1, "changed by whitespace": 2},
        "refused": {"empty after cleaning": 1},
    }
    (refused,) = cleaned.report.of("refused")["empty after cleaning"]
    assert (refused.row, refused.column, refused.split) == (102, "text", "train")
    assert "2 of 6 rows" in cleaned.report.of("counted")["changed by html"][0].detail
    assert rows["train"]["text"][0] == "<b>x</b>"  # the rows themselves stay


def test_counts_are_those_of_apply():
    rows = make({"train": ["<b>x</b>", "plain", "a  b", "<i>c  d</i>"]})
    counts = TextCleaner().counts(rows)
    assert counts == dict.fromkeys(DEFAULT, 0) | {"html": 2, "whitespace": 2}
    reported = TextCleaner().apply(rows).report.counts()["counted"]
    assert reported == {f"changed by {step}": count for step, count in counts.items() if count}


def test_empty_texts_can_be_kept_and_a_split_never_vanishes():
    rows = make({"train": ["", "<b></b>", "x"]})
    assert TextCleaner(("html",), empty="keep").apply(rows)["train"]["text"][:] == ["", "", "x"]
    assert TextCleaner(("html",)).apply(rows)["train"]["text"][:] == [
        "",
        "x",
    ]  # what came empty is not cleaning's to refuse
    with pytest.raises(DataError, match="all rows of 'train'"):
        TextCleaner(("html",)).apply(make({"train": ["<b></b>"]}))


def test_a_split_without_rows_stays_one():
    rows = make({"train": ["<b>x</b>"], "test": ["y"]})
    rows = rows.with_splits({**rows.splits, "test": rows["test"].select([])})
    assert TextCleaner(["html"]).apply(rows).counts() == {"train": 1, "test": 0}


def test_both_texts_of_a_pair_are_cleaned():
    rows = make({"train": ["<b>x</b>", "y", "z"]}, text_pair=["p  q", "<i></i>", "r"])
    cleaned = rows.clean(("html", "whitespace"))
    assert cleaned["train"]["text"][:] == ["x", "z"] and cleaned["train"]["text_pair"][:] == ["p q", "r"]
    assert cleaned.report.of("refused")["empty after cleaning"][0].column == "text_pair"
    assert TextCleaner(("html",)).counts(rows) == {"html": 2}


def test_mapped_rows_are_cleaned_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    saved = make({"train": ["<b>x</b>", "<i></i>"], "test": ["<b>y</b>"]}).save(tmp_path / "rows")
    before = sorted(saved.iterdir())
    cleaned = open_rows(saved).clean(TextCleaner())
    assert cleaned["train"]["text"][:] == ["x"] and cleaned["test"]["text"][:] == ["y"]
    assert sorted(saved.iterdir()) == before
    assert len(list((tmp_path / "cache" / "clean").glob("*.arrow"))) == 2


def test_rows_without_texts_are_refused():
    rows = Rows(
        {"train": Dataset.from_dict({"x": [1.0], "label": [0], "row": [0]})},
        Spec(classes=("a",), modality="features"),
    )
    for method in (TextCleaner().apply, TextCleaner().counts, TextCleaner().preview):
        with pytest.raises(DataError, match="cleaning needs texts"):
            method(rows)


def test_the_preview_shows_real_changes_of_each_step():
    rows = make({"train": ["<b>x  y</b>", "plain", "a\xa0b", "c  d"], "test": ["<i>z</i>"]})
    frame = TextCleaner().preview(rows)
    assert frame.values.tolist() == [
        [100, "html", "<b>x  y</b>", "x  y"],
        [104, "html", "<i>z</i>", "z"],
        [100, "whitespace", "x  y", "x y"],
        [102, "whitespace", "a\\u00a0b", "a b"],
        [103, "whitespace", "c  d", "c d"],
    ]
    assert list(frame.columns) == ["row", "step", "before", "after"]
    assert "&lt;b&gt;" in shown_html(frame) and "<b>x" not in shown_html(frame)
    assert len(TextCleaner().preview(rows, n=1)) == 2
    assert TextCleaner().preview(rows, step="html")["row"].tolist() == [100, 104]
    assert TextCleaner().preview(["a\xa0b"], escape=False)["before"].tolist() == ["a\xa0b"]
    with pytest.raises(ConfigError, match=r"no step 'urls'. It has: html"):
        TextCleaner().preview(rows, step="urls")


def test_the_preview_of_a_long_text_shows_the_change():
    text = "a" * 5000 + "<br>" + "b" * 5000
    (line,) = TextCleaner(("html",)).preview([text], width=40).itertuples()
    assert line.before == "…aaaaaaaaaa<br>bbbbbbbbbbbbbbbbbbbbbbbbbb…" and len(line.after) < 50
    assert TextCleaner(("html",)).preview([text], width=0)["before"][0] == text
