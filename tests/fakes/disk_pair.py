"""Two replicas' data workers, each tree on an ext4 image of its own, which can be spoilt."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fakes.data_pair import DataNode, DataPair
from fakes.grounds import mounted
from fakes.stream_pair import A, B, free_port


@asynccontextmanager
async def disk_pair(megabytes: int) -> AsyncIterator[DataPair]:
    """Each tree is a small ext4 of its own; journal, index and quarantine are elsewhere."""
    async with AsyncExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sr-")))
        port = free_port()
        for node in (A, B):
            try:
                stack.enter_context(mounted("ext4", base / node / "mail", megabytes=megabytes))
            except RuntimeError as error:
                pytest.skip(str(error))
        pair = DataPair(DataNode(base, A, port), DataNode(base, B, port))
        for one in (pair.a, pair.b):
            stack.push_async_callback(one.stop)
            one.start()
        yield pair


def spoil(file: Path) -> None:
    """The disk gives back something else than was written; neither inode nor times tell of it.

    The file's content must be found nowhere else on its filesystem.
    """
    content = file.read_bytes()
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        image = _image_of(os.fstat(opened.fileno()).st_dev)
        data = image.read_bytes()
        at = data.find(content)
        assert at >= 0, "the content is in one piece on the image"
        assert data.find(content, at + 1) < 0
        with image.open("r+b") as disk:
            disk.seek(at)
            disk.write(b"spoilt")
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert file.read_bytes() == b"spoilt" + content[6:]


def _image_of(device: int) -> Path:
    numbers = f"{os.major(device)}:{os.minor(device)}"
    return Path(Path(f"/sys/dev/block/{numbers}/loop/backing_file").read_text().strip())
