"""What the answer to a dry run means."""

from scaleset.kube.errors import AlreadyExists, ApiError, Forbidden, Invalid, NotFound, Unavailable
from scaleset.planner import surge
from scaleset.planner.snapshot import Verdict
from scaleset.records.projections import plain

ACCEPTED = Verdict(accepted=True)


def verdict(error: ApiError) -> Verdict:
    """The API server's verdict in an error; raises the error again if it says nothing about the object.

    A pod bears the name of an instance: that it exists is said last, after everything else was passed.
    """
    if isinstance(error, AlreadyExists):
        return ACCEPTED
    # A webhook that is down comes as 500; without any status nobody has said anything about the object.
    said = isinstance(error, Forbidden | Invalid | NotFound) or (isinstance(error, Unavailable) and error.status == 500)
    if not said:
        raise error
    quota = isinstance(error, Forbidden) and surge.QUOTA in error.message
    return Verdict(accepted=False, message=plain(error.message), quota=quota)
