"""Worker processes: what a crash, a hang or a refusal does to the agent's side."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from device_agent.bundle import BundleConfig
from device_agent.errors import InvalidRequest, RuntimeMissing, WorkerFailed
from device_agent.isolation import Isolation
from device_agent.protocol import BenchmarkRequest
from device_agent.worker import Worker
from tests.device_agent.harness import IN_PROCESS, make_bundle, null_samples

T = TypeVar("T")


@pytest.fixture
def config(tmp_path: Path) -> BundleConfig:
    """Of a null model whose file is in tmp_path."""
    return make_bundle(tmp_path).config


def with_worker(
    config: BundleConfig, folder: Path, use: Callable[[Worker], Awaitable[T]], *, load: bool = True
) -> T:
    """What `use` makes of a worker, which is gone afterwards whatever happened."""

    async def run() -> T:
        worker = await Worker.start("digits", folder / config.model, IN_PROCESS)
        try:
            if load:
                await worker.load(config)
            return await use(worker)
        finally:
            await worker.stop()
            assert not worker.alive
            assert not Path(f"/proc/{worker.pid}").exists()

    return asyncio.run(run())


def test_infer_answers_the_null_function(config: BundleConfig, tmp_path: Path) -> None:
    """A worker answers as often as it is asked, the same for the same inputs."""

    async def twice(worker: Worker) -> None:
        sample = null_samples(1)[0]
        first = await worker.infer(sample)
        assert first == await worker.infer(sample)
        assert ["scores1"] == list(first)

    with_worker(config, tmp_path, twice)


def test_wrong_input_is_refused_and_the_worker_lives(config: BundleConfig, tmp_path: Path) -> None:
    """A request that makes no sense costs nothing but an error."""

    async def use(worker: Worker) -> None:
        with pytest.raises(InvalidRequest, match="image: an input is missing"):
            await worker.infer({})
        assert worker.alive
        await worker.infer(null_samples(1)[0])

    with_worker(config, tmp_path, use)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_signal_is_named(config: BundleConfig, tmp_path: Path, number: signal.Signals) -> None:
    """A worker killed by a signal is a WorkerFailed that names it."""

    async def use(worker: Worker) -> None:
        os.kill(worker.pid, number)
        with pytest.raises(WorkerFailed, match=f"killed by {number.name}"):
            await worker.infer(null_samples(1)[0])
        assert not worker.alive

    with_worker(config, tmp_path, use)


def test_hang_is_ended_at_its_deadline(config: BundleConfig, tmp_path: Path) -> None:
    """A worker that does not answer is ended and named."""

    async def use(worker: Worker) -> None:
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(WorkerFailed, match=r"did not answer to 'infer' within 0\.2 s"):
            await worker.infer(null_samples(1)[0], deadline_s=0.2)
        assert not worker.alive

    with_worker(config, tmp_path, use)


def test_cancelled_request_ends_the_worker(config: BundleConfig, tmp_path: Path) -> None:
    """A late answer must never be taken for the next request's."""

    async def use(worker: Worker) -> None:
        os.kill(worker.pid, signal.SIGSTOP)
        request = asyncio.ensure_future(worker.infer(null_samples(1)[0]))
        await asyncio.sleep(0)  # it has been sent by now
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        with pytest.raises(WorkerFailed):
            await worker.infer(null_samples(1)[0])

    with_worker(config, tmp_path, use)


def test_benchmark_reports_progress_and_raw_latencies(config: BundleConfig, tmp_path: Path) -> None:
    """Warm-up and measured latencies come back, as many as asked at least."""
    seen: list[tuple[int, int]] = []

    async def use(worker: Worker) -> None:
        request = BenchmarkRequest(warmup_iterations=3, min_iterations=20, min_seconds=0, max_seconds=5)
        measured = await worker.benchmark(request, null_samples(1)[0], lambda *at: seen.append(at))
        assert 3 == len(measured.warmup_latencies_ns)
        assert 20 <= len(measured.latencies_ns)
        assert min(measured.latencies_ns) > 0
        assert (len(measured.latencies_ns),) * 2 == seen[-1]
        assert measured.peak_rss_bytes > 1 << 20

    with_worker(config, tmp_path, use)


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b"[" * 100_000, b'{"format":"x"}'])
def test_refused_model_is_the_runtimes_reason(config: BundleConfig, tmp_path: Path, content: bytes) -> None:
    """A file that the runtime does not take is a WorkerFailed that says so; the worker lives."""
    (tmp_path / config.model).write_bytes(content)

    async def use(worker: Worker) -> None:
        with pytest.raises(WorkerFailed, match="null runtime refuses"):
            await worker.load(config)
        with pytest.raises(InvalidRequest, match="no model yet"):
            await worker.infer({})

    with_worker(config, tmp_path, use, load=False)


def test_unknown_runtime(config: BundleConfig, tmp_path: Path) -> None:
    """A runtime that this version does not know is a RuntimeMissing."""
    from attrs import evolve

    async def use(worker: Worker) -> None:
        with pytest.raises(RuntimeMissing):
            await worker.load(evolve(config, runtime="abacus"))

    with_worker(config, tmp_path, use, load=False)


def test_worker_is_contained(config: BundleConfig, tmp_path: Path) -> None:
    """A worker may neither gain rights nor dump core, and what a runtime prints is no answer."""

    async def use(worker: Worker) -> None:
        proc = Path(f"/proc/{worker.pid}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
        assert "1" == status["NoNewPrivs"]
        limits = (proc / "limits").read_text().splitlines()
        cores = next(line for line in limits if line.startswith("Max core file size"))
        assert ["0", "0", "bytes"] == cores.split()[-3:]
        assert (proc / "fd/1").readlink() == (proc / "fd/2").readlink()
        assert Path("/dev/null") == (proc / "fd/0").readlink()
        assert Path("/") == (proc / "cwd").readlink()

    with_worker(config, tmp_path, use)


def _files_of(pid: int) -> dict[str, bool]:
    """The ordinary files that a process has open, by name, and whether it may write them."""
    found = {}
    for file in Path(f"/proc/{pid}/fd").iterdir():
        path = file.readlink()
        if path.is_file():
            rows = Path(f"/proc/{pid}/fdinfo/{file.name}").read_text().split()
            found[path.name] = bool(int(rows[rows.index("flags:") + 1], 8) & os.O_ACCMODE)
    return found


def test_worker_has_its_models_files_and_no_others(config: BundleConfig, tmp_path: Path) -> None:
    """They come by descriptor, also where their folder is hidden; only a cache may be written to."""
    hidden = Isolation(IN_PROCESS.limits, None, (str(tmp_path),))
    files = {title: tmp_path / title for title in ("weights.bin", "more.bin")}
    for file in files.values():
        file.write_bytes(bytes(20 << 20))

    async def run() -> None:
        model, cache = tmp_path / config.model, tmp_path / "cache"
        worker = await Worker.start("digits", model, hidden, files=files, cache=cache)
        try:
            expected = {config.model: False, "weights.bin": False, "more.bin": False, "cache": True}
            assert expected == _files_of(worker.pid)
            limits = Path(f"/proc/{worker.pid}/limits").read_text().splitlines()
            (longest,) = [line.split()[3] for line in limits if line.startswith("Max file size")]
            assert 2 * (40 << 20) < int(longest) < 2 * (40 << 20) + (2 << 20)
            assert not os.path.ismount(tmp_path)
            await worker.load(config)
        finally:
            await worker.stop()
        assert (0, 0o666) == (cache.stat().st_size, cache.stat().st_mode & 0o777)

    asyncio.run(run())


def test_worker_that_cannot_have_its_files(config: BundleConfig, tmp_path: Path) -> None:
    """Too many, or one that is missing: refused, and nothing is left open."""
    model = tmp_path / config.model

    async def run() -> None:
        await (await Worker.start("digits", model, IN_PROCESS)).stop()  # what asyncio itself keeps open
        before = sorted(Path("/proc/self/fd").iterdir())
        many = {f"{index}.bin": model for index in range(9)}
        with pytest.raises(WorkerFailed, match="too many files: got 9, expected <= 8"):
            await Worker.start("digits", model, IN_PROCESS, files=many)
        missing = {"a.bin": model, "b.bin": tmp_path / "not there"}
        with pytest.raises(WorkerFailed, match="not there"):
            await Worker.start("digits", model, IN_PROCESS, files=missing)
        assert before == sorted(Path("/proc/self/fd").iterdir())

    asyncio.run(run())


def test_a_cache_that_cannot_be_made_is_done_without(config: BundleConfig, tmp_path: Path) -> None:
    """The model is loaded all the same."""

    async def run() -> None:
        cache = tmp_path / "no folder" / "cache"
        worker = await Worker.start("digits", tmp_path / config.model, IN_PROCESS, cache=cache)
        try:
            assert [config.model] == list(_files_of(worker.pid))
            loaded = await worker.load(config)
            assert (False, None, None) == (loaded.from_cache, loaded.first_load_ns, loaded.placement)
        finally:
            await worker.stop()

    asyncio.run(run())


def test_devices_of_runtimes(config: BundleConfig, tmp_path: Path) -> None:
    """LiteRT has its CPU; the null runtime has nothing to tell; neither needs a model."""

    async def use(worker: Worker) -> None:
        (cpu,) = await worker.devices("litert")
        assert ("CPU", "") == (cpu.name, cpu.problem)
        with pytest.raises(InvalidRequest, match="no processors to tell of"):
            await worker.devices("null")
        with pytest.raises(InvalidRequest, match="no processors to tell of"):
            await worker.query(config, ("CPU",))

    with_worker(config, tmp_path, use, load=False)
