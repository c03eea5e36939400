"""Who may do what: bearer tokens and client certificates become a caller with a role."""

import hmac
import ipaddress

from service.config import ServerConfig, split_address
from service.edge.methods import Caller, Role
from service.errors import PermissionDeniedError, UnauthenticatedError

ANONYMOUS = Caller("", Role.READER)
LOCAL = Caller("local", Role.OPERATOR)


class Access:
    """The rules of one server.

    Reading and predicting are open unless a reader token is set. Operators show the operator token or a client
    certificate; only a server that listens on a loopback address, with neither of these set up, trusts every caller.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._tokens = [
            (token.encode(), caller)
            for token, caller in (
                (config.operator_token, Caller("operator token", Role.OPERATOR)),
                (config.reader_token, Caller("reader token", Role.READER)),
            )
            if token
        ]
        self._open = not config.reader_token
        self.certificates = config.tls is not None and config.tls.client_authority is not None
        trusting = not self._tokens and not self.certificates and is_loopback(config.address)
        self._anonymous = LOCAL if trusting else ANONYMOUS
        # Where nobody can show anything, every call has the same caller, and its headers need not be read.
        self.everybody = None if self._tokens or self.certificates else self._anonymous

    def caller(self, authorization: str, certificate_name: str) -> Caller:
        """The caller behind an `authorization` header and a verified client certificate; either may be empty.

        A server without tokens and certificates looks at neither.

        Raises UnauthenticatedError for a header that is no known token, or none where one is needed.
        """
        if self.everybody is not None:
            return self.everybody
        if certificate_name:
            return Caller(certificate_name, Role.OPERATOR, personal=True)
        if not authorization:
            if not self._open:
                raise UnauthenticatedError("this server wants a token: `authorization: Bearer …`")
            return self._anonymous
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            for known, caller in self._tokens:
                if hmac.compare_digest(known, token.strip().encode()):
                    return caller
        raise UnauthenticatedError("the token is not known here")

    def check(self, caller: Caller, needed: Role) -> None:
        """Raises PermissionDeniedError where the caller lacks the role."""
        if needed is Role.OPERATOR and caller.role is not Role.OPERATOR:
            raise PermissionDeniedError(
                "this call needs the operator role: send the operator token or a client certificate"
            )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `HOST:PORT`."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
