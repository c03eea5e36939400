"""The names of the tags that Unroll sets on registered versions."""

DIGEST = "unroll.sha256"  # of the .keras file
PROOF = "unroll.proof"  # who computed the proof: keras, unroll, or none where there is no proof
KIND = "unroll.kind"  # trained, override, registered, repaired
BASE_VERSION = "unroll.base_version"  # of an override or a repaired version
CONVERTED_FROM = "unroll.converted_from"  # of a version that `unroll convert` wrote: Keras 2.2.4, .h5
REWRITTEN = "unroll.rewritten"  # in it, to get there
CHANGED_WEIGHTS = "unroll.changed_weights"  # of an override, with commas between
ACTOR = "unroll.actor"
REASON = "unroll.reason"
DATA = "unroll.data"  # what inputs and outputs mean: columns, window, horizon, classes, treatment of gaps, as JSON
LONGEST_DATA = 65_536  # characters of that tag; a server keeps nothing of a longer one
DATA_DIGEST = "unroll.data_sha256"  # of the file that it was trained on
DECISION = "unroll.decision"  # whether it was promoted when it was registered
DECISION_REASON = "unroll.decision_reason"
METRIC = "unroll.metric"  # by which that was decided
ERROR = "unroll.error"  # its own on held-out data
BASELINE = "unroll.baseline"  # the best of the baselines
BASELINE_ERROR = "unroll.baseline_error"  # its own on the same data
COVERAGE = "unroll.coverage"  # unroll.coverage.LEVEL: share of held-out values within the intervals of that level
CHAMPION_ERROR = "unroll.champion_error"  # that of the version it was compared with, on the same data
CHAMPION_VERSION = "unroll.champion_version"
MOVED = "unroll.moved"  # unroll.moved.ALIAS: who moved that alias here, from where, and why
REQUEST = "unroll.request_id"  # of the call that asked for an override
REQUEST_DIGEST = "unroll.request_sha256"  # of what that call asked for
MOVE_REQUEST = "unroll.move_request_id"  # unroll.move_request_id.ALIAS: of the call that moved that alias here
