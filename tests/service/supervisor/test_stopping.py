"""Open streams of a server that stops: those that wait for changes end at once."""

import pytest

from service.errors import UnavailableError
from tests.service.support import running


@pytest.mark.usefixtures("edge")
def test_a_watch_does_not_hold_a_server_that_stops(registry, tmp_path):
    """On SIGTERM an open WatchModel ends with UNAVAILABLE, and the server does not use its time to drain."""
    number = registry.register("watched", "r3-1", "champion")
    with running(
        "models:/watched@champion", cache=tmp_path, env=registry.env, workers=1, drain=3600
    ) as (server, client):  # fmt: skip
        changes = client.watch()
        assert next(changes).model.default_version == number
        server.process.terminate()
        with pytest.raises(UnavailableError, match="stopping"):
            next(changes)
        assert server.stop() == 0
