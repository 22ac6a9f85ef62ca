"""The limit of compiled programs in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from labkit.train.compilation import limit_programs

linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux counts memory mappings")

# All mappings but 1,500 are taken; the programs below need more than that together.
CHILD = """
import mmap
from pathlib import Path
import jax, jax.numpy as jnp
from labkit.train.compilation import limit_programs

most = int(Path("/proc/sys/vm/max_map_count").read_text())
used = Path("/proc/self/maps").read_bytes().count(b"\\n")
protections = (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)  # equal neighbours would be one mapping
taken = [mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=protections[i % 2])
         for i in range(most - used - 1500)]
programs, cleared = [], 0
for i in range(25):
    programs.append(jax.jit(lambda x: sum(jnp.sin(x * (k + i)).sum(k % 2)[:4].mean() for k in range(30))))
    programs[-1](jnp.ones((8, 8)))
    cleared += limit_programs(1 - 700 / most)
print("cleared", cleared)
"""


@linux
@pytest.mark.skipif(
    Path("/proc/sys/vm/max_map_count").exists()
    and int(Path("/proc/sys/vm/max_map_count").read_text()) > 100_000,
    reason="too many mappings to be taken in a test",
)
def test_a_process_survives_more_programs_than_it_has_mappings():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= 1


@linux
def test_programs_in_use_stay():
    compiled = jax.jit(lambda x: jnp.tanh(x) * 3).lower(jnp.ones(4)).compile()
    assert not limit_programs(1.0)
    assert limit_programs(0.0)
    assert compiled(jnp.zeros(4)).tolist() == [0.0] * 4
