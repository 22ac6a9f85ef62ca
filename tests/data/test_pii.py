"""Personal data are found by form and check digits, among what only looks like them, and replaced."""

from __future__ import annotations

import random
import time

import pytest
from faker import Faker

import labkit as lk
from labkit.core.errors import DataError
from labkit.data.prepare.pii import KINDS, find, masked
from labkit.data.prepare.quality import check

FORMS = [
    ("write to a.b+c@mail.example.org.", "email", "a.b+c@mail.example.org"),
    ("邮箱zhang_3@qq.com，谢谢", "email", "zhang_3@qq.com"),
    ("call +49 (0)30 901820 now", "phone", "+49 (0)30 901820"),
    ("call (555) 123-4567.", "phone", "(555) 123-4567"),
    ("call 555.123.4567x89", "phone", "555.123.4567x89"),
    ("电话13812345678转", "phone", "13812345678"),
    ("手机+86 138 1234 5678", "phone", "+86 138 1234 5678"),
    ("座机010-12345678", "phone", "010-12345678"),
    ("tel 020 7946 0958", "phone", "020 7946 0958"),
    ("IBAN DE89 3704 0044 0532 0130 00", "iban", "DE89 3704 0044 0532 0130 00"),
    ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
    ("card 4111-1111-1111-1111", "card", "4111-1111-1111-1111"),
    ("amex 378282246310005", "card", "378282246310005"),
    ("身份证11010519491231002X。", "resident-id", "11010519491231002X"),
    ("from 192.168.0.17:8080", "ip", "192.168.0.17"),
    ("from 2001:db8::8a2e:370:7334", "ip", "2001:db8::8a2e:370:7334"),
    ("https://x.org/a?id=1&access_token=abcDEF123456&b=2", "token", "abcDEF123456"),
]
HARMLESS = [
    "version 10.2.3.4", "2024-01-15 12:30:45", "order number 5551234567", "订单号13812345678", "978-3-16-148410-0",
    "1,234,567.89", "52.5200, 13.4050", "1990-1995", "4111111111111112", "DE88370400440532013000", "11010519491231002Y",
    "110105194913310021", "999.1.1.1", "12:30:45", "https://x.org/a?page=12345678&key=short", "me @ home", "@someone",
    "a ratio of 3:4:5", "0.0.0.0", "550e8400-e29b-41d4-a716-446655440000", "1700000000", "#5551234567", "::",
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "value"), FORMS)
def test_forms_are_found_whole_and_replaced(text, kind, value):
    assert [(each.kind, text[each.start : each.end]) for each in find(text)] == [(kind, value)]
    assert masked(text) == text.replace(value, KINDS[kind][1])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_personal_data_stays(text):
    assert find(text) == [] and masked(text) == text


def planted(locale: str, count: int) -> list[tuple[str, str, str]]:
    """(text, kind, value) of data made by Faker; every second text holds something harmless, with kind ""."""
    fake, choose = Faker(locale), random.Random(7)
    fake.seed_instance(7)
    chinese = locale == "zh_CN"
    makers = {
        "email": fake.email, "phone": fake.phone_number, "iban": fake.iban, "card": fake.credit_card_number,
        "ip": lambda: choose.choice([fake.ipv4_public, fake.ipv6])(),
        "token": lambda: f"https://{fake.domain_name()}/a?id=3&token={fake.sha1()[:24]}",
    }  # fmt: skip
    makers |= {"resident-id": fake.ssn} if chinese else {}
    digits = lambda n: "".join(choose.choices("0123456789", k=n))  # noqa: E731
    harmless = [
        fake.date, fake.time, fake.isbn13, fake.isbn10, fake.ean13, fake.uuid4, fake.sha1, fake.mac_address,
        fake.hex_color, fake.user_name, fake.license_plate, lambda: f"{fake.date()} {fake.time()}",
        lambda: f"{choose.randint(1, 999)},{choose.randint(100, 999)},{choose.randint(100, 999)}",
        lambda: "version " + ".".join(str(choose.randint(0, 20)) for _ in range(4)),
        lambda: ("订单号" if chinese else "order number ") + digits(choose.choice([8, 10, 12, 16])),
        lambda: f"https://{fake.domain_name()}/p/{digits(8)}?page=3", lambda: str(int(fake.unix_time())),
    ]  # fmt: skip
    frames = ["我的号码是{}。", "发到{}即可"] if chinese else ["Please use {} today.", "mine is {}, thanks"]
    made = []
    for number in range(count):
        kind = choose.choice(list(makers)) if number % 2 else ""
        value = str(makers[kind]() if kind else choose.choice(harmless)())
        made.append((choose.choice(frames).format(value), kind, value))
    return made


@pytest.mark.parametrize("locale", ["en_US", "en_GB", "de_DE", "zh_CN"])
def test_planted_data_are_found_among_harmless_numbers(locale):
    hits = misses = alarms = 0
    for text, kind, value in planted(locale, 1200):
        found, start = find(text), text.index(value)
        covering = [each for each in found if each.start <= start and each.end >= start + len(value)]
        hit = bool(kind) and bool(covering or (kind == "token" and found))
        hits, misses, alarms = (
            hits + hit,
            misses + (bool(kind) and not hit),
            alarms + (not kind and bool(found)),
        )
    assert hits / (hits + misses) >= 0.95
    assert hits / (hits + alarms) >= 0.9


def test_time_is_linear_in_the_length_of_a_text():
    for piece in ("1", "1 ", "a@", "a.", ":", "1.", "+1-", "https://", "(1)", "DE12 "):
        begin = time.perf_counter()
        find(piece * 20_000)
        assert time.perf_counter() - begin < 5, piece


def test_rows_list_them_and_cleaning_replaces_them():
    rows = lk.load(
        [{"text": "ask a@b.org or 13812345678", "label": "x"}, {"text": "nothing here", "label": "y"}]
    )
    table = rows.find_pii()
    assert table[["row", "kind", "start", "end"]].values.tolist() == [
        [0, "email", 4, 11],
        [0, "phone", 15, 26],
    ]
    problems = {problem.what: problem for problem in check(rows).problems if problem.kind == "pii"}
    assert {name: problem.rows for name, problem in problems.items()} == {
        "e-mail addresses": (0,),
        "phone numbers": (0,),
    }
    clean = rows.clean(("pii",))
    assert clean["train"]["text"][0] == "ask EMAIL or PHONE" and clean.find_pii().empty
    assert "pii" in str(clean.report)
    with pytest.raises(DataError, match="these rows have none"):
        lk.load([{"a": 1, "y": 0}, {"a": 2, "y": 1}], features=True, label="y").find_pii()
