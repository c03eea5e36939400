"""service.web.api: what the page asks, answered by a real server of the reference network."""

import base64
import json

import numpy as np
import pytest

from service.client import Client
from service.web import api
from tests.ports import free_port
from tests.service.support import R3_INPUTS
from tests.service.web.support import ask, get, post, web

SEQUENCE = {"model": "reference", "inputs": {"x": R3_INPUTS[:1].tolist()}}
NUDGE = {"weight": "simpleRNN/kernel", "operation": "set", "value": 0.5, "ranges": [[1, 2], [2, 3]]}


def array(sent):
    """An array as the page decodes it."""
    kind = {"f4": "<f4", "f8": "<f8"}[sent["type"]]
    return np.frombuffer(base64.b64decode(sent["data"]), kind).reshape(sent["shape"])


def test_state(address, server):
    """The page knows which server it asks, and what the server lets it do."""
    state = json.loads(get(address, "/api/state")[2])
    assert (state["address"], state["connected"], state["read_only"]) == (server[1].address, True, False)
    assert "override" in state["server"]["roles"]


def test_a_server_that_is_away():
    """Without its server, the page's state says so, and a question is answered with 503."""
    with Client(f"127.0.0.1:{free_port()}") as client, web(client) as address:
        assert json.loads(get(address, "/api/state")[2])["connected"] is False
        assert post(address, "/api/predict", SEQUENCE)[0] == 503


def test_models(address):
    """Models come with their versions, layers and the options that their equations depend on."""
    (model,) = json.loads(get(address, "/api/models")[2])
    assert (model["default_version"], [v["version"] for v in model["versions"]]) == ("1", ["2", "1"])
    layers = {layer["name"]: layer["options"] for layer in model["versions"][0]["layers"]}
    assert layers == {"simpleRNN": {"activation": "tanh"}, "output": {"activation": "linear"}}


def test_examples(address):
    """The input begins with the version's own example."""
    found = json.loads(get(address, "/api/examples?model=reference")[2])
    np.testing.assert_array_equal(array(found["inputs"]["x"]), R3_INPUTS[:1])


def test_weights(address, server):
    """Weights come with values and statistics."""
    found = json.loads(get(address, "/api/weights?model=reference&version=2&names=output/kernel,output/bias")[2])
    assert (found["version"], [w["name"] for w in found["weights"]]) == ("2", ["output/kernel", "output/bias"])
    kernel = server[1].weights(version="2")["output/kernel"]
    np.testing.assert_array_equal(array(found["weights"][0]["value"]), kernel)


def test_compare(address, server):
    """Two versions are compared weight by weight."""
    found = json.loads(get(address, "/api/compare?model=reference&base=1&version=2")[2])
    one, two = (server[1].weights(version=number)["output/kernel"] for number in "12")
    (difference,) = [d for d in found["differences"] if d["name"] == "output/kernel"]
    np.testing.assert_allclose(array(difference["difference"]), two - one)


def test_what_if(address, server):
    """A prediction and a trace with a nudge are those of the client."""
    asked = {**SEQUENCE, "what_if": [NUDGE]}
    weights = {**server[1].weights()}
    weights["simpleRNN/kernel"] = weights["simpleRNN/kernel"].copy()
    weights["simpleRNN/kernel"][1, 2] = 0.5
    status, predicted = post(address, "/api/predict", asked)
    assert status == 200
    traced = post(address, "/api/trace", {**asked, "sums": [["simpleRNN", 2, 1]]})[1]
    np.testing.assert_array_equal(array(predicted["outputs"]["output"]), array(traced["outputs"]["output"]))
    hidden = array({layer["layer"]: layer for layer in traced["layers"]}["simpleRNN"]["tensors"]["hidden_state"])
    h = np.zeros(4)
    for x in R3_INPUTS[0]:
        h = np.tanh(
            x @ weights["simpleRNN/kernel"] + h @ weights["simpleRNN/recurrent_kernel"] + weights["simpleRNN/bias"]
        )
    np.testing.assert_allclose(hidden[0, -1], h, rtol=1e-5)
    (written,) = traced["sums"]
    assert np.tanh(sum(term["product"] for term in written["terms"])) == pytest.approx(h[1], rel=1e-5)


def test_play(address):
    """A stream answers after each timestep; its states carried on give what one call gives."""
    once = post(address, "/api/play", {**SEQUENCE, "inputs": {"x": R3_INPUTS[:1, :2].tolist()}})[1]["steps"]
    assert len(once) == 2
    rest = {**SEQUENCE, "inputs": {"x": R3_INPUTS[:1, 2:].tolist()}, "initial_state": once[-1]["state"]}
    last = post(address, "/api/play", rest)[1]["steps"][-1]
    whole = post(address, "/api/predict", SEQUENCE)[1]
    np.testing.assert_array_equal(array(last["outputs"]["output"]), array(whole["outputs"]["output"]))


def test_insight(address):
    """Attributions add up, gradients, memory and modes come for the shown sequence."""
    attributed = post(address, "/api/attribute", SEQUENCE)[1]
    change = array(attributed["value"]) - array(attributed["baseline_value"])
    assert array(attributed["scores"]["x"]).sum() == pytest.approx(change[0], rel=1e-2)
    gradients = post(address, "/api/gradients", SEQUENCE)[1]
    assert array(gradients["inputs"]["x"]).shape == (1, 3, 2)
    (memory,) = post(address, "/api/memory", SEQUENCE)[1]["layers"]
    assert array(memory["by_states"])[-1] == pytest.approx(1)
    dynamics = post(address, "/api/dynamics", {**SEQUENCE, "timesteps": [2]})[1]
    assert len(dynamics["along"][0]["modes"]) == 4


@pytest.mark.parametrize(
    ("path", "document", "status", "error"),
    [
        ("predict", {"model": "absent"}, 404, "NOT_FOUND"),
        ("predict", {**SEQUENCE, "version": "9"}, 404, "NOT_FOUND"),
        ("predict", {**SEQUENCE, "inputs": {}}, 400, "INVALID_ARGUMENT"),
        ("trace", {**SEQUENCE, "sums": [["a", 1]]}, 400, "INVALID_ARGUMENT"),
        ("trace", {**SEQUENCE, "sums": [["simpleRNN", 1, 1]] * 65}, 400, "INVALID_ARGUMENT"),
        ("play", {**SEQUENCE, "inputs": {"x": [1]}}, 400, "INVALID_ARGUMENT"),
        ("attribute", {**SEQUENCE, "method": "guess"}, 400, "INVALID_ARGUMENT"),
        ("attribute", {**SEQUENCE, "element": "x"}, 400, "INVALID_ARGUMENT"),
    ],
)
def test_errors(address, path, document, status, error):
    """What is wrong with a question is said in a status, a reason and a sentence."""
    got, answer = post(address, f"/api/{path}", document)
    assert (got, answer["error"], bool(answer["message"])) == (status, error, True)


def test_a_body_that_is_too_long(address):
    """A body is refused as soon as it is longer than any request of the page."""
    own = {"Origin": f"http://{address}", "Content-Type": "application/json"}
    assert ask(address, "POST", "/api/predict", " " * (api.MOST_BODY_BYTES + 1), **own)[0] == 413
