"""For Dask's `preload`: a worker with stand-ins for the networks, and images that kill it.

The variable `ANABATCH_DEADLY` names, separated by commas, the sums of the grey levels of images over
which a worker dies.
"""

import os
import signal

from cheap import cheap_networks

from anabatch.segmentation.two_pass import TwoPassSegmenter

_NETWORKS = cheap_networks()


def dask_setup(worker):
    """Replace the networks, for the rest of the worker's life."""
    del worker
    _NETWORKS.__enter__()
    deadly = {int(text) for text in os.environ.get("ANABATCH_DEADLY", "").split(",") if text}
    segment = TwoPassSegmenter.segment

    def segment_or_die(self, signals, pixels):
        if deadly & {int(signal_.sum()) for signal_ in signals}:
            os.kill(os.getpid(), signal.SIGKILL)
        return segment(self, signals, pixels)

    TwoPassSegmenter.segment = segment_or_die  # type: ignore[method-assign]
