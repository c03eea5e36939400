"""A second address for operators: which methods each of the two addresses has."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from service.edge.health import SERVICE as HEALTH
from service.edge.methods import Call, Method, Pool
from service.errors import NotSupportedError


def apart(methods: Iterable[Method]) -> tuple[list[Method], list[Method]]:
    """The methods of the first address, and those of the admin address: what changes what is served, and health.

    On the first address what operates is refused, to callers who have the role for it: others hear that they lack it.
    """
    methods = list(methods)
    first = [_elsewhere(method) if method.operates else method for method in methods]
    return first, [m for m in methods if m.operates or m.path.startswith(f"/{HEALTH.full_name}/")]


def _elsewhere(method: Method) -> Method:
    def refuse(_request: Any, _call: Call) -> Any:
        name = method.path.rpartition("/")[2]
        raise NotSupportedError(
            f"{name} is served only on the admin address of this server, which is separate "
            "(--admin-address or UNROLL_ADMIN_ADDRESS of the client)"
        )

    return replace(method, handler=refuse, pool=Pool.QUICK)
