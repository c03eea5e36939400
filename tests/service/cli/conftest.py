"""A server for commands that ask one, and the command line in this process."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from service import cli
from tests.service.support import entry, serving

DATA = {
    "features": ["flow", "month sin", "month cos"], "calendar": ["month"], "target": "level", "window": 3, "horizon": 2,
    "classes": ["level"],
}  # fmt: skip


@pytest.fixture(scope="module")
def unroll(versions):
    """Runs commands against a server of the reference network, versions 1 and 2; gives status and output, or JSON."""
    first = dataclasses.replace(versions["r3-1"], data=json.dumps(DATA))
    with serving(entry("reference", "champion", v1=first, v2=versions["r3-2"])) as (_, client):
        env = {"UNROLL_ADDRESS": client.address, "COLUMNS": "200", "UNROLL_TOKEN": ""}

        def run(*words):
            result = CliRunner().invoke(cli.app, [str(word) for word in words], env=env)
            if "--json" in words and result.exit_code == 0:
                return json.loads(result.output)
            return result.exit_code, result.output if result.exit_code == 0 else str(result.exception or result.output)

        yield run, client
