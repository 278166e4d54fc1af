"""Integer networks on Intel's Lava (lava-nc 0.10.0), on its CPU simulator, without hanging."""

from lava_export.lava.install import require_lava

require_lava()  # before anything below imports Lava

from lava_export.lava.session import LavaError  # noqa: E402
from lava_export.lava.simulation import Simulator, simulate  # noqa: E402

__all__ = ["LavaError", "Simulator", "simulate"]
