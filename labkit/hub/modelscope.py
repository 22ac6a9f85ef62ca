"""Models of ModelScope: ``modelscope:org/name@revision``, by its public interface of files.

 Each file is checked against the SHA-256 that the list of files gives. ``MODELSCOPE_DOMAIN`` names another
host.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labkit.core.cache import cache_dir, fingerprint, sha256_file
from labkit.core.errors import LabkitError, WeightsError
from labkit.core.safety import inside, small_text
from labkit.hub import web
from labkit.i18n import _

NAME = re.compile(r"modelscope:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
DOMAIN = "www.modelscope.cn"
#: Endings of the files that are fetched, and bytes and seconds that one may have.
ENDINGS, MOST, PATIENCE = (".safetensors", ".json", ".txt", ".jinja"), 256 << 30, 86_400.0


def folder(name: str) -> Path:
    """The folder with the files of a model, fetched where they are not in the cache.

    Args:
        name: ``modelscope:org/name@revision``, the revision a branch, a tag or a commit.

    Raises:
        WeightsError: the name has another form, the server cannot be reached, or a file is not what its list
            says.
    """
    if not (parts := NAME.fullmatch(name)):
        raise WeightsError(
            _(
                "weights {name!r}: expected 'modelscope:org/name@revision', such as 'modelscope:org/name@master'."
            ),
            name=name,
        )
    host = os.environ.get("MODELSCOPE_DOMAIN", DOMAIN)
    address = f"https://{host}/api/v1/models/{parts['repo']}/repo"
    revision = quote(parts["revision"], safe="")
    try:
        files = _files(web.fetched(f"{address}/files?Revision={revision}&Recursive=true"), name)
        target = (
            cache_dir("modelscope") / fingerprint("modelscope 1", parts["repo"], sorted(files.items()))[:32]
        )
        for path, digest in files.items():
            if (place := inside(target, path, WeightsError)).is_file():
                continue
            found = web.fetched(
                f"{address}?Revision={revision}&FilePath={quote(path, safe='')}", MOST, PATIENCE
            )
            if (own := sha256_file(found)) != digest:
                raise WeightsError(
                    _("{file} of {name} has the SHA-256 {own}; its list states {digest}. Try again."),
                    file=path, name=name, own=own[:12], digest=digest[:12],
                )  # fmt: skip
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.{os.getpid()}")
            shutil.move(found, part)
            os.replace(part, place)
    except WeightsError:
        raise
    except (LabkitError, OSError) as error:
        raise WeightsError(_("{name} could not be downloaded ({error})."), name=name, error=error) from error
    return target


def _files(path: Path, name: str) -> dict[str, str]:
    """Path → SHA-256 of the files that are fetched, from the server's list."""
    try:
        listed: Any = json.loads(small_text(path, WeightsError))["Data"]["Files"]
        found = {str(each["Path"]): str(each["Sha256"]) for each in listed if each["Type"] == "blob"}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            _("{name} could not be downloaded ({error})."),
            name=name,
            error=f"{type(error).__name__}: {error}",
        ) from None
    return {path: digest for path, digest in found.items() if path.endswith(ENDINGS)}
