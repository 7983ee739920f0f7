"""Where pyserver knowingly does not do what was recorded, and why: the real Triton at hand is 2.51,
and what is followed is the newer line (2.73) as shared/spec tells it, or better sense.
"""

from __future__ import annotations

from tests.scheduling.difference import Differing
from tests.scheduling.differing_ensembles import ENSEMBLES
from tests.scheduling.differing_loading import CIRCLES, WARM_UPS
from tests.scheduling.differing_queues import QUEUES, SEQUENCES
from tests.scheduling.differing_requests import IDS, INPUTS, STREAMS
from tests.scheduling.differing_statistics import CACHE, COUNTED_FAILURES

DIFFERING: dict[str, Differing] = {
    **WARM_UPS,
    **CIRCLES,
    **IDS,
    **STREAMS,
    **INPUTS,
    **ENSEMBLES,
    **QUEUES,
    **SEQUENCES,
    **CACHE,
    **COUNTED_FAILURES,
}
