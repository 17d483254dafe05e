"""Imports the Raft library before anybody else does, without what it would bring along.

It looks for `cryptography`, for passwords of a transport that is not used here, and does without
where there is none. That is ten MiB of every control process.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

_UNWANTED: Final = "cryptography"


def _import_alone() -> ModuleType:
    known = sys.modules.get(_UNWANTED)
    sys.modules[_UNWANTED] = None  # type: ignore[assignment]  # "there is none", to import
    try:
        import pysyncobj  # noqa: PLC0415 - while that is so
    finally:
        del sys.modules[_UNWANTED]
        if known is not None:
            sys.modules[_UNWANTED] = known
    module: ModuleType = pysyncobj
    return module


LIBRARY: Final = _import_alone()
