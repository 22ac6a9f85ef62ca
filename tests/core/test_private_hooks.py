"""What labkit uses of other packages beyond their documented interfaces: it is there in the versions installed.

Each part has an upper bound in pyproject.toml. When a test fails after an update, change the file that it names.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import pyarrow as pa
import pytest
from datasets import Dataset
from datasets.features.features import generate_from_arrow_type
from datasets.table import MemoryMappedTable
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def test_ipykernel_has_what_the_subshell_needs() -> None:
    """For app/kernel_subshell.py and core/frontend.py."""
    ipykernel = pytest.importorskip("ipykernel")
    if Version(ipykernel.__version__) < Version("7"):
        pytest.skip("subshells came with ipykernel 7")
    from ipykernel.kernelbase import Kernel
    from ipykernel.shellchannel import ShellChannelThread
    from zmq.eventloop.zmqstream import ZMQStream

    assert {"shell_channel_thread", "shell_stream"} <= set(Kernel.class_trait_names())
    assert inspect.iscoroutinefunction(Kernel.shell_channel_thread_main)
    assert list(inspect.signature(Kernel.shell_channel_thread_main).parameters) == ["self", "msg"]
    assert "io_loop" in inspect.getsource(ShellChannelThread.__mro__[1].__init__)
    assert {"callback", "copy"} <= set(inspect.signature(ZMQStream.on_recv).parameters)


def test_ipykernel_has_the_rule_of_where_replies_go() -> None:
    """For app/widgets/controls.py: the attribute came with ipykernel 7.4."""
    ipykernel = pytest.importorskip("ipykernel")
    if Version(ipykernel.__version__) < Version("7.4"):
        pytest.skip("the rule came with ipykernel 7.4")
    from ipykernel.comm.comm import BaseComm

    assert "_reply_subshell_for" in inspect.getsource(inspect.getmodule(BaseComm))


def test_datasets_opens_tables_in_place_and_knows_types(tmp_path: Path) -> None:
    """For data/io/arrow_cache.py and data/memmap.py."""
    table = pa.table({"text": ["a", "b"], "n": pa.array([1, 2], pa.int32())})
    with (
        pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as writer,
    ):
        writer.write_table(table)
    opened = Dataset(MemoryMappedTable.from_file(str(tmp_path / "rows.arrow")))
    assert opened["text"][:] == ["a", "b"] and opened["n"][:] == [1, 2]
    assert generate_from_arrow_type(pa.int32()).dtype == "int32"


def test_jax_reports_programs_taken_from_its_cache(tmp_path: Path) -> None:
    """For train/compilation.py."""
    from labkit.train import compilation

    def compiled() -> None:
        jax.jit(lambda x: jnp.cos(x) * 41.5)(jnp.ones(7)).block_until_ready()

    before = {name: getattr(jax.config, name) for name in (
        "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes")}  # fmt: skip
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.experimental.compilation_cache.compilation_cache.reset_cache()
        compiled()
        hits = compilation.cache_hits()
        jax.clear_caches()
        compiled()
        assert compilation.cache_hits() > hits
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        jax.experimental.compilation_cache.compilation_cache.reset_cache()


@pytest.mark.parametrize("name", ["jax", "flax", "datasets", "ipykernel", "ipywidgets", "jupyterlab", "gguf"])
def test_packages_with_private_parts_have_an_upper_bound(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    found = [Requirement(line) for line in lines if re.split(r"[<>=!\[ ;]", line)[0] == name]
    assert found and all(any(each.operator == "<" for each in wanted.specifier) for wanted in found)


def test_a_thread_pool_that_refuses_work_when_the_interpreter_ends_says_so() -> None:
    """For train/failure.py."""
    script = (
        "import atexit, concurrent.futures.thread as pools\nfrom labkit.train.failure import is_process_ending\n"
        "pool = pools.ThreadPoolExecutor(1)\npool.submit(int).result()\n"
        "assert pools._shutdown is False and not is_process_ending(RuntimeError('cannot schedule'))\n"
        "def late():\n    try:\n        pool.submit(int)\n    except RuntimeError as error:\n"
        "        print(is_process_ending(error), is_process_ending(ValueError(1)))\natexit.register(late)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False"
