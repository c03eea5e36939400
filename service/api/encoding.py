"""What messages about versions have in common: origins, proofs and times."""

from google.protobuf.timestamp_pb2 import Timestamp

from service.pb import unroll_pb2 as pb

ORIGINS = {
    "trained": pb.VERSION_ORIGIN_TRAINED,
    "override": pb.VERSION_ORIGIN_OVERRIDE,
    "registered": pb.VERSION_ORIGIN_REGISTERED,
}
PROOFS = {"": pb.PROOF_NONE, "keras": pb.PROOF_KERAS, "unroll": pb.PROOF_DERIVED}


def timestamp(seconds: float) -> Timestamp | None:
    """Seconds since the epoch as a message; 0 is no time."""
    if not seconds:
        return None
    stamp = Timestamp()
    stamp.FromMilliseconds(round(seconds * 1000))
    return stamp
