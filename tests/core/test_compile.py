"""What is compiled, when, and by whom: once for all networks, only through core/jit.py, and never from stale files."""

from __future__ import annotations

import ast
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.extending import intrinsic

import cases
import glassprop as gp
from glassprop.core import code_files, jit
from glassprop.core import step as core_step

PACKAGE = Path(gp.__file__).parent
CORE = PACKAGE / "core"
BENCH = PACKAGE / "bench"  # measures the machine with a loop of its own, and names what it compares
_NAMES = (
    "code_files.py",
    "jit.py",
    "processor.py",
    "vectors.py",
    "row_sums.py",
    "roots.py",
    "bfloat16.py",
    "matrix_unit.py",
    "tile.py",
    "quads.py",
    "elementary.py",
)
MAY_COMPILE = {CORE / name for name in _NAMES} | {BENCH / "peak.py"}
DTYPES = ("float64", "float32")


# --- no new compilation --------------------------------------------------------------------------------------------------


def use(layers: tuple[int, ...], rows: int, batch_size: int, dtype: str, rule: str = "adam", **described: object) -> None:
    """Every part of the entry, on a network."""
    case = cases.case(layers, rows=rows, **described).of(dtype)
    fwd, back = case.passes()
    gp.update(case.parameters, back, optimizer=cases.rules(rule)[0])
    cases.train(case, cases.rules(rule, clip_norm=1.0, weight_decay=0.1)[0], batch_size, 2, cases.row_orders(rows, 2))
    assert fwd.output.shape == (rows, layers[-1])


def test_nothing_is_compiled_after_the_warm_up() -> None:
    """Whatever the depth, the width, the batch and the options; a kernel is compiled once for a rule and a precision."""
    warm = {"tanh", "relu", "gelu"}
    for dtype in DTYPES:
        for activation in warm:
            for loss in cases.LOSSES:
                use((3, 4, 2), 5, 4, dtype, activation=activation, loss=loss)
        for rule in cases.RULES:
            use((3, 4, 2), 5, 4, dtype, rule)
    signatures, kernels = list(core_step.run.signatures), len(jit._kernels)
    assert len(signatures) == 2  # one for each precision
    rng = np.random.default_rng(0)
    for trial in range(60):
        depth = trial % 6 + 1
        layers = tuple(int(n) for n in rng.integers(2, 70, depth + 1))
        loss, rule = cases.LOSSES[trial % len(cases.LOSSES)], cases.RULES[trial % len(cases.RULES)]
        options = {name: value * rng.uniform(0.5, 1.2) for name, value in cases.OPTIONS.get(loss, {}).items()}
        use(
            layers, int(rng.integers(1, 90)), int(rng.integers(1, 90)), DTYPES[trial % 2], rule, loss=loss, options=options,
            activation=sorted(warm)[trial % 3], dropout=list(rng.uniform(0, 0.5, depth - 1)), weighted=trial % 3 == 0,
            l1=rng.uniform(0, 0.1), l2=rng.uniform(0, 0.1),
        )  # fmt: skip
    assert list(core_step.run.signatures) == signatures
    assert len(jit._kernels) == kernels


def test_two_networks_with_one_activation_of_a_user_share_its_kernels() -> None:
    bent = gp.Activation("bent", lambda g: g + g * g, lambda g: 1 + 2 * g)
    addresses = [bent.kernel("phi", np.dtype("float32")) for _ in range(2)]
    kernels = len(jit._kernels)
    for _ in range(2):
        gp.Network((1, 2, 2, 1), bent)
        assert bent.kernel("phi", np.dtype("float32")) == addresses[0] == addresses[1]
    assert len(jit._kernels) == kernels


@pytest.mark.parametrize("wanted", [True, False])
def test_garbage_is_not_looked_for_while_the_compiler_works(wanted: bool) -> None:
    """And afterwards it is as it was, also where a rule does not compile."""
    seen = []

    @intrinsic
    def note(typingctx, x):
        seen.append(gc.isenabled())
        return x(x), lambda context, builder, signature, arguments: arguments[0]

    def body(x, n):
        x[0] = note(x[0])

    def broken(x, n):
        x[0] = "a text"

    if not wanted:
        gc.disable()
    try:
        jit.kernel(body, "noting", np.dtype("float32"), "pn", cached=False)
        assert seen
        assert not any(seen)
        assert gc.isenabled() == wanted
        with pytest.raises(numba.TypingError):
            jit.kernel(broken, "broken", np.dtype("float32"), "pn", cached=False)
        assert gc.isenabled() == wanted
    finally:
        gc.enable()


def test_ctrl_c_waits_until_the_compiler_has_ended() -> None:
    """Then it is heard, once; and in a thread that hears none, nothing is changed."""
    steps: list[Any] = []

    @intrinsic
    def press(typingctx, x):
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        def codegen(context, builder, sig, args):
            steps.append(signal.getsignal(signal.SIGINT))
            return args[0]

        return x(x), codegen

    def body(x, n):
        x[0] = press(x[0])

    heard = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        jit.kernel(body, "pressing", np.dtype("float32"), "pn", cached=False)
    assert len(steps) == 1  # it went on to the end
    assert steps[0] is not heard
    assert signal.getsignal(signal.SIGINT) is heard
    thread = threading.Thread(target=jit.kernel, args=(body, "apart", np.dtype("float32"), "pn", False))
    thread.start()
    thread.join()
    assert steps[1] is heard


# --- compiler policy -----------------------------------------------------------------------------------------------------


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of all modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_some_files_know_the_compiler(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path not in MAY_COMPILE:
        assert not imported(tree) & {"numba", "llvmlite"}
        # neither by importlib, nor a decorator that came in through another name
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert path.parent == BENCH or not words & {"numba", "llvmlite"}
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not names & {"njit", "jit", "cfunc", "vectorize", "guvectorize", "prange"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_flag_assumes_nan_away(path: Path) -> None:
    """``fastmath=True``, or a flag that says there is no NaN or infinity, would delete the tests for them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            assert not isinstance(node.value, ast.Constant), f"line {node.value.lineno}: a bare fastmath={node.value.value!r}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "fastmath" not in node.value:
            assert node.value not in ("fast", "nnan", "ninf", "arcp", "afn")
            assert node.value != "nsz" or path == CORE / "elementary.py"  # of the larger of two zeros either may come
    assert {"contract", "reassoc"} >= jit.SUM_FLAGS >= jit.FLAGS


def test_importing_compiles_nothing() -> None:
    code = (
        "import glassprop as gp; from glassprop.core import jit, step;"
        "assert not step.run.signatures and not jit._kernels;"
        "gp.Network((2, 3, 1)).initialize();"
        "assert not step.run.signatures and not jit._kernels"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    )


@pytest.mark.parametrize(
    ("features", "wanted"),
    [("", 16), ("+sse2,-avx2", 16), ("+avx2,+fma,-avx512f", 32), ("+avx2", 16), ("+avx2,+fma,+avx512f", 64)],
)
def test_vectors_are_as_wide_as_numba_is_told(features: str, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    jit.host_features.cache_clear()
    assert jit.host_vector_bytes() == wanted
    jit.host_features.cache_clear()


NARROWER = [
    (width, settings)
    for width, settings in (
        (16, {"NUMBA_ENABLE_AVX": "0"}),
        (32, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}),
    )
    if width < jit.host_vector_bytes()
]


@pytest.mark.parametrize(("width", "settings"), NARROWER)
def test_a_machine_held_to_narrow_vectors_computes_the_same(width: int, settings: dict[str, str], tmp_path: Path) -> None:
    """Numba's own switches, in a process of its own, where tests of every number of columns run: of C, of a panel, of dW."""
    tests = [str(Path(__file__).with_name("test_against_reference.py")), "-k", "float32 and (every_number or narrow_layers)"]
    program = (
        "import sys, pytest\n"
        "from glassprop.core.vectors import VECTOR_BYTES\n"
        f"assert VECTOR_BYTES == {width}\n"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *{tests}]))\n"
    )
    environment = os.environ | settings | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


# --- machine code on disk ------------------------------------------------------------------------------------------------

# prints the outputs and the gradient of a network, and how often the entry and a kernel came from disk and were compiled
PROGRAM = """
import numpy as np, glassprop as gp
from glassprop.core import jit, step
network = gp.Network((1, 1), output_activation="leaky_relu")
parameters = gp.Parameters.from_arrays([[[1.0]]], [[0.0]])
fwd = gp.forward(network, parameters, np.array([[-1.0], [2.0]], "float64"))
back = gp.backward(network, parameters, fwd, [[0.0], [0.0]])
hits = sum(step.run.stats.cache_hits.values()) + sum(sum(kernel.stats.cache_hits.values()) for kernel in jit._kernels)
misses = sum(step.run.stats.cache_misses.values()) + sum(sum(kernel.stats.cache_misses.values()) for kernel in jit._kernels)
print(*fwd.output[:, 0], back.db[0][0], hits, misses)
"""


def run_program(folder: Path, dtype: str = "float64") -> tuple[list[float], float, int, int]:
    """The program, in a process of its own, with the package in `folder` if it is there: outputs, gradient, hits, misses.

    On one processor, where no second process compiles a part.
    """
    environment = os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache"), "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM.replace("float64", dtype)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=folder)
    *outputs, db, hits, misses = done.stdout.split()
    return [float(output) for output in outputs], float(db), int(hits), int(misses)


def edit(path: Path, old: str, new: str) -> None:
    """Replace, leaving the size of the file and the time of its last change as they were: only the content tells."""
    before, text = path.stat(), path.read_text()
    assert text.count(old) == 1, (path, old)
    assert len(old) == len(new)
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_stale_machine_code_is_never_run(tmp_path: Path) -> None:
    """A changed φ, and a changed file that the entry calls, give new numbers; unchanged files do not compile again."""
    shutil.copytree(PACKAGE, tmp_path / "glassprop", ignore=shutil.ignore_patterns("__pycache__"))
    core = tmp_path / "glassprop" / "core"
    outputs, db, hits, compiled = run_program(tmp_path)
    assert outputs == [-0.01, 2.0]
    assert db == pytest.approx((2.0 - 0.01 * 0.01) / 2, rel=1e-15)
    assert hits == 0
    assert compiled >= 4  # the entry, φ, φ′, the loss

    outputs, db, hits, misses = run_program(tmp_path)
    assert (outputs, hits, misses) == ([-0.01, 2.0], compiled, 0)

    edit(core / "activations.py", "LEAK = 0.01\n", "LEAK = 0.02\n")
    edit(core / "backward.py", "plan.zero + width", "plan.zero + 0 * 1")  # of the ones by which δ is multiplied
    shutil.rmtree(core / "__pycache__", ignore_errors=True)  # Python's own cache goes by size and time
    outputs, db, hits, misses = run_program(tmp_path)
    assert outputs == [-0.02, 2.0]
    assert db == 0
    assert (hits, misses) == (0, compiled)


def test_processes_that_compile_at_the_same_time_keep_each_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One saves its code while the other is about to write."""
    one, other = (code_files.CodeFiles(str(tmp_path), "function") for _ in range(2))
    write = one._open_for_write

    def late(path: str) -> object:
        monkeypatch.undo()
        other.save(("float64",), "code for float64")
        return write(path)

    monkeypatch.setattr(one, "_open_for_write", late)
    one.save(("float32",), "code for float32")
    for files in (one, other):
        assert [files.load((dtype,)) for dtype in DTYPES] == ["code for float64", "code for float32"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[list[float], float, int, int]]:
    """A folder in which the program has run once, and what it printed."""
    folder = tmp_path_factory.mktemp("compiled")
    return folder, run_program(folder)


DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda code: code[: len(code) // 2],
    lambda code: code[:70],
    lambda code: code[:-1] + b"?",
)


def test_a_damaged_file_is_compiled_anew(compiled: tuple, tmp_path: Path) -> None:
    folder, wanted = compiled
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for i, file in enumerate(sorted((tmp_path / "cache").rglob("*.nbc"))):
        file.write_bytes(DAMAGES[i % len(DAMAGES)](file.read_bytes()))
    assert run_program(tmp_path) == wanted  # all of it compiled again
    assert run_program(tmp_path)[2:] == wanted[:1:-1]  # and all of it there


def test_a_full_disk_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = code_files.CodeFiles(str(tmp_path), "function")

    def full(path: str) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_open_for_write", full)
    with pytest.warns(code_files.CompileNotice, match="cannot write its machine code"):
        files.save(("float64",), "code")
    assert not files.holds(("float64",))


def test_code_of_another_signature_is_never_run(compiled: tuple, tmp_path: Path) -> None:
    """Whatever lies under a file's name: it says itself what it is."""
    shutil.copytree(compiled[0], tmp_path, dirs_exist_ok=True)
    wanted = {dtype: run_program(tmp_path, dtype)[:2] for dtype in DTYPES}
    by_function: dict[str, list[Path]] = {}
    for file in (tmp_path / "cache").rglob("*.nbc"):
        by_function.setdefault(file.name.rsplit(".", 2)[0], []).append(file)
    pairs = [files for files in by_function.values() if len(files) == 2]  # one for each precision
    assert len(pairs) >= 4  # the entry, φ, φ′, the loss
    of_entry = [files for files in pairs if "entry" in files[0].name]
    assert len(of_entry) == 1
    pairs = of_entry + sorted(pairs, key=lambda files: files[0].stat().st_size)[:3]  # small ones: they are compiled again
    for one, other in pairs:
        contents = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(contents)
    for dtype in DTYPES:
        *numbers, _, misses = run_program(tmp_path, dtype)
        assert (tuple(numbers), misses) == (wanted[dtype], len(pairs))


def test_a_users_functions_are_never_taken_from_disk() -> None:
    """Two of one name in one process, and what either looks up outside itself."""
    outputs = []
    for factor in (2.0, 3.0):
        users = gp.Activation("users", lambda g, factor=factor: factor * g, lambda g, factor=factor: factor)
        network = gp.Network((1, 1), output_activation=users)
        parameters = gp.Parameters.from_arrays([[[1.0]]], [[0.0]])
        outputs.append(gp.forward(network, parameters, [[1.0]]).output.item())
    assert outputs == [2.0, 3.0]


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(tmp_path: Path) -> None:
    """Package and cache folder read-only: a warning, and the same numbers."""
    program = (
        "import warnings, numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import glassprop as gp\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    network = gp.Network((1, 1))\n"
        "    print(gp.forward(network, gp.Parameters.from_arrays([[[2.0]]], [[1.0]]), [[3.0]]).output)\n"
        "print(sorted({w.category.__name__ for w in caught}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines() == ["[[7.]]", "['CompileNotice']"]


def test_an_edited_function_outside_of_the_core_runs_no_old_code(tmp_path: Path) -> None:
    """Such as the loop by which the machine's peak is measured."""
    path, found = tmp_path / "loops.py", []
    for number in (1, 2):
        path.write_text(f"def loop(x):\n    return x + {number}\n")
        names: dict[str, Callable] = {}
        exec(compile(path.read_text(), path, "exec"), names)
        found.append(code_files.CoreCache(names["loop"], "loop")._cache_file._place(("x",)))
    assert found[0] != found[1]
